package replay

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/trace"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

const (
	// A gap is worth noting from longGap on, a silence from longSilence on, a
	// run of losses from burstLosses packets on.
	longGap     = 50 * time.Millisecond
	longSilence = 200 * time.Millisecond
	burstLosses = 5
	// What follows within together is one note.
	together = 100 * time.Millisecond
	// A packet of up to expressSize bytes may have gone ahead of those before it
	// (wgbond/express.go): it tells nothing of its path.
	expressSize = wire.ExpressSize + 48
	// busyPackets in the busySpan before it make a silence one.
	busyPackets = 50
)

// Note is something worth knowing.
type Note struct {
	T    time.Duration
	Path int // −1: of the session
	Text string
}

// notables finds them.
type notables struct {
	run    *Run
	paths  [schedulers.MaxPaths]*trace.Path // as last said
	losses [schedulers.MaxPaths]bunch
	voids  bunches
	order  bunches
	drops  bunches

	gap     trace.Gap
	gapped  bool
	newer   [schedulers.MaxPaths]int // packets beyond the gap that came by each path
	lastGot [schedulers.MaxPaths]time.Duration
	came    trace.Got // the latest
	cameAt  time.Duration
	running int // packets since the last silence
	pair    uint32
}

// bunch is a number of like things, none of which is worth a note alone.
type bunch struct {
	n           int
	bytes       int
	first, last time.Duration
	longest     trace.Micros
	why         string
}

func (b *bunch) add(t time.Duration, n, size int, took trace.Micros) {
	if b.n == 0 {
		b.first = t
	}
	b.n += n
	b.bytes += size
	b.last = t
	b.longest = max(b.longest, took)
}

// over reports whether a thing at t is no part of the bunch.
func (b *bunch) over(t time.Duration) bool { return b.n > 0 && t-b.last > together }

// bunches are one bunch for each reason.
type bunches []bunch

func (bs *bunches) of(why string) *bunch {
	for i := range *bs {
		if (*bs)[i].why == why {
			return &(*bs)[i]
		}
	}
	*bs = append(*bs, bunch{why: why})
	return &(*bs)[len(*bs)-1]
}

// say adds a note; path −1: of the session. What is before the part shown is
// forgotten at the end.
func (n *notables) say(t time.Duration, path int, format string, args ...any) {
	n.run.notes = append(n.run.notes, Note{t, path, fmt.Sprintf(format, args...)})
}

// span gives a time span for people.
func span(m trace.Micros) string {
	if m < 10_000 {
		return fmt.Sprintf("%.1f ms", float64(m)/1e3)
	}
	return fmt.Sprintf("%.0f ms", float64(m)/1e3)
}

func (n *notables) note(e trace.Entry) {
	t := e.T
	n.flush(t)
	switch e := e.Event.(type) {
	case *trace.Path:
		switch was := n.paths[e.Path]; {
		case e.Gone:
			n.say(t, int(e.Path), "withdrawn")
		case was != nil && e.MaxRate == 0 && was.MaxRate > 0:
			n.say(t, int(e.Path), "as much may be sent as goes")
		case was != nil && e.MaxRate != was.MaxRate:
			n.say(t, int(e.Path), "at most %.2f Mbit/s may be sent", mbit(e.MaxRate))
		default:
			n.say(t, int(e.Path), "is there, as path %d", e.Path)
		}
		n.paths[e.Path] = e
		if e.Gone {
			n.paths[e.Path] = nil
		}
	case *trace.State:
		attached := ""
		if e.Attached {
			attached = ", attached"
		}
		was := ""
		if e.Was != "" && e.Was != e.State {
			was = ", was " + e.Was
		}
		silent := ""
		if e.Was == "active" && e.State == "suspect" && e.Silent >= 0 {
			silent = "; nothing came by it for " + span(e.Silent)
		}
		n.say(t, int(e.Path), "%s%s%s%s", e.State, was, attached, silent)
	case *trace.Mode:
		if e.Was != "" {
			n.say(t, int(e.Path), "rate control: %s → %s at %.2f Mbit/s, window %d kB, min RTT %s",
				e.Was, e.Mode, mbit(float64(e.Rate)), e.Window/1000, span(e.MinRTT))
		}
	case *trace.Bond:
		n.say(t, -1, "%s, was %s", e.State, e.Was)
	case *trace.Lost:
		b := &n.losses[e.Path]
		b.why = e.Why
		b.add(t, 1, e.Size, e.Age)
	case *trace.Void:
		n.voids.of(e.Why).add(t, int(min(e.To-e.Counter, 1<<30)), 0, e.Age)
	case *trace.Disorder:
		n.order.of(e.Why).add(t, int(min(e.Packets, 1<<30)), 0, 0)
	case *trace.Drop:
		if !isVoid(e.Why) {
			n.drops.of(e.Why).add(t, int(min(e.N, 1<<30)), 0, 0)
		}
	case *trace.Late:
		n.say(t-e.By.Duration(), -1, "the engine was called %s late: this machine was busy", span(e.By))
	case *trace.Untraced:
		n.say(t, -1, "%d events are missing here: whoever wrote the trace was busy", e.Events)
	case *trace.ControlSent:
		for _, f := range e.Frames {
			if f.Kind == "key_pair" && f.Pair > n.pair {
				n.pair = f.Pair
				if f.Pair > 1 {
					n.say(t, -1, "WireGuard's key pair %d begins at counter %d", f.Pair, f.From)
				}
			}
		}
	case *trace.Got:
		n.got(t, e)
	case *trace.Gap:
		n.gap, n.gapped = *e, true
		n.newer = [schedulers.MaxPaths]int{}
	case *trace.GapEnd:
		n.gapEnd(t, e)
	}
}

// isVoid tells the drops that a Void tells more of.
func isVoid(why string) bool {
	return why == "codel" || why == "queue-full" || strings.HasPrefix(why, "repair-")
}

// got notes silences, and who brings what while a gap is open.
func (n *notables) got(t time.Duration, e *trace.Got) {
	if quiet := t - n.cameAt; n.running > 0 && quiet > longSilence {
		if n.running >= busyPackets {
			n.say(n.cameAt, -1, "nothing comes for %v", quiet.Round(time.Millisecond))
		}
		n.running = 0
	}
	n.running++
	n.came, n.cameAt = *e, t
	n.lastGot[e.Path] = t
	if n.gapped && e.Pair == n.gap.Pair && e.Counter > n.gap.Counter && e.Size > expressSize {
		n.newer[e.Path]++
	}
}

// gapEnd says what a long gap waited for.
func (n *notables) gapEnd(t time.Duration, e *trace.GapEnd) {
	open := n.gapped
	n.gapped = false
	if e.For.Duration() < longGap || !open {
		return
	}
	cause := ""
	switch e.Why {
	case "filled":
		by := n.came.Path
		cause = fmt.Sprintf("it came by %s, ", n.run.Name(by))
		if n.came.Packet != e.Packet || n.cameAt != t {
			cause = "it came"
		} else if later := n.newer[by]; later > 0 {
			cause += fmt.Sprintf("which had brought %d later ones: sent again, or out of order on the path", later)
		} else {
			cause += "which had brought nothing later: the path is that far behind, or was silent"
		}
	case "passed":
		cause = "given up: every live path had brought later ones, and no repair came in time"
	case "void":
		cause = "the sender said that it would not come"
	case "deadline":
		cause = "given up at the deadline" + n.silentPaths(t)
	case "forced":
		cause = "given up: too much was held"
	default:
		cause = e.Why
	}
	missing := ""
	if n.gap.Missing > 1 {
		missing = fmt.Sprintf(" and %d after it", n.gap.Missing-1)
	}
	n.say(t-e.For.Duration(), -1, "reordering waits %s for packet %d%s: %s", span(e.For), e.Counter, missing, cause)
}

// silentPaths names those that did not bring anything beyond the gap.
func (n *notables) silentPaths(t time.Duration) string {
	var names []string
	for known := n.run.known; known != 0; known &= known - 1 {
		id := bits.TrailingZeros32(known)
		if n.newer[id] == 0 {
			names = append(names, fmt.Sprintf("%s (silent for %s)", n.run.Name(schedulers.PathID(id)), span(trace.Span(t-n.lastGot[id]))))
		}
	}
	if names == nil {
		return ""
	}
	return "; nothing newer by " + strings.Join(names, ", ")
}

// flush notes the bunches that are over at t.
func (n *notables) flush(t time.Duration) {
	for id := range n.losses {
		if b := &n.losses[id]; b.over(t) {
			if b.n >= burstLosses {
				n.say(b.first, id, "%d packets (%.1f kB) taken for lost within %v: %s",
					b.n, float64(b.bytes)/1e3, (b.last - b.first).Round(time.Millisecond), lossReasons[b.why])
			}
			*b = bunch{}
		}
	}
	each := func(bs bunches, f func(*bunch)) {
		for i := range bs {
			if b := &bs[i]; b.over(t) {
				f(b)
				*b = bunch{why: b.why}
			}
		}
	}
	each(n.voids, func(b *bunch) {
		waited := ""
		if b.longest > 0 {
			waited = ", after " + span(b.longest) + " at most"
		}
		n.say(b.first, -1, "%s given up: %s%s", packets(b.n), b.why, waited)
	})
	each(n.order, func(b *bunch) { n.say(b.first, -1, "%s passed on out of order: %s", packets(b.n), b.why) })
	each(n.drops, func(b *bunch) { n.say(b.first, -1, "%d × dropped: %s", b.n, b.why) })
}

var lossReasons = map[string]string{
	"overtaken": "later ones came by the same path",
	"silent":    "the path fell silent",
	"ping":      "a later ping was answered",
}

func packets(n int) string {
	if n == 1 {
		return "1 packet"
	}
	return fmt.Sprintf("%d packets", n)
}

// finish notes what is still open, and leaves those of the part shown in order.
func (g *gathering) finish() {
	g.flush(time.Duration(1<<63 - 1))
	if g.gapped {
		g.say(g.seen, -1, "at the end, reordering waits for packet %d", g.gap.Counter)
	}
	g.notes = slices.DeleteFunc(g.notes, func(n Note) bool { return n.T < g.From })
	slices.SortStableFunc(g.notes, func(a, b Note) int { return int(a.T - b.T) })
}
