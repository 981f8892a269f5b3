package demo

import (
	"context"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := leaks(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// leaks tells of goroutines that do not end. goleak alone would not wait for
// half a second, which is not enough on a busy machine.
func leaks() error {
	err := goleak.Find()
	for deadline := time.Now().Add(time.Minute); err != nil && time.Now().Before(deadline); {
		err = goleak.Find()
	}
	return err
}

// The demo itself, with a small file: real WireGuard, engine, relay and shim.
func TestRun(t *testing.T) {
	picture := filepath.Join(t.TempDir(), "chart.png")
	var out strings.Builder
	if err := Run(t.Context(), Options{Runs: 1, Bytes: 200_000, PNG: picture, Out: &out}); err != nil {
		t.Fatalf("%v; so far:\n%s", err, out.String())
	}
	t.Log(out.String())
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if last := lines[len(lines)-1]; !regexp.MustCompile(`^speed-up \d+\.\d\d$`).MatchString(last) {
		t.Errorf("the last line is %q, want speed-up N.NN", last)
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("what is no terminal got control sequences")
	}
	for _, line := range lines {
		if n := len([]rune(line)); n > columns {
			t.Errorf("%d columns, more than %d: %s", n, columns, line)
		}
	}
	f, err := os.Open(picture)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := png.Decode(f); err != nil {
		t.Errorf("the chart: %v", err)
	}
}

// Both links carry the bonded download, all of it, and each a good part: that
// is the demo's speed-up, which itself depends on the machine. And the relay
// does not take what the demo sends for its owner's use of the link.
func TestBothLinksCarry(t *testing.T) {
	w, err := newWorld(1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	r := reporter{out: t.Output(), world: w, runs: 1}
	borrower, stop, err := w.startBonded(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	start := func(context.Context) (*host, func(), error) { return borrower, func() {}, nil }
	// A path that a busy machine was late to serve is left alone for a while:
	// then another download shows it.
	for deadline := time.Now().Add(patience); ; {
		res, err := w.measure(t.Context(), &r, "bonded", start)
		if err != nil {
			t.Fatal(err)
		}
		sum := res.own + res.neighbour
		if sum < 1_000_000 {
			t.Errorf("%d bytes came by both links; the file has 1000000", sum)
		}
		for _, p := range w.shim.Status().Clients[0].Session.Paths {
			if p.Ceiling >= 0 {
				t.Errorf("by path %d the server may send %.0f bytes/s: what the neighbour uses itself is nothing", p.ID, p.Ceiling)
			}
		}
		if min(res.own, res.neighbour) >= sum/4 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes came by the own link, %d by the neighbour's: want at least a quarter by each", res.own, res.neighbour)
		}
	}
}

func TestNothingToMeasure(t *testing.T) {
	for _, opt := range []Options{{Runs: 0, Bytes: 1}, {Runs: 1, Bytes: 0}} {
		if err := Run(t.Context(), opt); err == nil {
			t.Errorf("%d runs of %d bytes were run", opt.Runs, opt.Bytes)
		}
	}
}
