package quick

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/wg-bond/wg-bond/cmd/internal/ctl"
)

// Machine does steps and takes them back. The real one is Host.
type Machine interface {
	// Foresee tells what will take step back, before anything is done. The
	// Undo is zero if removing the link takes it back as well.
	Foresee(step Step) (Undo, error)
	// Do does step; undo is what Foresee answered.
	Do(ctx context.Context, step Step, undo Undo) error
	// Undo takes a step back, also one that was never done or is gone already:
	// that is no error.
	Undo(u Undo) error
}

// Undo takes back one step. At most one field is set.
type Undo struct {
	Link   string     `json:"link,omitempty"` // remove this interface
	Rule   *Rule      `json:"rule,omitempty"` // delete this policy rule
	DNS    string     `json:"dns,omitempty"`  // delete this entry of resolvconf's
	Sysctl *SetSysctl `json:"sysctl,omitempty"`
	Nft    *NftTable  `json:"nft,omitempty"` // delete this table
}

// IsZero reports whether there is nothing to take back.
func (u Undo) IsZero() bool { return u == Undo{} }

// StepError says which step of a plan failed.
type StepError struct {
	Step Step
	Err  error
}

func (e *StepError) Error() string {
	step, _, _ := strings.Cut(e.Step.String(), " <<") // without what the command would read
	return fmt.Sprintf("%v\n(at the step: %s)", e.Err, step)
}

// Unwrap is the cause.
func (e *StepError) Unwrap() error { return e.Err }

// Up does the steps of a plan. If one fails, it and those before are undone,
// the last first, and the error, a *StepError, says so if an undo failed too.
// What it takes to undo a step is in the journal before the step is done, so
// there is no moment at which a crash leaves something that nobody knows of.
func Up(ctx context.Context, m Machine, plan *Plan, j *Journal, trace func(Step)) error {
	for _, step := range plan.Steps {
		err := ctx.Err()
		if err == nil {
			trace(step)
			err = j.do(ctx, m, step)
		}
		if err != nil {
			return &StepError{Step: step, Err: errors.Join(err, Clean(m, j))}
		}
	}
	// A kernel parameter that others may have come to rely on stays, as with
	// wg-quick: only a failed up takes it back.
	kept := j.Undos[:0]
	for _, undo := range j.Undos {
		if undo.Sysctl == nil {
			kept = append(kept, undo)
		}
	}
	j.Undos = kept
	return j.Save()
}

// Clean undoes what is in the journal, the last first, and removes it.
func Clean(m Machine, j *Journal) error {
	var errs []error
	for i := len(j.Undos) - 1; i >= 0; i-- {
		if err := m.Undo(j.Undos[i]); err != nil {
			errs = append(errs, fmt.Errorf("and this could not be undone: %w", err))
		}
	}
	j.Undos = nil
	return errors.Join(append(errs, j.Remove())...)
}

// do does step, having noted what will undo it.
func (j *Journal) do(ctx context.Context, m Machine, step Step) error {
	undo, err := m.Foresee(step)
	if err != nil {
		return err
	}
	if !undo.IsZero() {
		j.Undos = append(j.Undos, undo)
		if err := j.Save(); err != nil {
			return err
		}
	}
	return m.Do(ctx, step, undo)
}

// Journal is the list of Undos of one interface, kept in a file while the
// interface is up. The zero Path keeps it in memory only.
type Journal struct {
	Path  string `json:"-"`
	Undos []Undo `json:"undo"`
}

// OpenJournal reads the journal at path; without a file it is empty.
func OpenJournal(path string) (*Journal, error) {
	j := &Journal{Path: path}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, j); err != nil {
		return nil, fmt.Errorf("%s: %w; it lists what an earlier up changed: undo that by hand, then delete it", path, err)
	}
	return j, nil
}

// Save writes the journal, all or nothing.
func (j *Journal) Save() error {
	if j.Path == "" {
		return nil
	}
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if err := ctl.MakeDir(filepath.Dir(j.Path)); err != nil {
		return err
	}
	temporary := j.Path + ".tmp"
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, j.Path)
}

// Remove deletes the file.
func (j *Journal) Remove() error {
	if j.Path == "" {
		return nil
	}
	if err := os.Remove(j.Path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
