//go:build linux

package peers

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/guest"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
)

// patience is how long each thing may take on a busy machine; a guest, whose
// every instruction is computed, is a busy machine by itself.
const patience = 3 * time.Minute

// machine is where one end of tunnels runs: a namespace, or a guest. In both
// scripts find the same programs by the same names.
type machine struct {
	name  string
	lab   *lab
	host  *sandbox.Host // nil for a guest
	guest *guest.Guest  // nil for a namespace
	dir   string        // for files
}

// sh runs a script by sh -e and returns what it prints.
func (m *machine) sh(script string, args ...any) (string, error) {
	script = fmt.Sprintf(script, args...)
	if m.guest != nil {
		out, err := m.guest.Shell(patience, script)
		if err != nil {
			err = fmt.Errorf("%s: %w", m.name, err)
		}
		return out, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-ec", script)
	cmd.Env = m.lab.environ
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := m.host.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", m.name, err, strings.TrimSpace(out.String()))
	}
	return out.String(), err
}

// write writes a file and returns its name there.
func (m *machine) write(name, text string) (string, error) {
	file := filepath.Join(m.dir, name)
	if m.guest != nil {
		_, err := m.sh("cat >%s <<'END'\n%s\nEND", file, text)
		return file, err
	}
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// start starts a program that stays.
func (m *machine) start(name string, args ...string) error {
	if m.guest != nil {
		_, err := m.sh("%s %s >/tmp/%s.log 2>&1 &", name, strings.Join(args, " "), name)
		return err
	}
	path := name
	if !filepath.IsAbs(name) {
		path = filepath.Join(m.lab.opt.Bin, name)
	}
	p, err := m.host.Program(filepath.Base(name), m.lab.opt.Log, exec.Command(path, args...))
	if err == nil {
		m.lab.programs = append(m.lab.programs, p)
	}
	return err
}

// eventually runs a script until it succeeds.
func (m *machine) eventually(script string, args ...any) error {
	return m.until(func() error { _, err := m.sh(script, args...); return err })
}

func (m *machine) until(try func() error) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := try()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
