package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary the command itself when asked.
func TestMain(m *testing.M) {
	if os.Getenv("RELAYD_TEST_MAIN") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// patience bounds the waits of these tests; only a failure takes so long.
const patience = time.Minute

// relayd is the command with these arguments, in front of which stand those of
// a wrapper, if any.
func command(t *testing.T, wrapper []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args = append(append(append([]string(nil), wrapper...), self), args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "RELAYD_TEST_MAIN=1")
	return cmd
}

func run(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := command(t, nil, args...)
	var o, e bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

func TestKeysAreWireGuards(t *testing.T) {
	out, _, err := run(t, private+"\n", "pubkey")
	if err != nil || out != public+"\n" {
		t.Errorf("pubkey: %q, %v; want %q", out, err, public)
	}
	made, _, err := run(t, "", "genkey")
	if err != nil || len(made) != 45 {
		t.Fatalf("genkey: %d bytes, %v", len(made), err)
	}
	ours, _, err := run(t, made, "pubkey")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "x", private[:40], strings.Repeat("A", 43) + "=", private + private} {
		if out, errs, err := run(t, bad, "pubkey"); err == nil || out != "" || !strings.Contains(errs, "relayd: standard input: ") {
			t.Errorf("pubkey of %q: %q, %q, %v", bad, out, errs, err)
		}
	}
	wg, err := exec.LookPath("wg")
	if err != nil {
		t.Skip("wg is not installed: its pubkey is not compared with ours")
	}
	cmd := exec.Command(wg, "pubkey")
	cmd.Stdin = strings.NewReader(made)
	theirs, err := cmd.Output()
	if err != nil || string(theirs) != ours {
		t.Errorf("wg pubkey gives %q, %v; ours %q", theirs, err, ours)
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--version", "relayd "}, {"--help", "private-key-file"}, {"run --help", "SIGUSR1"}, {"genkey --help", "wg genkey"},
	} {
		if out, _, err := run(t, "", strings.Fields(c.args)...); err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v, %q", c.args, err, out)
		}
	}
	for _, c := range []struct{ args, want string }{
		{"", "no private key"}, {"--config missing.toml", "missing.toml"}, {"--log-level loud", "log-level"}, {"genkey extra", "extra"},
	} {
		if _, errs, err := run(t, "", strings.Fields(c.args)...); err == nil || !strings.Contains(errs, c.want) {
			t.Errorf("%q: %v, %q", c.args, err, errs)
		}
	}
}

// loopback is an address for a relayd on this machine, like no other process's,
// with a port that is given to nobody who asks for any.
func loopback() string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d:15190", 64+pid>>16&63, pid>>8&255, pid&255)
}

// process is a running relayd and its log.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan error
	stop func() // ends the process, cleanly

	mu  sync.Mutex
	log bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func startProcess(t *testing.T, wrapper []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: command(t, wrapper, args...), done: make(chan error, 1)}
	p.cmd.Stderr = io.Writer(p)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	p.stop = sync.OnceFunc(p.end)
	t.Cleanup(func() { p.stop() })
	return p
}

// await waits until the log says something.
func (p *process) await(text string) {
	p.t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(p.text(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("the log never says %q:\n%s", text, p.text())
		}
	}
}

// kill ends the process without notice.
func (p *process) kill() {
	p.stop = func() {}
	_ = p.cmd.Process.Kill() // it has ended already, or does now
	<-p.done
}

func (p *process) end() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // that it has ended already shows below
	select {
	case err := <-p.done:
		if err != nil {
			p.t.Errorf("relayd ended with %v:\n%s", err, p.text())
		}
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
		p.t.Errorf("SIGTERM did not end relayd:\n%s", p.text())
	}
}
