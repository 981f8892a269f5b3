// Package path knows one path: whether it works, and how long it takes.
//
// A path's life, as the sender of one direction sees it:
//
//	            confirmed           silent for SuspectAfter, ping and all
//	Probing ────────────────▶ Active ────────────────────────────▶ Suspect
//	                            ▲                                   │   │
//	                            └───────────── confirmed ───────────┘   │ silent for
//	                            └───────────── confirmed ─── Dead ◀─────┘ DeadAfter
//
// "Confirmed" means that the peer reported something we sent on this path:
// a ping answered, a data message in its feedback. "Silent" means that
// something sent on the path waits for such a report. Every state is probed
// with pings; a path that is not Active carries no data, but it is never given
// up.
//
// One lost packet is no silent path. Among many the others tell; of the last
// before a pause nothing would, so it takes something sent later that is not
// reported either, a ping if need be:
//
//	sent, lost          asked: ping           ping unreported: suspect
//	    ├──── askAfter ─────┼────── askAfter ───────┤
package path

import (
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

const (
	// minWindow is how long a minimum of RTT or one-way delay stands.
	minWindow = 10 * time.Second

	// A path is suspect when nothing came back for
	// SRTT + 4·RTTVar + 2·feedback + suspectSlack, at least suspectMin and at
	// most suspectMost above the least RTT.
	suspectSlack = 50 * time.Millisecond
	suspectMin   = 120 * time.Millisecond
	suspectMost  = 500 * time.Millisecond // above the least RTT: a path that queues for longer is as good as silent
	// A report of something is overdue after
	// SRTT + 2·RTTVar + 2·feedback + askSlack: that of a lone packet takes
	// longer than that of many. Losses less than apart from each other count
	// as one.
	askSlack = 10 * time.Millisecond
	apart    = 10 * time.Millisecond
	// heardLately is the silence within which a path counts as heard. A busy
	// one is heard every few milliseconds.
	heardLately = 100 * time.Millisecond
	// reportsMissing is how much longer a path is trusted when nothing at all is
	// reported: what it takes the peer to send its reports another way.
	reportsMissing = 80 * time.Millisecond
	// deadAfter is how long a suspect path is probed fast.
	deadAfter = 3 * time.Second

	pingBusy    = 500 * time.Millisecond // the session carries data
	pingIdle    = 20 * time.Second       // keeps NAT mappings, which RFC 4787 lets expire after 2 min
	pingSuspect = 100 * time.Millisecond
	pingDead    = 250 * time.Millisecond
)

// Path is one path's state and estimates. Use New.
type Path struct {
	state   schedulers.PathState
	since   time.Duration // of state
	heard   time.Duration // something came in by this path; never: < 0
	waiting time.Duration // send time of the oldest unreported thing; < 0: none
	second  time.Duration // send time of one sent apart from it; < 0: none

	rtt, rttVar time.Duration // smoothed; 0: unknown
	minRTT      minimum
	owd         time.Duration // smoothed; relative
	minOWD      minimum
	back        time.Duration // smoothed time that reports take to come; relative
	measured    bool

	nextPing time.Duration
	pingID   uint32
}

// New makes a path that is yet to be shown to work. It is due for a ping.
func New(now time.Duration) *Path {
	return &Path{state: schedulers.Probing, since: now, heard: -1, waiting: -1, second: -1, nextPing: now}
}

// State is the path's state.
func (p *Path) State() schedulers.PathState { return p.state }

// RTT is the smoothed round-trip time and its mean deviation; 0 if unknown.
func (p *Path) RTT() (smoothed, deviation time.Duration) { return p.rtt, p.rttVar }

// MinRTT is the lowest round-trip time of the last ten seconds and the time
// since it was met; 0 if unknown.
func (p *Path) MinRTT(now time.Duration) (rtt, age time.Duration) {
	return p.minRTT.value, now - p.minRTT.at
}

// Empty is the time since the path was last known to hold no queue: since the
// lowest round trip was met, or the lowest one-way delay. The way back may have a
// queue all along, and then only the latter tells.
func (p *Path) Empty(now time.Duration) time.Duration {
	return now - max(p.minRTT.at, p.minOWD.at)
}

// Late is how much longer reports take on their way back now than when MinRTT
// was met: what else the peer sends is before them. It is none of this path's
// queue, but what is in flight includes what was delivered meanwhile. 0 if
// it is no more than a few packets, or the reports themselves, make of it.
func (p *Path) Late() time.Duration {
	if !p.measured {
		return 0
	}
	late := p.back - (p.minRTT.value - p.minOWD.value)
	if late <= near(p.minRTT.value) {
		return 0
	}
	return late
}

// Forward is the round trip of something sent at sent, which arrived at arrived
// (the peer's clock), had its report come back as fast as when MinRTT was met; 0
// if unknown.
func (p *Path) Forward(sent time.Duration, arrived wire.Clock) time.Duration {
	if !p.measured {
		return 0
	}
	return p.minRTT.value + max(0, time.Duration(arrived)*time.Microsecond-sent-p.minOWD.value)
}

// OWD is the smoothed and the lowest one-way delay, relative to an offset
// that all of a session's paths share; false if unknown.
func (p *Path) OWD() (smoothed, lowest time.Duration, ok bool) {
	return p.owd, p.minOWD.value, p.measured
}

// Heard accounts for a datagram that came in by the path.
func (p *Path) Heard(now time.Duration) { p.heard = now }

// LastHeard is the time since something came in by the path; false if never.
func (p *Path) LastHeard(now time.Duration) (time.Duration, bool) {
	return now - p.heard, p.heard >= 0
}

// Sent accounts for something that will be reported if it arrives.
func (p *Path) Sent(now time.Duration) {
	switch {
	case p.waiting < 0:
		p.waiting = now
	case p.second < 0 && now-p.waiting >= apart:
		p.second = now
	}
}

// Measured takes in one measurement: something sent at sent arrived at arrived
// (the peer's clock), and the report, which left at reported (the peer's
// clock), is here now.
func (p *Path) Measured(now, sent time.Duration, arrived, reported wire.Clock) {
	rtt := now - sent - time.Duration(reported-arrived)*time.Microsecond
	if rtt <= 0 {
		return // a peer that lies about its clock, or our own rounding
	}
	if p.rtt == 0 {
		p.rtt, p.rttVar = rtt, rtt/2
	} else { // RFC 6298, 2.3
		p.rttVar += ((p.rtt - rtt).Abs() - p.rttVar) / 4
		p.rtt += (rtt - p.rtt) / 8
	}
	p.minRTT.offer(now, rtt, near(p.minRTT.value))

	owd := time.Duration(arrived)*time.Microsecond - sent
	back := rtt - owd
	if !p.measured {
		p.measured, p.owd, p.back = true, owd, back
	} else {
		p.owd += (owd - p.owd) / 4
		p.back = min(back, p.back+(back-p.back)/4)
	}
	p.minOWD.offer(now, owd, near(p.minRTT.value))
}

// Expect is the peer's clock at which something sent now would arrive over
// the empty path; 0 if unknown.
func (p *Path) Expect(now time.Duration) wire.Clock {
	if !p.measured {
		return 0
	}
	return wire.ClockOf(now + p.minOWD.value)
}

// Confirmed accounts for a report that something sent on the path arrived;
// oldest is the send time of the oldest packet still unreported, < 0 if none.
// It returns true if the path has come (back) to life by it.
func (p *Path) Confirmed(now, oldest time.Duration) bool {
	p.waiting, p.second = -1, -1
	if oldest >= 0 {
		p.waiting = now // progress restarts the wait
	}
	if p.state == schedulers.Active {
		return false
	}
	p.enter(now, schedulers.Active)
	p.nextPing = now + pingBusy
	return true
}

// Down makes the path suspect at once: its socket said so.
func (p *Path) Down(now time.Duration) bool {
	if p.state != schedulers.Active {
		return false
	}
	p.suspect(now)
	return true
}

func (p *Path) suspect(now time.Duration) {
	p.enter(now, schedulers.Suspect)
	p.nextPing = now
}

func (p *Path) enter(now time.Duration, s schedulers.PathState) { p.state, p.since = s, now }

// SuspectAfter is how long the path may be silent; feedback is the peer's
// usual time between two feedbacks.
func (p *Path) SuspectAfter(feedback time.Duration) time.Duration {
	usual := max(p.rtt+4*p.rttVar+2*feedback+suspectSlack, suspectMin)
	return min(usual, p.minRTT.value+suspectMost)
}

// askAfter is how long a report may take before it is overdue.
func (p *Path) askAfter(feedback time.Duration) time.Duration {
	return p.rtt + 2*p.rttVar + 2*feedback + askSlack
}

// suspectAt is when the path becomes suspect unless something is reported.
// There must be a second thing.
//
// reported is when the peer last reported anything, of whatever path. If that
// was before the wait began, the reports may be what is lost, on their way by
// another path that died: then this one is trusted a little longer, and while
// it is heard.
func (p *Path) suspectAt(feedback, reported time.Duration) time.Duration {
	at := max(p.waiting+p.SuspectAfter(feedback), p.second+p.askAfter(feedback))
	if reported >= p.waiting {
		return at
	}
	at = max(at, p.waiting+p.SuspectAfter(feedback)+reportsMissing)
	if p.heard >= 0 {
		at = max(at, p.heard+heardLately)
	}
	return at
}

// Grace gives the path's wait so much more time: nobody was there to take the
// reports.
func (p *Path) Grace(late time.Duration) {
	if p.waiting >= 0 {
		p.waiting += late
	}
	if p.second >= 0 {
		p.second += late
	}
}

// Check does what is due by now and returns true if the path has just become
// suspect. It may bring the next ping forward. reported is as in suspectAt.
func (p *Path) Check(now, feedback, reported time.Duration) (becameSuspect bool) {
	switch p.state {
	case schedulers.Active:
		switch {
		case p.waiting < 0:
		case p.second < 0:
			if now-p.waiting >= p.askAfter(feedback) {
				p.second = now
				p.Hasten(now)
			}
		case now >= p.suspectAt(feedback, reported):
			p.suspect(now)
			return true
		}
	case schedulers.Suspect:
		if now-p.since >= deadAfter {
			p.enter(now, schedulers.Dead)
		}
	}
	return false
}

// NextCheck is when Check may have something to do; ok is false if never.
func (p *Path) NextCheck(feedback, reported time.Duration) (at time.Duration, ok bool) {
	switch {
	case p.state == schedulers.Active && p.waiting >= 0 && p.second < 0:
		return p.waiting + p.askAfter(feedback), true
	case p.state == schedulers.Active && p.waiting >= 0:
		return p.suspectAt(feedback, reported), true
	case p.state == schedulers.Suspect:
		return p.since + deadAfter, true
	}
	return 0, false
}

// NextPing is when the next ping is due.
func (p *Path) NextPing() time.Duration { return p.nextPing }

// Hasten brings the next ping forward to at.
func (p *Path) Hasten(at time.Duration) { p.nextPing = min(p.nextPing, at) }

// PutOff puts the next ping off until at, if it would be due before.
func (p *Path) PutOff(at time.Duration) { p.nextPing = max(p.nextPing, at) }

// Ping takes the ping that is due: its id. busy: the session carries data.
func (p *Path) Ping(now time.Duration, busy bool) (id uint32) {
	switch p.state {
	case schedulers.Probing, schedulers.Suspect:
		p.nextPing = now + pingSuspect
	case schedulers.Dead:
		p.nextPing = now + pingDead
	default:
		p.nextPing = now + pingIdle
		if busy {
			p.nextPing = now + pingBusy
		}
	}
	p.Sent(now)
	p.pingID++
	return p.pingID
}

// ProbeID is the id of a ping beside those that are due.
func (p *Path) ProbeID() uint32 {
	p.pingID++
	return p.pingID
}

// minimum is the lowest value of the last minWindow.
//
// It keeps the current minimum and the lowest value since half a window ago,
// which takes over when the minimum has aged out.
type minimum struct {
	value, at time.Duration
	next      time.Duration // lowest since nextFrom
	nextAt    time.Duration
	nextFrom  time.Duration
	set       bool
}

// near is how close to a minimum a value must come for the minimum to count as
// met again, on a path with that least round-trip time: what a few packets on
// the way make of it.
func near(minRTT time.Duration) time.Duration { return max(2*time.Millisecond, minRTT/16) }

func (m *minimum) offer(now, v, near time.Duration) {
	if m.set && m.value < v && v <= m.value+near {
		m.at, m.next, m.nextAt, m.nextFrom = now, v, now, now
		return
	}
	if !m.set || v <= m.value {
		*m = minimum{value: v, at: now, next: v, nextAt: now, nextFrom: now, set: true}
		return
	}
	if v <= m.next || now-m.nextFrom > minWindow/2 {
		m.next, m.nextAt, m.nextFrom = v, now, now
	}
	if now-m.at > minWindow+time.Second {
		// ProbeRTT (rate) refreshes the minimum at ten seconds of age; the
		// second more is its chance to do so.
		m.value, m.at = m.next, m.nextAt
		m.next, m.nextAt, m.nextFrom = v, now, now
	}
}
