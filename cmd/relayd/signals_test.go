//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestSignals(t *testing.T) {
	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte(private), 0o604); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, nil, "--listen="+loopback(), "--private-key-file="+keyFile, "--allow="+other, "--device=wgbt-missing", "--log-level=info")
	p.await("msg=lending")
	if err := p.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	p.await("msg=statistics stats.leases=0")
	p.stop()
	log := p.text()
	for _, want := range []string{public, "listen=[" + loopback() + "]", "everybody on this machine may read", "not there", "msg=stopped"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, private[:20]) {
		t.Errorf("the log shows the private key:\n%s", log)
	}
}
