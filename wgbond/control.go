package wgbond

import (
	"errors"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

var errNoKeys = errors.New("wgbond: a sealed message before any keys were agreed")

const (
	// A notice is repeated in this many messages, so that one lost message
	// does not leave the receiver waiting in vain.
	noticeRepeats = 3
	// noticeDelay gathers what comes at once; noticeAgain is when a notice
	// goes out again on its own.
	noticeDelay = time.Millisecond
	noticeAgain = 25 * time.Millisecond
	maxNotices  = 64

	// A message with feedback is kept below what any path carries.
	messageSize = 1200

	// The peer is told of new values of hold when they differ by a quarter,
	// and again once a second.
	tuneEvery = time.Second
	tuneMin   = 50 * time.Millisecond

	// tailRepeats is how often the last feedback of many is repeated when
	// nothing more comes: the peer may be waiting for it to send more.
	tailRepeats = 2

	markerAfter = 10 * time.Millisecond

	// While data waits for the paths, no more than that is no news for the usual
	// pace, bytes. A download's acknowledgements, 300 a second, were reported 110 times
	// a second: 1.5 % of two links of 3.6 Mbit/s, and an upload's 4 % of two of 1.4.
	// With nothing that waits a report costs nothing, and the start of a page needs it.
	feedbackLeast = 1500
)

// notice is a frame that must reach the peer, by whatever path.
type notice struct {
	frame   wire.Frame
	repeats int
}

// begin starts a message that goes out by path id; add appends a frame;
// finish seals it and queues it on l.
func (s *Session) begin(id schedulers.PathID) { s.message = append(s.message[:0], byte(id)) }

func (s *Session) add(f wire.Frame) { s.message = wire.AppendFrame(s.message, f) }

func (s *Session) finish(l *link) {
	b := s.transport.Seal(s.cfg.Pool.Get()[:0], s.message)
	s.trace.made(l.id, len(b)+l.cfg.Overhead, false)
	s.pushControl(l, b)
}

// notify queues a frame for the peer.
func (s *Session) notify(f wire.Frame) {
	if len(s.notices) == maxNotices {
		// The oldest were repeated most. What the receiver is not told it
		// finds out by waiting for Hold.
		copy(s.notices, s.notices[1:])
		s.notices = s.notices[:maxNotices-1]
		s.counts.drop(dropNotice)
	}
	s.notices = append(s.notices, notice{f, noticeRepeats})
	s.noticesAt = min(s.noticesAt, s.now+noticeDelay)
}

// addNotices appends the notices that fit to the message being made.
func (s *Session) addNotices() {
	keep := s.notices[:0]
	for _, n := range s.notices {
		if len(s.message) < messageSize-32 {
			s.add(n.frame)
			n.repeats--
		}
		if n.repeats > 0 {
			keep = append(keep, n)
		}
	}
	clear(s.notices[len(keep):])
	s.notices = keep
	s.noticesAt = Never
	if len(keep) > 0 {
		s.noticesAt = s.now + noticeAgain
	}
}

func (s *Session) sendNotices() {
	l := s.controlLink()
	if l == nil {
		s.noticesAt = s.now + noticeAgain
		return
	}
	s.begin(l.id)
	s.addNotices()
	s.finish(l)
}

// controlLink is the path for messages that may go by any: where they arrive
// soonest, or where something was heard last if no path is known to work.
func (s *Session) controlLink() *link {
	if s.transport == nil {
		return nil
	}
	if l := s.soonest(); l != nil {
		return l
	}
	return s.heardLast(nil)
}

// feedbackDue is when the next feedback goes out; Never if nothing came.
func (s *Session) feedbackDue() time.Duration {
	packets, bytes, since := s.recv.Pending()
	switch {
	case s.transport == nil:
		return Never
	case packets == 0 && s.tailRepeats > 0:
		return s.reportedAt + feedbackSlow<<(tailRepeats-s.tailRepeats)
	case packets == 0:
		return Never
	}
	switch {
	case packets == 1 && !s.recv.Hole():
		return since + feedbackSlow
	case bytes <= feedbackLeast && s.pressed():
		return max(since, s.reportedAt+2*feedbackBusy)
	}
	return max(since, s.reportedAt+feedbackBusy)
}

// sendFeedback reports what came. It also goes by a second path when the first
// has been silent: it may have died, and without feedback the peer would take
// every path for dead.
func (s *Session) sendFeedback() {
	if packets, _, _ := s.recv.Pending(); packets == 0 {
		s.tailRepeats--
	} else if packets > 1 {
		s.tailRepeats = tailRepeats
	}
	s.reportedAt = s.now
	s.recv.Report(s.now, &s.fb)
	l := s.controlLink()
	if l == nil {
		return
	}
	s.begin(l.id)
	s.addNotices()
	s.message, _ = wire.AppendFeedback(s.message, &s.fb, messageSize-len(s.message))
	s.addReceipts()
	s.finish(l)

	if ago, ok := l.path.LastHeard(s.now); !ok || ago > heardLately {
		if second := s.heardLast(l); second != nil && (!s.spared(second) && !second.withheld() || ago > heardAgo) {
			s.message[0] = byte(second.id)
			s.finish(second)
		}
	}
}

// heardLately is the silence after which a path is not trusted with feedback
// alone.
const heardLately = 30 * time.Millisecond

// heardAgo is the silence after which even a path that is to be spared carries
// feedback.
const heardAgo = 300 * time.Millisecond

// heardLast is the attached path, other than l (nil: of all), that was heard
// last.
func (s *Session) heardLast(l *link) (best *link) {
	var bestAgo time.Duration
	for _, o := range s.links {
		if o == nil || o == l || !o.attached {
			continue
		}
		if ago, ok := o.path.LastHeard(s.now); ok && (best == nil || ago < bestAgo) {
			best, bestAgo = o, ago
		}
	}
	return best
}

func (s *Session) sendPing(l *link) {
	s.dial.unanswered++
	id := l.path.Ping(s.now, s.busy())
	l.pings[id%uint32(len(l.pings))] = sentPing{id: id, sent: s.now}
	s.begin(l.id)
	s.add(&wire.Ping{Path: uint8(l.id), ID: id, Sent: wire.ClockOf(s.now)})
	s.addReached(l)
	s.finish(l)
	s.askBeside(l)
	s.putOff(l)
}

// onPing answers a ping: on the path where the answer arrives soonest, or on
// the ping's own while nothing is known of any.
func (s *Session) onPing(l *link, f *wire.Ping, size int) {
	if l == nil || uint8(l.id) != f.Path {
		if o := s.links[f.Path%schedulers.MaxPaths]; l != nil && o != nil && o.attached && s.cfg.Role == Client {
			o.path.Hasten(s.now) // the server has data for it; see rest.go
			s.carriesData(o)
			return
		}
		s.counts.drop(dropStrayPing)
		return
	}
	by := s.soonest()
	if by == nil {
		by = l
	}
	s.begin(by.id)
	s.add(&wire.Pong{Path: f.Path, ID: f.ID, Sent: f.Sent, Received: wire.ClockOf(s.now), Size: uint16(size)})
	s.finish(by)
	if ago, _ := by.path.LastHeard(s.now); by != l && ago > heardLately {
		s.message[0] = byte(l.id)
		s.finish(l)
	}
}

// tune tells the peer how long a repair may take and which paths carry data.
func (s *Session) tune() {
	l := s.controlLink()
	if l == nil {
		return
	}
	rtt, deviation := l.path.RTT()
	f := wire.Tune{Hold: 2*(feedbackBusy+rtt+deviation) + 20*time.Millisecond, Deadline: reorderDeadline}
	unsure := false
	for _, l := range s.links {
		if l == nil {
			continue
		}
		// What was said by a path that has fallen silent may be lost: notices of
		// voids too.
		unsure = unsure || l.path.State() == schedulers.Suspect && s.now-l.suspectAt < repairAge
		used := s.plan.Classes[schedulers.Bulk].Paths[l.id].Use || s.plan.Classes[schedulers.Small].Paths[l.id].Use
		// What a suspect path has in flight is under way by it or as copies: the
		// order waits for either, but not for ever.
		waits := s.usable(l) || l.path.State() == schedulers.Suspect && s.now-l.suspectAt < repairAge
		if s.usable(l) && used && !s.resting(l) || waits && s.hist.InFlight(l.id) > 0 {
			f.Live |= 1 << l.id
		}
	}
	since := s.now - s.tunedAt
	differs := f.Live != s.tuned.Live || (f.Hold-s.tuned.Hold).Abs() > s.tuned.Hold/4
	if since < tuneMin || !differs && !unsure && since < tuneEvery {
		return
	}
	s.tuned, s.tunedAt = f, s.now
	if s.ordinal > 0 {
		s.notify(&wire.KeyPair{Index: s.index, Ordinal: s.ordinal, First: s.hist.Lowest()})
	}
	for i := range s.notices {
		if t, ok := s.notices[i].frame.(*wire.Tune); ok {
			*t = f
			s.notices[i].repeats = noticeRepeats
			s.noticesAt = min(s.noticesAt, s.now+noticeDelay)
			return
		}
	}
	kept := f // &f would put every f on the heap, told or not
	s.notify(&kept)
}

// markerDue is when path l should send a marker: it has been idle for a while
// though others carry data, and its last packet is older than theirs.
func (s *Session) markerDue(l *link) time.Duration {
	if !s.usable(l) || l.queue.len() > 0 || s.ordinal == 0 || s.tuned.Live&(1<<l.id) == 0 {
		return Never
	}
	if below := s.below(); below <= l.marked || below <= l.lastBound {
		return Never
	}
	return max(l.lastData, l.markedAt) + markerAfter
}

// below is the lowest counter that may yet be sent for the first time by a
// path whose own queue is empty, of those kept in order: the head of the send
// queue.
func (s *Session) below() uint64 {
	for i := range s.queue.len() {
		if p := s.hist.Get(s.queue.at(i).Handle); p != nil && p.Transmissions == 0 && p.Index == s.index {
			return p.Counter
		}
	}
	return s.nextOrdered
}

func (s *Session) sendMarker(l *link) {
	l.marked, l.markedAt = s.below(), s.now
	s.begin(l.id)
	s.add(&wire.Marker{Path: uint8(l.id), Index: s.index, Below: l.marked})
	s.finish(l)
}
