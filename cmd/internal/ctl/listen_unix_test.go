//go:build unix

package ctl

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestMakeDir: others may pass to their sockets beside ours, also when we began
// with a strict umask. (relayd's is 077 under systemd.)
func TestMakeDir(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wg-bond", "relayd", "control.sock")
	old := syscall.Umask(0o077)
	s, err := Listen(path, nil)
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v; want mode 0755", dir, info.Mode(), err)
		}
	}
}
