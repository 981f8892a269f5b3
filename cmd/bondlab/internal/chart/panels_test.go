package chart

import (
	"io"
	"math"
	"testing"
)

func TestRuns(t *testing.T) {
	nan := math.NaN()
	l := Line{Points: []Point{{0, nan}, {1, 2}, {2, 3}, {3, nan}, {4, nan}, {5, 6}}}
	runs := l.runs()
	if len(runs) != 2 || len(runs[0]) != 2 || len(runs[1]) != 1 || runs[1][0].X != 5 {
		t.Errorf("got %v, want two runs: 1 and 2, and 5", runs)
	}
}

func TestPanelsRefuse(t *testing.T) {
	for name, p := range map[string]*Panels{
		"nothing":  {},
		"no lines": {Panels: []Panel{{Unit: "ms"}}},
		"infinite": {Panels: []Panel{{Lines: []Line{{Name: "a", Points: []Point{{0, math.Inf(1)}}}}}}},
		"nowhere":  {Panels: []Panel{{Lines: []Line{{Name: "a", Points: []Point{{math.NaN(), 1}}}}}}},
	} {
		if p.PNG(io.Discard) == nil || p.SVG(io.Discard) == nil {
			t.Errorf("%s: drawn", name)
		}
	}
}

// TestPanelsDraw draws what could trouble an axis: one point, zeros, a line
// without values.
func TestPanelsDraw(t *testing.T) {
	p := &Panels{Panels: []Panel{
		{Lines: []Line{{Name: "point", Points: []Point{{3, 0}}}}},
		{Lines: []Line{{Name: "unknown", Points: []Point{{3, math.NaN()}}}}},
		{},
	}}
	if err := p.PNG(io.Discard); err != nil {
		t.Error(err)
	}
	if err := p.SVG(io.Discard); err != nil {
		t.Error(err)
	}
}
