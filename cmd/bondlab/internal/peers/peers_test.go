//go:build linux

package peers

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/guest"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
)

func TestMain(m *testing.M) { sandbox.Main(m.Run) }

// TestEveryPair: every WireGuard works with every server, bonded where both
// ends bond and plain elsewhere.
func TestEveryPair(t *testing.T) {
	if sandbox.ID() == "" {
		t.Skip("needs root: network namespaces and TAP devices")
	}
	if _, err := guest.Find(); errors.Is(err, guest.ErrMissing) {
		t.Skip(err) // before building anything
	}
	bin := t.TempDir()
	for name, pkg := range map[string]string{"wg-bond": "github.com/wg-bond/wg-bond/cmd/wg-bond", "wireguard-go": "golang.zx2c4.com/wireguard"} {
		if out, err := exec.Command("go", "build", "-o", bin+"/"+name, pkg).CombinedOutput(); err != nil {
			t.Fatalf("go build %s: %v\n%s", pkg, err, out)
		}
	}
	opt := Options{Bin: bin, Size: 3_000_000}
	if testing.Verbose() {
		opt.Log = os.Stderr
	}
	r, err := Run(opt)
	if errors.Is(err, guest.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	if err := r.WriteMarkdown(&table); err != nil {
		t.Fatal(err)
	}
	t.Logf("took %.0f s\n%s", r.Took, &table)
	for _, line := range r.Failed() {
		t.Error(line)
	}
	if len(r.Pairs) != 16 {
		t.Errorf("%d pairs, want 16", len(r.Pairs))
	}
	for _, p := range r.Pairs {
		want := 0
		if p.Client == "wg-bond" && p.Server != "bare wireguard-go" {
			want = 2
		}
		if p.Paths != want || len(p.Steps) != 7 {
			t.Errorf("%s at %s: %d paths and %d steps, want %d and 7", p.Client, p.Server, p.Paths, len(p.Steps), want)
		}
	}
}
