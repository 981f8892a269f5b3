package demo

import (
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// Both links carry the bonded download, and all of it.
func TestBothLinksCarry(t *testing.T) {
	w, err := newWorld(400_000)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	r := reporter{out: t.Output(), world: w, runs: 1}
	res, err := w.measure(t.Context(), &r, "bonded", w.startBonded)
	if err != nil {
		t.Fatal(err)
	}
	least := uint64(40_000) // a tenth: an idle path's probes come nowhere near
	if res.own < least || res.neighbour < least {
		t.Errorf("%d bytes came by the own link, %d by the neighbour's: want at least %d by each",
			res.own, res.neighbour, least)
	}
	if sum := res.own + res.neighbour; sum < 400_000 {
		t.Errorf("%d bytes came by both links; the file has 400000", sum)
	}
}

func TestNothingToMeasure(t *testing.T) {
	for _, opt := range []Options{{Runs: 0, Bytes: 1}, {Runs: 1, Bytes: 0}} {
		if err := Run(t.Context(), opt); err == nil {
			t.Errorf("%d runs of %d bytes were run", opt.Runs, opt.Bytes)
		}
	}
}
