package wgbond

import (
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

// A fade is not congestion. When the rate of varying paths falls to a third for a
// second, the window that filled them just so waits three times as long, and CoDel
// would cut it by three tenths; the paths are back in a second, the window of an
// inner CUBIC in eight. So what fills the paths at the best that they did together
// of late is left alone.

const (
	fadeWindow  = 200 * time.Millisecond
	fadeWindows = 50
	// fadeMore is by how much more than a round trip's worth may be held; with
	// 50 ms half was gained, with 500 no more.
	fadeMore = 250 * time.Millisecond
	// fadePatience is after how long a wait CoDel acts all the same: an inner
	// TCP's retransmission time-out is not far then.
	fadePatience = 500 * time.Millisecond
)

// best is the highest rate in the last windows of a count of bytes.
type best struct {
	began time.Duration
	bytes uint64 // at began
	rates [fadeWindows]float64
	next  int
}

// add takes in the count at now.
func (b *best) add(now time.Duration, bytes uint64) {
	switch d := now - b.began; {
	case bytes < b.bytes: // a path is gone, with its count
		b.began, b.bytes = now, bytes
	case d >= fadeWindow:
		b.rates[b.next] = float64(bytes-b.bytes) / d.Seconds()
		b.next = (b.next + 1) % fadeWindows
		b.began, b.bytes = now, bytes
	}
}

// rate is in bytes per second.
func (b *best) rate() (most float64) {
	for _, r := range b.rates {
		most = max(most, r)
	}
	return most
}

// fadeQueue is what the send queue may hold of a window that fills the paths at
// their best, bytes; it may be negative.
func (s *Session) fadeQueue() float64 {
	var delivered uint64
	var bound int
	var longest time.Duration
	for _, l := range s.links {
		if l == nil {
			continue
		}
		delivered += l.delivered.bytes
		bound += s.hist.InFlight(l.id) + l.queued
		if minRTT, _ := l.path.MinRTT(s.now); s.plan.Classes[schedulers.Bulk].Paths[l.id].Use {
			longest = max(longest, minRTT)
		}
	}
	s.best.add(s.now, delivered)
	return s.best.rate()*(longest+fadeMore).Seconds() - float64(bound)
}
