package rate

import (
	"cmp"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

// hint is what the path is said to have carried another time. Nobody vouches
// for it: the link may have changed, or a peer may lie. So it only says how
// Startup begins (compare draft-ietf-tsvwg-careful-resume):
//
//	                     first data is reported, with a round
//	                     trip of ½ to 2 × the hint's
//	hint ──▶ unused ────────────────────────────────────────▶ believed ──▶ gone
//	                                                              more delivered than it says,
//	                                                              a queue or loss before half of that,
//	                                                              or Startup is over
//
// The first flight goes as by a path of which nothing is known: a flow that has
// just begun would wait for what the far paths have of it (docs/algorithms.md).
// While it is believed, plans are made with its rate, and half of what it says
// would fill the pipe may be in flight at once, up to twice as much as may be
// without. It never makes that less, and the rate is measured as ever.
type hint struct {
	rate float64 // bytes per second; 0: there is none
	rtt  time.Duration
}

// hintMost is how much may be in flight on the word of a hint, as a multiple of
// what may be without one. With four times, a rate remembered ten times too high
// cost more than with twice, and one remembered right gained no more.
const hintMost = 2

// Suppose tells what the path carried another time, bytes per second, and its
// least round trip then; a rate of 0: that is not known. It takes the place of
// what was known before Restart.
func (c *Controller) Suppose(rate float64, rtt time.Duration) {
	c.prior, c.hint = 0, hint{rate, rtt}
}

// Believes reports whether a hint is believed now.
func (c *Controller) Believes() bool {
	far := c.minRTT > 2*c.hint.rtt || c.hint.rtt > 2*c.minRTT // another network, or route; or no data yet
	return c.hint.rate > 0 && c.mode == startup && !c.p.Spare && c.prior == 0 && !far
}

// supposed is the rate to plan with by the hint, bytes per second: not below what
// would be assumed without one, for a path that is planned with too little
// gets too little to show more.
func (c *Controller) supposed() float64 {
	return c.limit(max(c.hint.rate, c.unhinted()/c.minRTT.Seconds()))
}

// judgeHint drops a hint that was wrong.
func (c *Controller) judgeHint(d Delivery) {
	h, r := c.hint.rate, c.filter.max()
	lossy := c.roundLost >= fullPipeLost && float64(c.roundLost) > lossBound*float64(c.roundBytes)
	if c.Believes() && (r > h*fullPipeGain || r < h/2 && (lossy || d.RTT > c.startupQueue())) {
		c.hint = hint{}
	}
}

// firstWindow is what may be in flight while the pipe was never full: as on a
// path of which nothing is known, or twice what filled it once, or by the hint.
func (c *Controller) firstWindow() float64 {
	first := c.unhinted()
	switch {
	case c.prior > 0:
		first = min(first, max(2*c.prior*c.minRTT.Seconds(), minPackets*packetSize))
	case c.Believes():
		first = max(first, min(c.hint.rate*c.minRTT.Seconds()/2, hintMost*first))
	}
	return first
}

// unhinted is what may be in flight on a path of which nothing is known, bytes.
func (c *Controller) unhinted() float64 {
	return float64(cmp.Or(c.p.First, schedulers.ColdWindow(0, 0)))
}
