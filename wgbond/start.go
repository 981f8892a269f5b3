package wgbond

import (
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

// The start of a transfer, while nothing is known of the paths' rates. A single
// flow begins with ten packets, and paths with schedulers.ColdWindow grow faster
// than it does. A page's flows send a hundred at once. Stock WireGuard would send
// those at once too, by the path that the user chose; we do not know which that
// would be. So as much may be under way on the nearest path, farther ones send
// copies of it (schedulers/earliest), and the plan for that is made when they come.

const (
	// burstMost bounds what a path may have under way of a first burst, bytes.
	burstMost = 128 * 1500
	// copiesMost is the same of the copies: they fill the link before what will
	// go by it next.
	copiesMost = 112 * 1500
	// alike is how much longer than the least a round trip is, as a part of
	// it, that counts as the least.
	alike = 8
)

// firstWindows sets what may be under way on paths that are starting.
func (s *Session) firstWindows() {
	nearest := time.Duration(0)
	s.eachLink(s.workingLinks(), func(l *link) {
		if rtt, _ := l.path.MinRTT(s.now); rtt > 0 && (nearest == 0 || rtt < nearest) {
			nearest = rtt
		}
	})
	isNear := func(l *link) bool {
		rtt, _ := l.path.MinRTT(s.now)
		return rtt <= nearest+nearest/alike
	}
	near, burst := 0, s.queue.bytes
	s.cold = true
	s.eachLink(s.workingLinks(), func(l *link) {
		if isNear(l) {
			near++
			burst += l.queued + s.hist.InFlight(l.id)
			s.cold = s.cold && l.rate.Rate() == 0
		}
	})
	s.eachLink(s.workingLinks(), func(l *link) {
		if !l.rate.Starting() {
			return
		}
		rtt, _ := l.path.MinRTT(s.now)
		first := schedulers.ColdWindow(rtt, nearest)
		if isNear(l) {
			first = max(first, l.first)
		}
		// Several that are as near share it. A larger window for each made pages
		// slower on links of 3.6 Mbit/s.
		switch {
		case s.cold && near == 1 && isNear(l):
			first = max(first, min(burst, burstMost))
		case s.copiesAll(l):
			first = max(first, min(burst, copiesMost))
		}
		if first != l.first {
			l.first = first
			l.rate.SetParams(l.rateParams())
		}
	})
}

// hurry has the plan made at once if a first burst has come, which the last
// plan knew nothing of.
func (s *Session) hurry() {
	if s.cold && s.queue.bytes > schedulers.ColdWindow(0, 0) {
		s.planAt = s.now
	}
}
