//go:build linux

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
)

// pluginDir is where the laboratory's plugins are: in memory, and where their
// unprivileged user may run them.
const pluginDir = "/run/schedulers"

// builtinPlugin is the program that serves built-in schedulers as plugins.
const builtinPlugin = "builtin-scheduler"

// Use puts a scheduler in charge at both ends of the tunnel that is up, as a
// user does: a built-in by its name; with "plugin:" before it, that built-in in
// a process of its own; or "plugin:FILE", a program.
func (l *Lab) Use(scheduler string) error {
	name := scheduler
	if what, isPlugin := strings.CutPrefix(scheduler, "plugin:"); isPlugin {
		path, err := l.installPlugin(what)
		if err != nil {
			return err
		}
		name = "process-" + filepath.Base(path)
		for _, host := range []string{Borrower, Server} {
			if err := addPlugin(host, name, path); err != nil {
				return err
			}
		}
	}
	far := make(chan error, 1)
	go func() {
		_, err := l.scheduler(Server, "use", name)
		far <- err
	}()
	_, err := l.scheduler(Borrower, "use", name)
	return errors.Join(err, <-far)
}

// Swaps are changes of the scheduler while a tunnel is up.
type Swaps struct {
	Among        []string // as Use takes them, in turn
	Times        int
	After, Every time.Duration
}

// schedule puts the laboratory's scheduler in charge and begins the swaps. They
// end with the client, which reports those that failed.
func (c *Client) schedule() error {
	o := &c.lab.Options
	if o.Scheduler != "" {
		if err := c.lab.Use(o.Scheduler); err != nil {
			return err
		}
	}
	if o.Swaps.Times == 0 {
		return nil
	}
	quit, done := make(chan struct{}), make(chan error, 1)
	begun := time.Now()
	go func() { done <- c.lab.swap(o.Swaps, begun, quit) }()
	c.undo = append(c.undo, func() error {
		close(quit)
		return <-done
	})
	return nil
}

// swap makes the changes until quit is closed. One that is not done when the
// next is due puts that off.
func (l *Lab) swap(s Swaps, begun time.Time, quit <-chan struct{}) error {
	for i := range s.Times {
		select {
		case <-quit:
			return fmt.Errorf("the tunnel ended after %d of %d swaps of the scheduler", i, s.Times)
		case <-time.After(time.Until(begun.Add(s.After + time.Duration(i)*s.Every))):
		}
		if err := l.Use(s.Among[i%len(s.Among)]); err != nil {
			return err
		}
	}
	return nil
}

// Follows tells whether an end's scheduler is a plugin, and how many plans were
// made by its answers and how many by the fallback.
func (l *Lab) Follows(host string) (plugin bool, followed, fallback uint64, err error) {
	out, err := l.scheduler(host, "show", "--json")
	if err != nil {
		return false, 0, 0, err
	}
	var show struct {
		Charge struct {
			Plugin *struct {
				Plans struct{ Followed, Fallback uint64 }
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &show); err != nil {
		return false, 0, 0, fmt.Errorf("wg-bond scheduler show of host %s: %w", host, err)
	}
	if p := show.Charge.Plugin; p != nil {
		return true, p.Plans.Followed, p.Plans.Fallback, nil
	}
	return false, 0, 0, nil
}

// scheduler runs wg-bond scheduler for the tunnel of a host.
func (l *Lab) scheduler(host string, args ...string) (string, error) {
	path, err := l.program("wg-bond")
	if err != nil {
		return "", err
	}
	return l.hosts[host].Output(path, append([]string{"scheduler"}, append(args, "-i", "wg0")...)...)
}

// installPlugin copies a plugin's program, or that of a built-in, to where it
// may be run, and returns its path there.
func (l *Lab) installPlugin(what string) (string, error) {
	from := what
	if !strings.Contains(what, "/") {
		var err error
		if from, err = l.program(builtinPlugin); err != nil {
			return "", err
		}
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return "", fmt.Errorf("the scheduler: %w", err)
	}
	if err := os.MkdirAll(pluginDir, 0o755); err != nil {
		return "", err
	}
	// A program that runs cannot be written, but replaced.
	path := filepath.Join(pluginDir, filepath.Base(what))
	if err := os.WriteFile(path+".new", data, 0o755); err != nil {
		return "", err
	}
	return path, os.Rename(path+".new", path)
}

// addPlugin gives a host's side file the table of a plugin.
func addPlugin(host, name, path string) error {
	dir, err := sandbox.Dir(host)
	if err != nil {
		return err
	}
	side := filepath.Join(dir, "wg0.bond.toml")
	text, err := os.ReadFile(side)
	if err != nil {
		return err
	}
	head := fmt.Sprintf("\n[plugin.%s]\n", name)
	if strings.Contains(string(text), head) {
		return nil
	}
	return os.WriteFile(side, fmt.Appendf(text, "%spath = %q\n", head, path), 0o600)
}
