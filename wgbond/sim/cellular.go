package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Cellular makes a Trace that behaves like a cellular link. It is a model, not
// a recording:
//
//   - the logarithm of the rate is a random walk drawn back to its mean (an
//     Ornstein-Uhlenbeck process, in steps of a millisecond), as fading and
//     other users make it;
//   - the scheduler of the cell grants what has come together since the grant
//     before, after exponentially distributed times;
//   - outages come at exponentially distributed times and last
//     exponentially long: handovers, tunnels.
//
// With Rate 16.7e6, Spread 0.5, Turn 2 s, Grant 4 ms, Every 5 s and Lasts
// 100 ms it is much like the T-Mobile LTE recording of the mahimahi project
// (mean 16.7 Mbit/s, 4 to 31 Mbit/s over a second, 12 gaps above 100 ms a
// minute).
type Cellular struct {
	Rate   float64       // mean without the outages, bit/s
	Spread float64       // standard deviation of the rate's natural logarithm
	Turn   time.Duration // time constant of the walk
	Grant  time.Duration // mean time between grants
	Every  time.Duration // mean time between outages; 0: none
	Lasts  time.Duration // mean length of an outage
	Period time.Duration // of the trace; a minute if 0
	Seed   uint64
}

// Trace draws the link: the same Seed, the same link. It fails on a
// configuration that is not a link's.
func (c Cellular) Trace() (*Trace, error) {
	if c.Period == 0 {
		c.Period = time.Minute
	}
	switch {
	case !(c.Rate >= 1e4 && c.Rate <= 1e10):
		return nil, fmt.Errorf("cellular: Rate %g bit/s: want 1e4 to 1e10", c.Rate)
	case !(c.Spread >= 0 && c.Spread <= 3):
		return nil, fmt.Errorf("cellular: Spread %g: want 0 to 3", c.Spread)
	case c.Turn < time.Millisecond:
		return nil, fmt.Errorf("cellular: Turn %v: want a millisecond or more", c.Turn)
	case c.Grant < 0 || c.Every < 0 || c.Lasts < 0:
		return nil, fmt.Errorf("cellular: Grant %v, Every %v, Lasts %v: want none negative", c.Grant, c.Every, c.Lasts)
	case c.Period < time.Second:
		return nil, fmt.Errorf("cellular: Period %v: want a second or more", c.Period)
	}
	random := rand.New(rand.NewPCG(c.Seed, 0))
	after := func(mean time.Duration) float64 { return random.ExpFloat64() * mean.Seconds() * 1e3 }
	pull := 1e-3 / c.Turn.Seconds()
	step := c.Spread * math.Sqrt(2*pull)
	perMs := c.Rate / 8e3 / OpportunitySize

	t := &Trace{}
	x := random.NormFloat64() * c.Spread
	credit, grant, outage, back := 0.0, 0.0, math.Inf(1), 0.0
	if c.Every > 0 {
		outage = after(c.Every)
	}
	end := float64(c.Period.Milliseconds())
	for ms := 1.0; ms <= end; ms++ {
		x += step*random.NormFloat64() - pull*x
		if ms >= outage {
			back = ms + after(c.Lasts)
			outage = back + after(c.Every)
		}
		if ms < back {
			continue // what is not served now is not made up for
		}
		credit += perMs * math.Exp(x-c.Spread*c.Spread/2)
		if ms < grant {
			continue
		}
		grant = ms + after(c.Grant)
		for ; credit >= 1; credit-- {
			t.at = append(t.at, time.Duration(ms)*time.Millisecond)
		}
	}
	if n := len(t.at); n == 0 || t.at[n-1] < c.Period {
		t.at = append(t.at, c.Period) // a trace's last line is its period
	}
	return t, nil
}
