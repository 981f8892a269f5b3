// Package replay reads a session's trace (wgbond/trace) and shows what
// happened: by the second and path, what is worth noting, the worst second
// under the glass, a figure.
//
//	trace.Read ──▶ Gather ──▶ Run: ticks of 20 ms and notes
//	                           ├─▶ Table, Notes, Zoom   text
//	                           └─▶ Figure               PNG or SVG
//
// It asks nothing but the trace, so it shows virtual time and real time alike.
package replay

import (
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/trace"
)

const (
	// tickLength is the resolution of a Run.
	tickLength = 20 * time.Millisecond
	// maxSpan bounds a Run's memory: 3 kB a tick, so about 300 MB.
	maxSpan = 30 * time.Minute
)

// Run is (a part of) a trace.
type Run struct {
	Header   trace.Header
	From, To time.Duration // the part; To is the end of the last tick
	ticks    []tick
	notes    []Note
	names    [schedulers.MaxPaths]string
	known    uint32 // a bit for each path that was ever there
	// sending: this end sent more than it got, so what counts is what the peer
	// reported; else what came.
	sending bool
}

// tick is what happened in 20 ms.
type tick struct {
	paths    [schedulers.MaxPaths]pathTick
	queue    int          // bytes waiting for a path, as last known
	held     int          // packets in the reorder buffer, as last known
	waited   trace.Micros // longest of packets sent: in the send queue and the path's
	gap      trace.Micros // longest that ended
	released uint64       // packets that had waited
	heldFor  trace.Micros // by them, in all
	voids    uint64
	disorder uint64
}

// pathTick is one path's part. Bytes and counts are of the tick, the rest is
// as last known.
type pathTick struct {
	sent, again, got, acked int // bytes; again: of sent, sent before
	control                 int
	lost, repairs           int // packets
	slack                   bool
	full                    bool // a packet left that filled the window

	state            string
	mode             string
	rate, pacing     int64
	srtt, minRTT     trace.Micros
	queueing         trace.Micros
	inFlight, window int
	queued           int
}

// Options choose a part of a trace.
type Options struct {
	From, To time.Duration // To 0: the end
}

// gathering is a Run in the making.
type gathering struct {
	*Run
	opt       Options
	now       tick // as of the present tick
	delivered [schedulers.MaxPaths]uint64
	sent, got uint64
	seen      time.Duration
	notables
}

// Gather reads the part of a trace that opt says.
func Gather(h trace.Header, entries iter.Seq2[trace.Entry, error], opt Options) (*Run, error) {
	g := &gathering{Run: &Run{Header: h, From: opt.From.Truncate(tickLength)}, opt: opt}
	for i, name := range h.Paths {
		if i < len(g.names) {
			g.names[i] = name
		}
	}
	g.notables.run = g.Run
	for e, err := range entries {
		if err != nil {
			return nil, err
		}
		if opt.To > 0 && e.T >= opt.To {
			break
		}
		if e.T-g.From > maxSpan {
			return nil, fmt.Errorf("line %d is %v after the start: %v are shown at a time; choose with --from and --to", e.Line, e.T-g.From, maxSpan)
		}
		if e.T < g.seen {
			return nil, fmt.Errorf("line %d: time goes back from %v to %v", e.Line, g.seen, e.T)
		}
		g.advance(e.T)
		g.take(e)
		g.note(e)
	}
	if g.seen < g.From {
		return nil, fmt.Errorf("the trace ends at %v, before --from %v", g.seen, opt.From)
	}
	g.ticks = append(g.ticks, g.now)
	g.To = g.From + time.Duration(len(g.ticks))*tickLength
	g.sending = g.sent > g.got
	g.finish()
	return g.Run, nil
}

// advance closes the ticks before t.
func (g *gathering) advance(t time.Duration) {
	for g.seen = t; t >= g.From+time.Duration(len(g.ticks)+1)*tickLength; {
		g.ticks = append(g.ticks, g.now)
		g.fresh()
	}
}

// fresh begins a tick: counts are zero, what was last known stays.
func (g *gathering) fresh() {
	was := &g.now
	next := tick{queue: was.queue, held: was.held}
	for i := range was.paths {
		p := was.paths[i]
		p.sent, p.again, p.got, p.acked, p.control, p.lost, p.repairs, p.slack, p.full = 0, 0, 0, 0, 0, 0, 0, false, false
		next.paths[i] = p
	}
	g.now = next
}

// take adds an event to the present tick. What comes before From only tells
// how things stood then.
func (g *gathering) take(e trace.Entry) {
	now, before := &g.now, e.T < g.From
	path := func(id schedulers.PathID) *pathTick {
		g.known |= 1 << id
		return &now.paths[id]
	}
	switch e := e.Event.(type) {
	case *trace.Path:
		if e.Label != "" {
			g.names[e.Path] = e.Label
		}
		if e.Gone {
			*path(e.Path) = pathTick{state: "gone"}
			g.delivered[e.Path] = 0
		}
	case *trace.State:
		p := path(e.Path)
		if p.state = e.State; e.State != "active" {
			p.inFlight, p.queued = 0, 0 // all of it was moved elsewhere
		}
	case *trace.Mode:
		p := path(e.Path)
		p.mode, p.rate, p.window = e.Mode, e.Rate, e.Window
	case *trace.Bind:
		path(e.Path).queued = e.Queued
		now.queue = e.Queue
	case *trace.Sent:
		p := path(e.Path)
		p.sent += e.Size
		if e.Tx > 1 {
			p.again += e.Size
			p.repairs++
		}
		p.inFlight, p.window, p.pacing, p.queued = e.InFlight, e.Window, e.Pacing, e.Queued
		p.full = p.full || e.InFlight >= e.Window
		now.waited = max(now.waited, e.Waited)
		g.sent += uint64(e.Size)
	case *trace.Slack:
		p := path(e.Path)
		p.slack, p.inFlight, p.window = true, e.InFlight, e.Window
	case *trace.Ack:
		p := path(e.Path)
		if was := g.delivered[e.Path]; e.Delivered >= was {
			p.acked += int(e.Delivered - was)
		} else {
			p.acked += int(e.Delivered) // attached anew
		}
		g.delivered[e.Path] = e.Delivered
		p.rate, p.pacing, p.srtt, p.minRTT, p.queueing = e.Rate, e.Pacing, e.SRTT, e.MinRTT, e.QueueOWD
		p.inFlight, p.window, p.mode = e.InFlight, e.Window, e.Mode
	case *trace.Lost:
		path(e.Path).lost++
	case *trace.Void:
		now.voids += e.To - e.Counter
	case *trace.Plan:
		now.queue = e.Queue
	case *trace.ControlSent:
		path(e.Path).control += e.Size
	case *trace.Got:
		path(e.Path).got += e.Size
		g.got += uint64(e.Size)
	case *trace.Gap:
		now.held = max(now.held, e.Held)
	case *trace.GapEnd:
		now.gap = max(now.gap, e.For)
		now.held = e.Held
	case *trace.Released:
		now.released += e.Packets
		now.heldFor += e.Waited * trace.Micros(e.Packets)
		now.held = e.Held
	case *trace.Disorder:
		now.disorder += e.Packets
	}
	if before {
		g.fresh()
		g.sent, g.got = 0, 0
	}
}

// Name is what a path is called.
func (r *Run) Name(id schedulers.PathID) string {
	if n := r.names[id]; n != "" {
		return n
	}
	return "path " + strconv.Itoa(int(id))
}

// Paths are the numbers of all that were ever there.
func (r *Run) Paths() []schedulers.PathID {
	var ids []schedulers.PathID
	for id := range schedulers.PathID(schedulers.MaxPaths) {
		if r.known>>id&1 != 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// carried is what got through by a path in a tick, bytes.
func (r *Run) carried(p *pathTick) int {
	if r.sending {
		return p.acked
	}
	return p.got
}

// total is what got through in a tick by all paths, bytes.
func (r *Run) total(t *tick) (n int) {
	for i := range t.paths {
		n += r.carried(&t.paths[i])
	}
	return n
}
