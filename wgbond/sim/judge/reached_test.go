package judge

import (
	"bufio"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write what was reached into testdata/*.txt")

// A result that differs from the recorded one by more fails. The same code
// gives the same figure to the last digit, so the margins are for changes: that
// a loss of 3 % is seen, and most that mean nothing need no new record. Links
// drawn at random are chaotic: what means nothing there moves them by 5 %.
const (
	steadyMargin = .03
	drawnMargin  = .08
)

// reached is what a test reached, by subtest, beside what was recorded in its
// file when the engine was last judged: a line for each, with the figure.
type reached struct {
	file     string
	recorded map[string]float64
	mu       sync.Mutex
	now      map[string]float64
}

// openReached reads a test's file, and writes it anew at the test's end with
// -update, unless only some of its scenarios ran.
func openReached(t *testing.T, file string, scenarios int) *reached {
	t.Helper()
	r := &reached{file: file, recorded: map[string]float64{}, now: map[string]float64{}}
	f, err := os.Open(file)
	if err != nil && !*update {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var name string
		var figure float64
		if _, err := fmt.Sscan(lines.Text(), &name, &figure); err != nil {
			t.Fatalf("%s: %q: want a name and a figure: %v", file, lines.Text(), err)
		}
		r.recorded[name] = figure
	}
	if *update {
		t.Cleanup(func() {
			if len(r.now) < scenarios {
				t.Errorf("%s is as it was: %d of %d scenarios ran", file, len(r.now), scenarios)
				return
			}
			var b strings.Builder
			for _, name := range slices.Sorted(maps.Keys(r.now)) {
				fmt.Fprintf(&b, "%s %.4g\n", name, r.now[name])
			}
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Error(err)
			}
		})
	}
	return r
}

// check compares a figure with the recorded one, either way: what was gained and
// is not recorded could be lost again unseen.
func (r *reached) check(t *testing.T, figure, margin float64) {
	t.Helper()
	_, name, _ := strings.Cut(t.Name(), "/")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now[name] = figure
	if *update {
		return
	}
	was, ok := r.recorded[name]
	if !ok {
		t.Logf("%.4g; not recorded: held by its floor alone", figure)
		return
	}
	if change := figure/was - 1; math.Abs(change) > margin {
		t.Errorf("%s: %.4g, recorded was %.4g, %+.1f %%. If that is as it shall be, `go test ./wgbond/sim/judge -run '^(TestFloors|TestFurther)$' -update` and say so in docs/algorithms.md",
			name, figure, was, 100*change)
	}
}
