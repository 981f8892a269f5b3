//go:build linux

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// RecordDir holds one file a run.
const RecordDir = "/run/bondlab"

// Proc names a process for good: a PID alone may be another's by now.
type Proc struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, /proc/PID/stat field 22
}

// Record says which processes a run is.
type Record struct {
	ID    string `json:"id"`
	About string `json:"about"`
	Outer Proc   `json:"outer"`
	Inner Proc   `json:"inner"`
}

// Alive reports whether the process still runs. A zombie does not.
func (p Proc) Alive() bool {
	start, state, err := stat(p.PID)
	return err == nil && start == p.Start && state != 'Z' && state != 'X'
}

func identify(pid int) (Proc, error) {
	start, _, err := stat(pid)
	return Proc{PID: pid, Start: start}, err
}

// stat reads the start time and the state of a process.
func stat(pid int) (start uint64, state byte, err error) {
	if pid <= 0 {
		return 0, 0, fs.ErrNotExist
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The second field is the command in brackets and may hold anything.
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(f) < 20 {
		return 0, 0, fmt.Errorf("/proc/%d/stat: %d fields after the command, expected at least 20", pid, len(f))
	}
	start, err = strconv.ParseUint(f[19], 10, 64)
	return start, f[0][0], err
}

func (r *Record) path() string { return filepath.Join(RecordDir, r.ID+".json") }

func (r *Record) write(outer, inner int) (err error) {
	if r.Outer, err = identify(outer); err != nil {
		return err
	}
	// The inner process may be gone already; then there is nothing to find.
	r.Inner, _ = identify(inner)
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	for range 100 {
		if err = os.MkdirAll(RecordDir, 0o755); err != nil {
			return err
		}
		// Written aside and renamed, so that a reader never sees half of it.
		tmp := r.path() + ".tmp"
		if err = os.WriteFile(tmp, b, 0o644); err == nil {
			return os.Rename(tmp, r.path())
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		} // else the last of the other runs removed the directory in this moment
	}
	return err
}

// remove deletes the record, and the directory with the last one.
func (r *Record) remove() {
	os.Remove(r.path())
	os.Remove(r.path() + ".tmp")
	os.Remove(RecordDir)
}

// Records lists the runs, dead and alive.
func Records() ([]Record, error) {
	files, err := filepath.Glob(filepath.Join(RecordDir, "bl-*.json*"))
	if err != nil {
		return nil, err
	}
	var out []Record
	for _, f := range files {
		b, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r := Record{}
		if json.Unmarshal(b, &r) != nil || filepath.Base(f) != r.ID+".json" {
			// Half written by a run that was killed: its processes died with it.
			r = Record{ID: strings.SplitN(filepath.Base(f), ".", 2)[0]}
		}
		out = append(out, r)
	}
	return out, nil
}

// Clean ends what dead runs left and removes their records; with all, live
// runs are ended as well. It returns the runs it removed and those it left.
func Clean(all bool) (removed, left []Record, err error) {
	recs, err := Records()
	if err != nil {
		return nil, nil, err
	}
	for _, r := range recs {
		if r.Outer.Alive() && !all {
			left = append(left, r)
			continue
		}
		// Killing the namespace's PID 1 kills all that is in it.
		for _, p := range []Proc{r.Inner, r.Outer} {
			if p.Alive() {
				if e := unix.Kill(p.PID, unix.SIGKILL); e != nil && e != unix.ESRCH {
					err = errors.Join(err, fmt.Errorf("%s: kill %d: %w", r.ID, p.PID, e))
				}
			}
		}
		r.remove()
		removed = append(removed, r)
	}
	return removed, left, err
}
