package lay

import (
	"time"

	"github.com/wg-bond/wg-bond/schedulers/parameters"
)

// Worth is what a path is worth to policies that trade delay for rate: the
// user's, or Usual. Nanoseconds.
type Worth struct {
	// Margin is by how much a path's queue may outlast the slowest path's
	// delay: 2 ms cost a fifth of the gain, 20 ms add delay.
	Margin float64
	// A path that is farther than the nearest by Tolerate is always used; by
	// more than Farthest, never.
	Tolerate, Farthest float64
	// Gain is the delay that a path is worth which would double the rate.
	Gain float64
}

// Usual is what simulation found; see package earliest.
var Usual = Worth{Margin: 10e6, Tolerate: 15e6, Farthest: 200e6, Gain: 400e6}

// ReadWorth reads what the user sets of it.
func ReadWorth(t *parameters.Table) Worth {
	read := func(key string, usual float64) float64 {
		return float64(t.Duration(key, time.Duration(usual), 0, 10*time.Second))
	}
	return Worth{
		Margin: read("margin", Usual.Margin), Tolerate: read("tolerate", Usual.Tolerate),
		Farthest: read("farthest", Usual.Farthest), Gain: read("gain", Usual.Gain),
	}
}

// Of reports whether a path of that speed is worth being farther by extra,
// nanoseconds, beside nearer ones of that rate. Both are bytes per second.
func (w *Worth) Of(extra, speed, rate float64) bool {
	return extra <= w.Farthest && extra <= max(w.Tolerate, w.Gain*speed/rate)
}
