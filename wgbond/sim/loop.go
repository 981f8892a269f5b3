package sim

import (
	"container/heap"
	"fmt"
	"time"
)

// A Node acts in virtual time: a Hop, a TCP endpoint, an engine.
type Node interface {
	// Next is when the node wants to act, or Never. It may change with
	// anything that is done to the node.
	Next() time.Duration
	// Step does what is due at now.
	Step(now time.Duration)
}

// Loop runs nodes in virtual time. Among nodes that are due at the same time
// the one added first acts first, so a run repeats exactly.
//
// It asks every node for its next time at every step: a network of a few
// dozen nodes whose plans change with every packet is faster so than with a
// heap that must be kept true.
type Loop struct {
	now   time.Duration
	nodes []Node
	calls calls
}

// stuck is how many steps in a row at one instant show that a node does not
// move on: far more than the packets of any burst.
const stuck = 1_000_000

// Now is the virtual time.
func (l *Loop) Now() time.Duration { return l.now }

// Add adds nodes.
func (l *Loop) Add(nodes ...Node) { l.nodes = append(l.nodes, nodes...) }

// At calls f once at the time at, before the nodes that are due then; calls
// for the same time come in the order in which they were made.
func (l *Loop) At(at time.Duration, f func()) {
	l.calls.made++
	heap.Push(&l.calls, call{max(at, l.now), l.calls.made, f})
}

// Run acts until nothing is due up to and including the time until, or until
// stop (which may be nil) says so after a step. The virtual time is then that
// of the last step, or until if it was reached.
func (l *Loop) Run(until time.Duration, stop func() bool) {
	atOnce := 0
	for {
		next, due := l.calls.next(), Node(nil)
		for _, n := range l.nodes {
			if at := n.Next(); at < next {
				next, due = at, n
			}
		}
		if next > until || next == Never {
			if until != Never {
				l.now = max(l.now, until)
			}
			return
		}
		if next > l.now {
			l.now, atOnce = next, 0
		} else if atOnce++; atOnce > stuck {
			panic(fmt.Sprintf("sim: at %v a %T is due again and again: its Next() is %v and Step does not change that", l.now, due, next))
		}
		if due == nil {
			heap.Pop(&l.calls).(call).f()
		} else {
			due.Step(l.now)
		}
		if stop != nil && stop() {
			return
		}
	}
}

// Hop is a Link that hands over its packets as they arrive.
type Hop[P any] struct {
	*Link[P]
	To func(now time.Duration, size int, p P)
}

// Step hands over what has arrived.
func (h Hop[P]) Step(now time.Duration) {
	for p, size, ok := h.Pop(now); ok; p, size, ok = h.Pop(now) {
		h.To(now, size, p)
	}
}

type call struct {
	at   time.Duration
	made uint64
	f    func()
}

// calls is a container/heap by time, then by the order of making.
type calls struct {
	heap []call
	made uint64
}

func (c *calls) next() time.Duration {
	if len(c.heap) == 0 {
		return Never
	}
	return c.heap[0].at
}

func (c *calls) Len() int { return len(c.heap) }
func (c *calls) Less(i, j int) bool {
	a, b := c.heap[i], c.heap[j]
	return a.at < b.at || a.at == b.at && a.made < b.made
}
func (c *calls) Swap(i, j int) { c.heap[i], c.heap[j] = c.heap[j], c.heap[i] }
func (c *calls) Push(x any)    { c.heap = append(c.heap, x.(call)) }
func (c *calls) Pop() any {
	last := len(c.heap) - 1
	x := c.heap[last]
	c.heap[last] = call{}
	c.heap = c.heap[:last]
	return x
}
