//go:build linux

package guest

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
)

func TestMain(m *testing.M) { sandbox.Main(m.Run) }

// TestBoot: the guest is up, has the kernel's WireGuard and the programs, and
// its shell tells what failed.
func TestBoot(t *testing.T) {
	parts, err := Find()
	if errors.Is(err, ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if sandbox.ID() == "" {
		t.Skip("needs root: network namespaces and TAP devices")
	}
	image := filepath.Join(t.TempDir(), "initramfs")
	if err := parts.Initramfs(image, map[string]string{"etc/greeting": "guest_test.go"}); err != nil {
		t.Fatal(err)
	}
	h, err := sandbox.NewHost("g")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var console bytes.Buffer
	g, err := Boot(h, Config{
		Parts: parts, Initramfs: image, Tap: "tap0", Memory: 160, Log: &console,
		Gateway: netip.MustParsePrefix("10.98.9.1/24"), Address: netip.MustParseAddr("10.98.9.2"),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Stop()
	began := time.Now()
	if err := g.Wait(5 * time.Minute); err != nil {
		t.Fatalf("%v\n%s", err, &console)
	}
	t.Logf("up after %v", time.Since(began).Round(100*time.Millisecond))
	out, err := g.Shell(5*time.Minute, "uname -s\nip link add wg0 type wireguard\nwg set wg0 listen-port 51820\nwg show wg0 listen-port\nwc -c </etc/greeting")
	if f := strings.Fields(out); err != nil || len(f) != 3 || f[0] != "Linux" || f[1] != "51820" {
		t.Errorf("got %q, %v", out, err)
	}
	if out, err := g.Shell(5*time.Minute, "echo before\nwg show nothing\necho after"); err == nil || !strings.Contains(err.Error(), "exit 1: ") || strings.Contains(out, "after") {
		t.Errorf("a script that fails: %q, %v", out, err)
	}
}

// TestArchive has an independent judge, cpio(1) of busybox, list an archive.
func TestArchive(t *testing.T) {
	var b bytes.Buffer
	a := &archive{w: &b, made: map[string]bool{}}
	want := []string{"drwxr-xr-x 0 some", "drwxr-xr-x 0 some/where"}
	for _, size := range []int{0, 1, 2, 3, 4, 5} {
		name := "some/where/" + strings.Repeat("x", size+1) // of all lengths modulo 4
		a.file(name, 0o644, bytes.Repeat([]byte{'.'}, size))
		want = append(want, fmt.Sprintf("-rw-r--r-- %d %s", size, name))
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	parts, err := Find()
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(parts.Busybox, "cpio", "-tv")
	cmd.Stdin = &b
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 6 {
			got = append(got, f[0]+" "+f[2]+" "+f[5])
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("busybox lists something else: %s", diff)
	}
}
