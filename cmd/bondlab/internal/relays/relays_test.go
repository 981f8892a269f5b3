//go:build linux

package relays

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
)

// The laboratory starts the TURN server as "this program turn ADDR RELAY".
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "turn" {
		fmt.Fprintln(os.Stderr, ServeTURN(netip.MustParseAddrPort(os.Args[2]), netip.MustParseAddr(os.Args[3])))
		os.Exit(1)
	}
	if sandbox.ID() != "" {
		threads, noThreads = measure.OpenSoftIRQ()
	}
	sandbox.Main(m.Run)
}

var (
	threads   *measure.SoftIRQ
	noThreads error
)

// TestRelays: every way carries, whatever the figures are here and now.
func TestRelays(t *testing.T) {
	if sandbox.ID() == "" {
		t.Skip("needs root: network namespaces")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft: apt-get install nftables")
	}
	if noThreads != nil {
		t.Skip(noThreads)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", dir+"/", "github.com/wg-bond/wg-bond/cmd/relayd").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	const rounds = 1
	r, err := Run(Options{Bin: dir, Rounds: rounds, For: 50 * time.Millisecond, SoftIRQ: threads, Log: os.Stderr, Progress: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Subjects) != 8 {
		t.Errorf("%d subjects, want four with either sender", len(r.Subjects))
	}
	for _, s := range r.Subjects {
		if len(s.Readings) != rounds {
			t.Errorf("%s has %d readings", s.Name, len(s.Readings))
		}
	}
	var b strings.Builder
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(b.String(), "\n"); lines != 1+len(r.Subjects) {
		t.Errorf("a table of %d lines:\n%s", lines, b.String())
	}
}

// TestBeyond: what a relay costs is what there is beyond the direct way, and the
// kernel's forward is the measure.
func TestBeyond(t *testing.T) {
	of := func(name string, cpu time.Duration) *Subject {
		return &Subject{Name: name, Readings: []Reading{{Gbit: 2, Took: time.Second, CPU: cpu, Relay: cpu / 10}}}
	}
	r := Result{Subjects: []*Subject{of("direct", 200*time.Millisecond), of("kernel", 400*time.Millisecond), of("relayd", 800*time.Millisecond)}}
	var b strings.Builder
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	got := strings.Fields(lines[len(lines)-1])
	want := strings.Fields("trains relayd 2.00 0 0.400 0.300 2.0 0.040 0.00")
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %v, want %v", got, want)
	}
}
