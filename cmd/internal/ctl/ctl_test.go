package ctl

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCalls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "wg0.sock")
	if err := Call(path, "status", nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("before: %v", err)
	}
	s, err := Listen(path, map[string]Handler{
		"status": func([]string) (any, error) { return map[string]int{"paths": 2}, nil },
		"down":   func([]string) (any, error) { return nil, errors.New("a reason") },
	})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's mode is %v", info.Mode())
	}
	var got map[string]int
	if err := Call(path, "status", &got); err != nil || got["paths"] != 2 {
		t.Errorf("status: %v, %v", got, err)
	}
	if err := Call(path, "down", nil); err == nil || err.Error() != "a reason" {
		t.Errorf("down: %v", err)
	}
	if err := Call(path, "fly", nil); err == nil || !strings.Contains(err.Error(), `"fly"`) {
		t.Errorf("fly: %v", err)
	}
	if _, err := Listen(path, nil); err == nil || !strings.Contains(err.Error(), "another wg-bond answers") {
		t.Errorf("a second server: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Call(path, "status", nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after: %v", err)
	}
}

func TestListenReplacesAStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wg0.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if err := Call(path, "x", nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a stale socket: %v", err)
	}
	s, err := Listen(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}
