package wgbond

import (
	"time"

	"github.com/wg-bond/wg-bond/wgbond/feedback"
)

// A path that has nothing to send while another is behind helps it out. What
// is stuck there holds up the order of all that follows, so the inner flow
// waits and has nothing new to send: the idle path costs nothing then, and
// moving a few packets ends the wait.

const (
	helpEvery = 5 * time.Millisecond
	// helpMargin is how much sooner a packet must be expected to arrive by the
	// idle path for it to be sent there.
	helpMargin = 20 * time.Millisecond
	// helpAhead is how much of the idle path's time helping may take, so that
	// new packets need not wait for it long.
	helpAhead = 20 * time.Millisecond
	// helpLook bounds how many packets in flight are looked at.
	helpLook = 1024
)

// help lets idle paths carry what is stuck on others.
func (s *Session) help() {
	if s.waiting() || s.now < s.helpAt || s.transport == nil {
		return
	}
	s.helpAt = s.now + helpEvery
	for _, l := range s.links {
		if l == nil || !s.usable(l) || l.cfg.Backup || l.queue.len() > 0 {
			continue
		}
		room := min(l.rate.Window()-s.hist.InFlight(l.id), max(8*1500, int(l.rate.Rate()*helpAhead.Seconds())))
		for _, o := range s.links {
			if o != nil && o != l && room > 0 {
				room = s.helpOut(l, o, room)
			}
		}
	}
}

// helpOut sends by l, up to room bytes, what is behind on o, and returns what
// room is left.
func (s *Session) helpOut(l, o *link, room int) int {
	mine, _, ok := l.path.OWD()
	_, theirs, ok2 := o.path.OWD()
	if !ok || !ok2 {
		return room
	}
	minRTT, _ := o.path.MinRTT(s.now)
	minRTT += o.path.Late()
	r := max(o.rate.Recent(), 1)
	oldest := s.hist.Oldest(o.id)
	if oldest < 0 {
		return room
	}
	srtt, deviation := o.path.RTT()
	stall := max(0, s.now-max(o.progressAt, oldest+srtt+2*deviation)-4*feedbackBusy)
	// wait is how long a packet with so many bytes before it will stand in a
	// queue. A path that stands still will, for all we know, do so for as long
	// again.
	starting := o.rate.Starting()
	wait := func(bytes int) time.Duration {
		if starting {
			return stall // its rate is not known
		}
		return time.Duration((float64(bytes)/r-(minRTT+feedbackBusy).Seconds())*1e9) + stall
	}
	if stall == 0 && o.rate.Varying() == 0 {
		return room // a steady path is as the plan has it
	}
	late := max(o.rate.QueueBound()+helpMargin, mine+helpMargin-theirs)
	if wait(s.hist.InFlight(o.id)) < late {
		return room
	}
	ahead, looked, fits := 0, 0, l.carries+s.overhead()
	var stuck []feedback.Handle
	s.hist.EachInFlight(o.id, func(h feedback.Handle, size int, copied bool) bool {
		ahead += size
		looked++
		if !copied && size <= fits && wait(ahead) > late {
			stuck = append(stuck, h)
			room -= size
		}
		return room > 0 && looked < helpLook
	})
	for _, h := range stuck {
		c, ok := s.copyOf(s.hist.Get(h))
		if !ok {
			return 0
		}
		s.counts.copies++
		s.pushData(l, c, s.hist.Get(c))
	}
	for room > 0 && o.queue.len() > 0 && o.queue.front().size <= fits {
		p := s.hist.Get(o.queue.front().Handle)
		if p != nil && p.IsCopy() {
			break // of what is stuck, perhaps on this very path
		}
		w := o.queue.popFront()
		o.queued -= w.size
		room -= w.size
		if p != nil {
			s.pushData(l, w.Handle, p)
		}
	}
	s.judgeExecutor(o)
	return room
}
