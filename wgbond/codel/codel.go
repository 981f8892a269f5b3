// Package codel is the control law of CoDel (RFC 8289): it says which packets
// at the head of a queue to drop so that the queue does not stand.
//
// A queue may be long for a moment; what must not be is that even its
// shortest delay over a whole Interval is above Target. Then packets are
// dropped at the head, at first one an interval, then ever faster, until the
// delay is below Target again.
//
// The package holds the law alone. The queue is the caller's, who asks Drop
// about each packet it is about to take.
package codel

import (
	"math"
	"time"
)

// CoDel is the state of the law for one queue. Set Target and Interval; the
// rest of the zero value is ready.
type CoDel struct {
	// Target is the standing delay allowed; Interval about the longest usual
	// round-trip time of what flows through the queue.
	Target, Interval time.Duration
	// Floor is a backlog, bytes, that is not too long for Patience, whatever
	// Target says: the link was faster and may be so again.
	Floor    int
	Patience time.Duration

	firstAbove time.Duration // when the delay will have been above Target for Interval; 0: it is not
	dropping   bool
	dropNext   time.Duration
	count      uint32 // drops in this dropping state
	lastCount  uint32
}

// mtu is the backlog below which a queue is never too long, bytes.
const mtu = 1500

// Drop reports whether the packet at the head, which has waited for sojourn,
// is to be dropped. backlog is the number of bytes in the queue.
func (c *CoDel) Drop(now, sojourn time.Duration, backlog int) bool {
	above := c.above(now, sojourn, backlog)
	if c.dropping {
		if !above {
			c.dropping = false
			return false
		}
		if now < c.dropNext {
			return false
		}
		c.count++
		c.dropNext = c.after(c.dropNext)
		return true
	}
	if !above {
		return false
	}
	c.dropping = true
	// Begin near the rate that controlled the queue last time, if that was
	// not long ago (RFC 8289, 5.4).
	recent := c.count - c.lastCount
	c.count = 1
	if recent > 1 && now-c.dropNext < 16*c.Interval {
		c.count = recent
	}
	c.lastCount = c.count
	c.dropNext = c.after(now)
	if c.count == 1 {
		// The RFC's interval leaves the round trip out that this queue adds.
		c.dropNext += 2 * sojourn
	}
	return true
}

// above reports whether the delay has been above Target for an Interval.
func (c *CoDel) above(now, sojourn time.Duration, backlog int) bool {
	if sojourn < c.Target || backlog <= mtu || backlog <= c.Floor && sojourn < c.Patience {
		c.firstAbove = 0
		return false
	}
	if c.firstAbove == 0 {
		c.firstAbove = now + c.Interval
		return false
	}
	return now >= c.firstAbove
}

func (c *CoDel) after(t time.Duration) time.Duration {
	return t + time.Duration(float64(c.Interval)/math.Sqrt(float64(c.count)))
}
