//go:build unix

package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is the program of the children as well: they get their behaviour
// as the first argument and a file to write to as the second.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 {
		switch os.Args[1] {
		case "child-ready":
			os.Exit(childReady(os.Args[2]))
		case "child-fails":
			Current().Failed(errors.New("no such modem\nplug it in"))
			os.Exit(1)
		case "child-dies":
			os.Exit(3)
		}
	}
	os.Exit(m.Run())
}

// childReady writes its process id once it has left the terminal and a
// grandchild has shown not to have the pipe.
func childReady(path string) int {
	p := Current()
	if !p.Background() || os.Getenv(variable) != "" {
		return 1
	}
	// A grandchild that stays must not keep the parent waiting.
	stay := exec.Command("sleep", "60")
	if err := stay.Start(); err != nil {
		return 1
	}
	defer func() { _ = stay.Process.Kill(); _ = stay.Wait() }()
	if err := p.Ready(false); err != nil {
		return 1
	}
	session, _, _ := syscall.RawSyscall(syscall.SYS_GETSID, 0, 0, 0)
	output, _ := os.Readlink("/proc/self/fd/1")
	directory, _ := os.Getwd()
	text := fmt.Sprintln(os.Getpid(), int(session) == os.Getpid(), output, directory)
	if err := os.WriteFile(path+".tmp", []byte(text), 0o600); err != nil {
		return 1
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return 1
	}
	time.Sleep(time.Minute) // until the test kills it
	return 0
}

func TestReady(t *testing.T) {
	path := filepath.Join(t.TempDir(), "child")
	if err := Start("child-ready", path); err != nil {
		t.Fatal(err)
	}
	var text string
	for deadline := time.Now().Add(time.Minute); text == ""; time.Sleep(5 * time.Millisecond) {
		data, _ := os.ReadFile(path)
		text = string(data)
		if time.Now().After(deadline) {
			t.Fatal("the child says nothing")
		}
	}
	pid, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		t.Errorf("the child is gone: %v", err)
	}
	if rest != "true /dev/null /" {
		t.Errorf("session, output, directory of the child: %s", rest)
	}
}

func TestFailures(t *testing.T) {
	if err := Start("child-fails", "-"); err == nil || err.Error() != "no such modem\nplug it in" {
		t.Errorf("got %v", err)
	}
	if err := Start("child-dies", "-"); err == nil || err.Error() != "the program in the background ended before it was ready: exit status 3" {
		t.Errorf("got %v", err)
	}
}

func TestForeground(t *testing.T) {
	p := Current()
	if p.Background() || p.Failed(errors.New("x")) || p.Ready(false) != nil {
		t.Error("a process of its own takes itself for a child")
	}
}

// TestNotify: a service manager that waits is told.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	if err := new(Process).Ready(false); err != nil {
		t.Fatal(err)
	}
	Notify(Stopping)
	for _, want := range []string{"READY=1", "STOPPING=1"} {
		b := make([]byte, 100)
		_ = manager.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := manager.Read(b)
		if got := string(b[:n]); err != nil || got != want {
			t.Errorf("the manager was told %q, %v; want %s", got, err, want)
		}
	}
}
