package tcp

import (
	"math"
	"time"
)

// CUBIC's constants (RFC 9438) and those of HyStart as Linux sets them
// (net/ipv4/tcp_cubic.c).
const (
	cubicC    = 0.4 // segments/s³
	cubicBeta = 0.7
	cubicReno = 3 * (1 - cubicBeta) / (1 + cubicBeta) // alpha of the Reno-friendly region

	hystartLowWindow = 16
	hystartSamples   = 8
	hystartMin       = 4 * time.Millisecond
	hystartMax       = 16 * time.Millisecond
)

// cubic is RFC 9438. Its windows are fractional segments.
type cubic struct {
	cwnd, ssthresh float64
	wMax           float64
	prr            prr
	inPRR          bool

	// The epoch since the last reduction; began < 0: begins with the next ack.
	began  time.Duration
	k      float64 // seconds until the curve is back at origin
	origin float64
	wEst   float64 // what Reno would have
	reno   float64 // wEst from which its slope is 1: the window before the reduction

	// HyStart: the round ends when una passes end.
	end     uint64
	samples int
	rtt     time.Duration

	before struct{ cwnd, ssthresh, wMax float64 } // for Undo
}

// NewCubic makes a CUBIC control.
func NewCubic(initialWindow int) Control {
	return &cubic{cwnd: float64(initialWindow), ssthresh: math.Inf(1), began: -1}
}

func (c *cubic) Sent(time.Duration, int) {
	if c.inPRR {
		c.prr.out++
	}
}

func (c *cubic) Ack(a *Ack) {
	switch {
	case a.State == Recovery:
		c.cwnd = float64(c.prr.window(a))
	case a.Acked == 0 || !a.Limited:
	case c.cwnd < c.ssthresh:
		c.cwnd = min(c.cwnd+float64(a.Acked), max(c.ssthresh, c.cwnd))
		c.hystart(a)
	default:
		c.avoid(a)
	}
}

func (c *cubic) hystart(a *Ack) {
	if a.Una > c.end || c.end == 0 {
		c.end, c.samples, c.rtt = a.Nxt, 0, math.MaxInt64
	}
	if a.RTT == 0 || c.cwnd < hystartLowWindow {
		return
	}
	c.rtt = min(c.rtt, a.RTT)
	if c.samples < hystartSamples {
		c.samples++
		return
	}
	if c.rtt > a.MinRTT+min(max(a.MinRTT/8, hystartMin), hystartMax) {
		c.ssthresh = c.cwnd
	}
}

// avoid is congestion avoidance, RFC 9438 section 4.2 to 4.5.
func (c *cubic) avoid(a *Ack) {
	if c.began < 0 {
		c.began = a.Now
		c.wEst, c.reno = c.cwnd, c.before.cwnd
		c.origin, c.k = c.cwnd, 0
		if c.cwnd < c.wMax {
			c.origin, c.k = c.wMax, math.Cbrt((c.wMax-c.cwnd)/cubicC)
		}
	}
	curve := func(t float64) float64 { t -= c.k; return c.origin + cubicC*t*t*t }
	t := (a.Now - c.began).Seconds()
	n := float64(a.Acked)

	alpha := cubicReno
	if c.wEst >= c.reno {
		alpha = 1
	}
	c.wEst += alpha * n / c.cwnd

	if curve(t) < c.wEst {
		c.cwnd = max(c.cwnd, c.wEst)
		return
	}
	target := min(max(curve(t+a.MinRTT.Seconds()), c.cwnd), 1.5*c.cwnd)
	c.cwnd += (target - c.cwnd) / c.cwnd * n
}

func (c *cubic) reduce() {
	c.before.cwnd, c.before.ssthresh, c.before.wMax = c.cwnd, c.ssthresh, c.wMax
	if c.cwnd < c.wMax { // fast convergence, section 4.7
		c.wMax = c.cwnd * (1 + cubicBeta) / 2
	} else {
		c.wMax = c.cwnd
	}
	c.ssthresh = max(c.cwnd*cubicBeta, 2)
	c.began = -1
	c.end = 0
}

func (c *cubic) Recovery(time.Duration, int) {
	prior := c.cwnd
	c.reduce()
	c.prr.start(c.ssthresh, prior)
	c.inPRR = true
}

func (c *cubic) Recovered(time.Duration) {
	if c.inPRR {
		c.cwnd, c.inPRR = c.ssthresh, false
	}
}

func (c *cubic) Timeout(time.Duration) {
	c.reduce()
	c.cwnd, c.inPRR = 1, false
}

func (c *cubic) Undo(time.Duration) {
	c.cwnd = max(c.cwnd, c.before.cwnd)
	c.ssthresh, c.wMax = c.before.ssthresh, c.before.wMax
	c.inPRR, c.began = false, -1
}

func (c *cubic) Window() int         { return max(1, int(c.cwnd)) }
func (c *cubic) PacingRate() float64 { return 0 }
