package scenario

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim"
)

// Cell is a random cellular link, generated as a mahimahi trace so that the
// same seed is always the same link. It has what recorded ones have and a
// constant rate has not:
//
//   - fading: the logarithm of the rate is an Ornstein-Uhlenbeck process
//     around the mean with standard deviation Spread and the correlation time
//     Fade, sampled every 20 ms;
//   - scheduling: within 20 ms the deliveries come in bursts, each millisecond
//     with a Poisson number of packets if it is this user's turn (one
//     millisecond in four) and none otherwise;
//   - handovers: gaps, on average every HandoverEvery, of a mean of
//     HandoverFor (exponential both).
//
// The trace is scaled so that the expected mean is Mean; over its two minutes
// chance leaves a percent or so.
type Cell struct {
	Seed          uint64   `toml:"seed"`
	Mean          Rate     `toml:"mean"`
	Spread        float64  `toml:"spread"` // of the rate's natural logarithm; 0: 0.5
	Fade          Duration `toml:"fade"`   // 0: 1 s
	HandoverEvery Duration `toml:"handover-every"`
	HandoverFor   Duration `toml:"handover-for"`
}

// cellPeriod is the length of a generated trace; it repeats then.
const cellPeriod = 120 * time.Second

func (c *Cell) check(fail func(key, format string, args ...any) error) error {
	switch {
	case c.Mean < 1e5 || c.Mean > 1e9:
		return fail(".mean", "want a rate from 100kbit to 1Gbit")
	case c.Spread < 0 || c.Spread > 2:
		return fail(".spread", "%g: want 0 to 2", c.Spread)
	case c.Fade != 0 && time.Duration(c.Fade) < 20*time.Millisecond:
		return fail(".fade", "%v: want 20ms or more", time.Duration(c.Fade))
	case (c.HandoverEvery == 0) != (c.HandoverFor == 0):
		return fail(".handover-every", "goes with handover-for")
	case c.HandoverFor > c.HandoverEvery:
		return fail(".handover-for", "want less than handover-every")
	}
	return nil
}

// trace generates the link.
func (c *Cell) trace() (*sim.Trace, error) {
	rng := rand.New(rand.NewPCG(c.Seed, 0x63656c6c))
	spread, fade := c.Spread, time.Duration(c.Fade)
	if spread == 0 {
		spread = .5
	}
	if fade == 0 {
		fade = time.Second
	}
	const step = 20 // ms
	// Exact discretisation of the process: x' = kx + sqrt(1-k²)·σ·N(0,1).
	keep := math.Exp(-step / (fade.Seconds() * 1000))
	shake := spread * math.Sqrt(1-keep*keep)

	ms := int(cellPeriod / time.Millisecond)
	weight := make([]float64, ms) // expected deliveries of each millisecond, unscaled
	var sum float64
	x := spread * rng.NormFloat64()
	for t := 0; t < ms; t += step {
		x = keep*x + shake*rng.NormFloat64()
		for i := t; i < t+step; i++ {
			if rng.IntN(4) == 0 {
				weight[i] = math.Exp(x)
			}
		}
	}
	if c.HandoverEvery > 0 {
		every, length := time.Duration(c.HandoverEvery), time.Duration(c.HandoverFor)
		for t := exponential(rng, every); t < cellPeriod; {
			until := min(t+exponential(rng, length), cellPeriod)
			for i := t / time.Millisecond; i < until/time.Millisecond; i++ {
				weight[i] = 0
			}
			t = until + exponential(rng, every)
		}
	}
	for _, w := range weight {
		sum += w
	}
	want := float64(c.Mean) * cellPeriod.Seconds() / (sim.OpportunitySize * 8)
	var b strings.Builder
	for t, w := range weight {
		n := poisson(rng, w*want/sum)
		if t == ms-1 {
			n = max(n, 1) // the last line is the period
		}
		for range n {
			b.WriteString(strconv.Itoa(t + 1))
			b.WriteByte('\n')
		}
	}
	return sim.ParseTrace(strings.NewReader(b.String()))
}

func exponential(rng *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(rng.ExpFloat64() * float64(mean))
}

// poisson draws a Poisson number by Knuth's product method; the means here
// are below about 100.
func poisson(rng *rand.Rand, mean float64) int {
	limit, product := math.Exp(-mean), rng.Float64()
	n := 0
	for ; product > limit; n++ {
		product *= rng.Float64()
	}
	return n
}
