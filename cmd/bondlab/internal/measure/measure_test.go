package measure

import (
	"testing"
	"time"
)

func TestArrivals(t *testing.T) {
	var a Arrivals
	ms := time.Millisecond
	for _, x := range []struct {
		at time.Duration
		n  int
	}{{100 * ms, 1000}, {100 * ms, 500}, {200 * ms, 500}, {700 * ms, 1000}, {1000 * ms, 1000}} {
		a.Add(x.at, x.n)
	}
	for at, want := range map[time.Duration]int64{0: 0, 99 * ms: 0, 100 * ms: 1500, 199 * ms: 1500, 200 * ms: 2000, 5000 * ms: 4000} {
		if got := a.By(at); got != want {
			t.Errorf("by %v: %d bytes, expected %d", at, got, want)
		}
	}
	if got := a.Rate(200*ms, 1000*ms); got != 2000*8/.8 {
		t.Errorf("rate %g bit/s, expected 20000", got)
	}
	for _, c := range []struct{ from, to, want time.Duration }{
		{0, 1000 * ms, 500 * ms},
		{0, 200 * ms, 100 * ms},           // before the first byte does not count
		{300 * ms, 400 * ms, 500 * ms},    // the gap around it
		{700 * ms, 1000 * ms, 300 * ms},   //
		{900 * ms, 3000 * ms, 2000 * ms},  // silence up to the end
		{1500 * ms, 3000 * ms, 2000 * ms}, //
	} {
		if got := a.Gap(c.from, c.to); got != c.want {
			t.Errorf("gap in %v…%v: %v, expected %v", c.from, c.to, got, c.want)
		}
	}
}

func TestBenefit(t *testing.T) {
	for _, c := range []struct{ bonded, want float64 }{{25, 1}, {20, 0}, {22.5, .5}, {10, -.5}, {0, -1}} {
		if got := Benefit(c.bonded, []float64{20, 5}); got != c.want {
			t.Errorf("benefit of %g over 20 and 5: %g, expected %g", c.bonded, got, c.want)
		}
	}
	if got := Benefit(20, []float64{20}); got != 0 {
		t.Errorf("benefit over a single path: %g, expected 0", got)
	}
}

func TestQuantiles(t *testing.T) {
	v := []time.Duration{5, 1, 4, 2, 3}
	for q, want := range map[float64]time.Duration{0: 1, .2: 1, .5: 3, .8: 4, .95: 5, 1: 5} {
		if got := Quantile(v, q); got != want {
			t.Errorf("quantile %g: %d, expected %d", q, got, want)
		}
	}
	if v[0] != 5 {
		t.Error("the argument was sorted in place")
	}
	if m := Median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Errorf("median %g, expected 2.5", m)
	}
}
