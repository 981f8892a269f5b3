//go:build linux

package sandbox

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Program is a program that runs in a host until it is stopped.
type Program struct {
	Name string // host and program
	cmd  *exec.Cmd
	out  *lastLines
	done chan struct{} // closed when it has ended
	err  error         // why, after done
}

// Program starts a program in the host. Each line that it prints goes to log as
// well, behind the host's and the program's name, unless log is nil.
func (h *Host) Program(name string, log io.Writer, cmd *exec.Cmd) (*Program, error) {
	p := &Program{Name: h.Name + "/" + name, cmd: cmd, done: make(chan struct{})}
	p.out = &lastLines{name: p.Name, to: log}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	if err := h.Start(cmd); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Stop ends the program: SIGTERM and, if it does not end in time, SIGKILL.
func (p *Program) Stop(patience time.Duration) {
	p.cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.Kill()
	}
}

// Kill ends the program without notice.
func (p *Program) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// CPU is the processor time that the program has used, in steps of 10 ms; 0 if
// it has ended.
func (p *Program) CPU() time.Duration {
	t, _ := cpuTime(p.cmd.Process.Pid) // that it has ended is no error
	return t
}

// cpuTime reads a process's user and system time (proc_pid_stat(5), fields 14
// and 15).
func cpuTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// Field 2, the name in parentheses, may hold blanks.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	ticks := int64(0)
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil // USER_HZ is 100 on Linux
}

// Until polls for a condition while the program runs.
func (p *Program) Until(what string, patience time.Duration, cond func() bool) error {
	deadline := time.Now().Add(patience)
	for !cond() {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended (%v) before %s; its last words:\n%s", p.Name, p.err, what, p.out)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not %s after %v; its last words:\n%s", p.Name, what, patience, p.out)
		}
	}
	return nil
}

// lastLines keeps the end of a program's output and passes it on line by line.
type lastLines struct {
	name string
	to   io.Writer

	mu   sync.Mutex
	part []byte // an unfinished line
	kept []string
}

func (w *lastLines) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.part = append(w.part, b...)
	for {
		i := bytes.IndexByte(w.part, '\n')
		if i < 0 {
			break
		}
		line := string(w.part[:i])
		w.part = w.part[i+1:]
		if w.kept = append(w.kept, line); len(w.kept) > 20 {
			w.kept = w.kept[1:]
		}
		if w.to != nil {
			fmt.Fprintf(w.to, "%s: %s\n", w.name, line)
		}
	}
	return len(b), nil
}

func (w *lastLines) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return "  " + strings.Join(append(w.kept, string(w.part)), "\n  ")
}
