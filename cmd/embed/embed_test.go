package embed

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/conn"
)

// TestOpen: with a side file there is a Bind that bonds, without one all is as
// before, and a wrong one is an error that teaches.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	open := func(name, side string) (*Bond, error) {
		if side != "" {
			if err := os.WriteFile(filepath.Join(dir, name+".bond.toml"), []byte(side), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return Open(filepath.Join(dir, name+".conf"))
	}
	b, err := open("wg0", "")
	if b != nil || err != nil {
		t.Errorf("without a side file: %v, %v", b, err)
	}
	if _, ours := b.Bind().(*conn.Bind); ours {
		t.Error("without a side file the Bind bonds")
	}
	if ends, err := b.Front([32]byte{1}, make([]conn.Peer, 2)); len(ends) != 2 || err != nil {
		t.Errorf("without a side file: Front: %v, %v", ends, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if b, err = open("wg1", "scheduler = \"minrtt\"\n[[path]]\ndevice = \"lo\"\n"); err != nil {
		t.Fatal(err)
	}
	var bind wgconn.Bind = b.Bind()
	if _, ours := bind.(*conn.Bind); !ours {
		t.Errorf("with a side file the Bind is a %T", bind)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct{ side, want string }{
		"wg2": {"[[path]]\ndevise = \"lo\"\n", `wg2.bond.toml:2`},
		"wg3": {"scheduler = \"mine\"\n[plugin.mine]\npath = \"/x\"\n", "a plugin needs wg-bond itself"},
	} {
		if _, err := open(name, c.side); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}
