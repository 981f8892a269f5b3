package feedback

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// sender is a History in a test. Packets are named by their counters; the
// stamp of each transmission is the counter, too.
type sender struct {
	*testing.T
	h        *History[uint64]
	now      time.Duration
	index    uint32
	handles  map[uint64]Handle
	released map[byte]int // by the buffer's first byte, the counter
}

// newSender has a key pair 7 and counters 0 ≤ c < n of it queued, each 1000
// bytes.
func newSender(t *testing.T, n uint64) *sender {
	s := &sender{T: t, index: 7, handles: map[uint64]Handle{}, released: map[byte]int{}}
	s.h = NewHistory[uint64](func(b []byte) { s.released[b[0]]++ })
	s.h.KeyPair(7, 0)
	for c := range n {
		s.add(c)
	}
	return s
}

func (s *sender) add(c uint64) {
	s.Helper()
	if !s.h.Room(c) {
		s.Fatalf("no room for %d", c)
	}
	s.handles[c] = s.h.Add(s.now, []byte{byte(c)}, s.index, c, 1000)
}

// sent lets counters leave by a path one millisecond after the other, and
// their buffers return at once.
func (s *sender) sent(path schedulers.PathID, counters ...uint64) {
	for _, c := range counters {
		s.now += ms
		s.h.Sent(s.now, s.handles[c], path, c)
		s.h.Return(s.handles[c])
	}
}

// told applies a feedback: path reports and ranges of key pair 7. It gives the
// counters that were declared lost.
func (s *sender) told(paths []wire.PathReport, to uint64, ranges ...wire.Range) []uint64 {
	f := wire.Feedback{Paths: paths, KeyPairs: []wire.KeyPairReport{
		{Index: 7, Span: wire.Range{To: to}, Received: ranges}}}
	return s.counters(s.h.Apply(s.now, &f))
}

func (s *sender) counters(hs []Handle) (out []uint64) {
	for _, h := range hs {
		p := s.h.Get(h)
		if p == nil || p.state != queued {
			s.Fatalf("a lost packet is not queued: %+v", p)
		}
		out = append(out, p.Counter)
	}
	return out
}

func newest(path uint8, last uint64) wire.PathReport {
	return wire.PathReport{Path: path, Index: 7, Last: last}
}

func (s *sender) want(what string, got, want any) {
	s.Helper()
	if !reflect.DeepEqual(got, want) {
		s.Errorf("%s: %v, want %v", what, got, want)
	}
}

func reports(r ...wire.PathReport) []wire.PathReport { return r }

func span(from, to uint64) wire.Range { return wire.Range{From: from, To: to} }

var none []uint64

func TestHistoryDelivered(t *testing.T) {
	s := newSender(t, 5)
	s.want("oldest of an idle path", s.h.Oldest(0), time.Duration(-1))
	s.sent(0, 0, 2)
	s.sent(1, 1, 3)
	s.want("in flight", []int{s.h.InFlight(0), s.h.InFlight(1)}, []int{2000, 2000})
	s.want("oldest", []time.Duration{s.h.Oldest(0), s.h.Oldest(1)}, []time.Duration{ms, 3 * ms})
	if p := s.h.Newest(&wire.PathReport{Path: 1, Index: 7, Last: 3}); p == nil || p.Stamp != 3 || p.Sent != 4*ms {
		t.Errorf("newest of path 1: %+v", p)
	}
	for name, r := range map[string]wire.PathReport{"by another path": {Path: 0, Index: 7, Last: 3},
		"of another key pair": {Path: 1, Index: 8, Last: 3}, "never sent": {Path: 1, Index: 7, Last: 4},
		"never added": {Path: 1, Index: 7, Last: 5}} {
		if p := s.h.Newest(&r); p != nil {
			t.Errorf("newest, %s: %+v", name, p)
		}
	}
	s.want("lost", s.told(reports(newest(0, 2), newest(1, 1)), 3, span(0, 3)), none)
	s.want("in flight", []int{s.h.InFlight(0), s.h.InFlight(1)}, []int{0, 1000})
	s.want("oldest", []time.Duration{s.h.Oldest(0), s.h.Oldest(1)}, []time.Duration{-1, 4 * ms})
	s.want("lowest", s.h.Lowest(), uint64(3))
	s.want("released", s.released, map[byte]int{0: 1, 1: 1, 2: 1})
	s.want("counts", s.h.Counts(), Counts{Delivered: 3})
	if s.h.Get(s.handles[2]) != nil || s.h.Get(s.handles[3]) == nil {
		t.Error("2 is still held, or 3 is not")
	}
	// The same again changes nothing; nor does a report of what was not sent.
	s.told(reports(newest(0, 2), newest(1, 1)), 3, span(0, 3))
	s.told(nil, 100, span(50, 100))
	s.want("counts", s.h.Counts(), Counts{Delivered: 3})
	// What waits can be reported too: the peer has it from an earlier life.
	s.told(nil, 5, span(3, 5))
	s.want("counts", s.h.Counts(), Counts{Delivered: 5})
	s.want("lowest", s.h.Lowest(), uint64(5))
}

// TestHistoryLost: a packet is lost when three later ones of its path were
// sent up to the newest that was reported; other paths do not matter.
func TestHistoryLost(t *testing.T) {
	s := newSender(t, 12)
	s.sent(0, 0, 1, 2, 3, 4)
	s.sent(1, 5, 6, 7, 8, 9)
	s.want("3 came, 2 behind 0", s.told(reports(newest(0, 2)), 10, span(1, 3)), none)
	s.want("3 behind 0", s.told(reports(newest(0, 3)), 10, span(1, 4)), []uint64{0})
	s.want("nothing new", s.told(reports(newest(0, 3)), 10, span(1, 4)), none)
	s.want("path 1: 5 and 6 by 9", s.told(reports(newest(1, 9)), 10, span(1, 4), span(9, 10)), []uint64{5, 6})
	s.want("in flight", []int{s.h.InFlight(0), s.h.InFlight(1)}, []int{1000, 2000})
	s.want("counts", s.h.Counts(), Counts{Delivered: 4, Lost: 3})
	// A repair counts like a packet of its own, on its new path.
	s.sent(1, 0, 10)
	s.want("behind the repair", s.told(reports(newest(1, 10)), 11, span(1, 4), span(9, 11)), []uint64{7, 8})
	s.want("in flight", s.h.InFlight(1), 1000) // the repair
	if p := s.h.Get(s.handles[0]); p.Transmissions != 2 || p.Path != 1 {
		t.Errorf("the repair: %+v", p)
	}
}

// TestHistoryRepairReported: which transmission of a packet arrived is not
// known, so the report of one that was sent twice overtakes nothing.
func TestHistoryRepairReported(t *testing.T) {
	s := newSender(t, 8)
	s.sent(0, 0)
	s.h.Recall(0, s.now)
	s.sent(0, 1, 2, 3, 4)
	s.sent(0, 0)
	s.want("lost", s.told(reports(newest(0, 0)), 5, span(0, 1)), none)
	s.want("in flight", s.h.InFlight(0), 4000)
}

// TestHistoryReorder: a packet that was declared lost and comes after all
// makes its path more patient, two milliseconds each time up to forty.
func TestHistoryReorder(t *testing.T) {
	s := newSender(t, 0)
	c := uint64(0)
	for i := range 25 {
		patience := min(time.Duration(i)*2*ms, 40*ms)
		// c and the packets behind it leave one a millisecond.
		n := uint64(max(patience/ms, 3))
		for j := range n + 1 {
			s.add(c + j)
			s.sent(0, c+j)
		}
		s.want(fmt.Sprintf("%d, not yet", i), s.told(reports(newest(0, c+n-1)), c+n+1, span(c+1, c+n)), none)
		s.want(fmt.Sprintf("%d, lost", i), s.told(reports(newest(0, c+n)), c+n+1, span(c+1, c+n+1)), []uint64{c})
		s.want(fmt.Sprintf("%d, spurious", i), s.told(nil, c+n+1, span(c, c+1)), none)
		s.want("spurious", s.h.Counts().Spurious, uint64(i+1))
		c += n + 1
	}
}

// TestHistoryCutShort: a feedback that had no room for all says nothing of
// what is beyond its span, whatever an earlier one said.
func TestHistoryCutShort(t *testing.T) {
	s := newSender(t, 12)
	s.sent(0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	s.want("cut before 4", s.told(reports(newest(0, 9)), 4, span(0, 1), span(2, 4)), []uint64{1})
	s.want("whole", s.told(reports(newest(0, 9)), 10, span(0, 1), span(2, 4), span(5, 10)), []uint64{4})

	s = newSender(t, 12)
	s.sent(0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	s.want("an early one", s.told(reports(newest(0, 3)), 10, span(0, 4)), none)
	s.want("cut before 4", s.told(reports(newest(0, 9)), 4, span(0, 4)), none)
	f := wire.Feedback{Paths: reports(newest(0, 9))}
	s.want("no key pair at all", s.counters(s.h.Apply(s.now, &f)), none)
	s.want("in flight", s.h.InFlight(0), 6000)
}

// TestHistoryLending: a buffer is released when it is neither held nor lent.
func TestHistoryLending(t *testing.T) {
	s := newSender(t, 6)
	send := func(path schedulers.PathID, c uint64) {
		s.now += ms
		s.h.Sent(s.now, s.handles[c], path, c)
	}
	send(0, 0)
	s.told(reports(newest(0, 0)), 1, span(0, 1))
	s.want("reported while lent", s.released, map[byte]int{})
	if s.h.Get(s.handles[0]) != nil {
		t.Error("a delivered packet is still found")
	}
	s.add(6) // must not take the place of the one that is lent
	s.h.Return(s.handles[0])
	s.want("returned", s.released, map[byte]int{0: 1})

	// Lost, sent again by another path, and only then written by the first.
	send(0, 1)
	s.want("recalled", s.counters(s.h.Recall(0, s.now)), []uint64{1})
	send(1, 1)
	s.told(reports(newest(1, 1)), 2, span(1, 2))
	s.h.Return(s.handles[1])
	s.want("one of two returned", s.released, map[byte]int{0: 1})
	s.h.Return(s.handles[1])
	s.want("both returned", s.released, map[byte]int{0: 1, 1: 1})

	// Given up while lent; and while not.
	send(0, 2)
	s.h.Drop(s.handles[2])
	s.h.Drop(s.handles[3])
	s.h.Drop(s.handles[3]) // gone already
	s.want("dropped", s.released, map[byte]int{0: 1, 1: 1, 3: 1})
	s.want("in flight", []int{s.h.InFlight(0), s.h.InFlight(1)}, []int{0, 0})
	s.h.Return(s.handles[2])

	// Cleared while lent.
	send(0, 4)
	s.h.Clear()
	s.want("cleared", s.released, map[byte]int{0: 1, 1: 1, 2: 1, 3: 1, 5: 1, 6: 1})
	s.h.Return(s.handles[4])
	s.want("all", s.released, map[byte]int{0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1})
	s.want("counts", s.h.Counts(), Counts{Delivered: 2, Lost: 1, GivenUp: 5})
}

func TestHistoryRecall(t *testing.T) {
	s := newSender(t, 6)
	s.sent(0, 0, 1, 2)
	s.sent(1, 3)
	s.want("of another path", s.counters(s.h.Recall(2, s.now)), none)
	s.want("up to a time", s.counters(s.h.Recall(0, 2*ms)), []uint64{0, 1})
	s.want("in flight", []int{s.h.InFlight(0), s.h.InFlight(1)}, []int{1000, 1000})
	s.want("all", s.counters(s.h.Recall(0, s.now)), []uint64{2})
	s.want("again", s.counters(s.h.Recall(0, s.now)), none)
	s.want("oldest", s.h.Oldest(0), time.Duration(-1))
	// They can be dropped from here, or sent again, or be reported.
	s.h.Drop(s.handles[0])
	s.sent(1, 1)
	s.told(nil, 4, span(1, 4))
	s.want("counts", s.h.Counts(), Counts{Delivered: 3, Lost: 3, Spurious: 1, GivenUp: 1})
}

func TestHistoryCopies(t *testing.T) {
	s := newSender(t, 4)
	copies := map[uint64]Handle{}
	for c := range uint64(4) {
		h, ok := s.h.AddCopy(s.h.Get(s.handles[c]), []byte{byte(100 + c)})
		if !ok {
			t.Fatal("no room for a copy")
		}
		copies[c] = h
		s.sent(0, c)
		s.now += ms
		s.h.Sent(s.now, h, 1, c)
		s.h.Return(h)
	}
	s.want("in flight", []int{s.h.InFlight(0), s.h.InFlight(1)}, []int{4000, 4000})
	// Packet 0 came by path 0, which says so: its copy is still in flight on path 1.
	s.told(reports(newest(0, 0)), 1, span(0, 1))
	s.want("in flight", []int{s.h.InFlight(0), s.h.InFlight(1)}, []int{3000, 4000})
	s.want("released", s.released, map[byte]int{0: 1})
	s.want("copy of a delivered packet is wanted", s.h.Wanted(s.h.Get(copies[0])), false)
	s.want("copy of another is wanted", s.h.Wanted(s.h.Get(copies[1])), true)
	// Path 1 got as far as copy 1. Packet 1 is still on its way by path 0, and
	// takes up room there, though nothing depends on it any more.
	s.told(reports(newest(1, 1)), 2, span(0, 2))
	s.want("in flight", []int{s.h.InFlight(0), s.h.InFlight(1)}, []int{3000, 2000})
	s.want("released", s.released, map[byte]int{0: 1, 100: 1, 101: 1})
	// Now path 0 got as far.
	s.told(reports(newest(0, 1)), 2, span(0, 2))
	s.want("in flight", []int{s.h.InFlight(0), s.h.InFlight(1)}, []int{2000, 2000})
	s.want("released", s.released, map[byte]int{0: 1, 1: 1, 100: 1, 101: 1})
	// A report of an older key pair's packet says nothing of what left later.
	s.h.KeyPair(8, 0)
	s.index = 8
	s.add(0)
	c8, _ := s.h.AddCopy(s.h.Get(s.handles[0]), []byte{108})
	s.h.Sent(s.now, c8, 1, 0)
	s.h.Return(c8)
	s.told(reports(newest(1, 3)), 2, span(0, 2))
	s.want("copy of the newer key pair in flight", s.h.InFlight(1) >= 1000, true)
	// A dead path's copies end with it.
	s.want("recalled", s.counters(s.h.Recall(1, s.now)), none)
	s.want("released", s.released, map[byte]int{0: 1, 1: 1, 100: 1, 101: 1, 102: 1, 103: 1, 108: 1})
	if s.h.Get(c8) != nil {
		t.Error("a recalled copy is still found")
	}
	s.want("counts", s.h.Counts(), Counts{Delivered: 2})
}

// TestHistoryCopyByTheSamePath: a path that was taken for silent works after all,
// and a copy of what is in flight there goes out by it, too. A report names both
// alike, so neither is measured by: taken for the copy's, the packet's own arrival
// had put the least delay of a lent path 14 ms too low, for two minutes.
func TestHistoryCopyByTheSamePath(t *testing.T) {
	s := newSender(t, 3)
	s.sent(0, 0, 1)
	s.sent(1, 2)
	for c, want := range []int{2, 2, 1} { // by path 0
		h, ok := s.h.AddCopy(s.h.Get(s.handles[uint64(c)]), []byte{byte(100 + c)})
		if !ok {
			t.Fatal("no room for a copy")
		}
		s.now += ms
		s.h.Sent(s.now, h, 0, uint64(c))
		s.h.Return(h)
		s.want("transmissions", s.h.Get(h).Transmissions, want)
	}
}

// TestHistoryKeyPairs: two key pairs are held, and reports name either.
func TestHistoryKeyPairs(t *testing.T) {
	s := newSender(t, 3)
	s.sent(0, 0, 1)
	s.h.KeyPair(8, 10)
	s.index = 8
	s.want("lowest", s.h.Lowest(), uint64(10))
	s.add(10)
	s.sent(0, 10)
	s.want("in flight", s.h.InFlight(0), 3000)
	lost := s.h.Apply(s.now, &wire.Feedback{KeyPairs: []wire.KeyPairReport{
		{Index: 8, Span: span(0, 11), Received: []wire.Range{span(10, 11)}},
		{Index: 9, Span: span(0, 11), Received: []wire.Range{span(0, 11)}},
		{Index: 7, Span: span(0, 2), Received: []wire.Range{span(1, 2)}}}})
	s.want("lost", s.counters(lost), none)
	s.want("released", s.released, map[byte]int{10: 1, 1: 1})
	s.h.KeyPair(9, 0)
	s.want("the last but one is dropped", s.released, map[byte]int{10: 1, 1: 1, 0: 1, 2: 1})
	s.want("in flight", s.h.InFlight(0), 0)
	s.want("counts", s.h.Counts(), Counts{Delivered: 2, GivenUp: 2})
	if p := s.h.Newest(&wire.PathReport{Index: 7}); p != nil {
		t.Errorf("found by a key pair that is gone: %+v", p)
	}
}

// TestHistoryRoom: counters reach over 8192 at most, from the lowest that is
// held; packets and copies are twice as many at most.
func TestHistoryRoom(t *testing.T) {
	s := newSender(t, 1)
	s.want("last of the window", s.h.Room(8191), true)
	s.want("beyond", s.h.Room(8192), false)
	s.add(8000) // the counters between were never added
	s.sent(0, 0)
	s.told(nil, 1, span(0, 1))
	s.want("the window moves", []bool{s.h.Room(16191), s.h.Room(16192)}, []bool{true, false})
	s.h.Drop(s.handles[8000])
	s.want("nothing is held", s.h.Room(1<<40), true)
	s.add(1 << 40)
	s.want("lowest", s.h.Lowest(), uint64(1<<40))
	s.want("window", []bool{s.h.Room(1<<40 + 8191), s.h.Room(1<<40 + 8192)}, []bool{true, false})

	n := 1
	for of := s.handles[1<<40]; ; n++ {
		if _, ok := s.h.AddCopy(s.h.Get(of), []byte{1}); !ok {
			break
		}
	}
	s.want("packets at most", n, 16384)
	s.want("room without a slot", s.h.Room(1<<40+1), false)
	s.h.Drop(s.handles[1<<40])
	s.want("room with one", s.h.Room(1<<40+1), true)
}

// cycle is a History in steady state: 64 packets by two paths, one in 64 lost
// and repaired, reported by a Receiver.
type historyCycle struct {
	h    *History[int]
	r    Receiver
	f    wire.Feedback
	now  time.Duration
	next uint64
	bufs [][]byte
	out  []Handle
}

func newHistoryCycle() *historyCycle {
	c := &historyCycle{}
	c.h = NewHistory[int](func(b []byte) { c.bufs = append(c.bufs, b) })
	c.h.KeyPair(7, 0)
	c.r.KeyPair(7, 1, 0)
	for range 4096 {
		c.bufs = append(c.bufs, make([]byte, 1))
	}
	for range 1000 {
		c.burst()
	}
	return c
}

func (c *historyCycle) burst() {
	c.out = c.out[:0]
	for i := range 64 {
		c.now += 100 * time.Microsecond
		b := c.bufs[len(c.bufs)-1]
		c.bufs = c.bufs[:len(c.bufs)-1]
		if !c.h.Room(c.next) {
			panic("no room")
		}
		h := c.h.Add(c.now, b, 7, c.next, 1500)
		c.h.Sent(c.now, h, schedulers.PathID(i%2), 1)
		c.out = append(c.out, h)
		if i != 20 {
			c.r.Data(c.now, schedulers.PathID(i%2), 7, c.next, 1500)
		}
		c.next++
	}
	for _, h := range c.out {
		c.h.Return(h)
	}
	c.r.Report(c.now, &c.f)
	for _, h := range c.h.Apply(0, &c.f) {
		p := c.h.Get(h)
		c.h.Sent(c.now, h, 1, 1)
		c.h.Return(h)
		c.r.Data(c.now, 1, 7, p.Counter, 1500)
	}
}

func TestHistoryNoAllocations(t *testing.T) {
	c := newHistoryCycle()
	if n := testing.AllocsPerRun(100, c.burst); n != 0 {
		t.Errorf("%v allocations per 64 packets and a feedback", n)
	}
	want := Counts{Delivered: c.next - 1, Lost: c.next / 64}
	if got := c.h.Counts(); got != want { // the last repair is reported next time
		t.Errorf("counts %+v, want %+v", got, want)
	}
}

func BenchmarkHistory(b *testing.B) {
	c := newHistoryCycle()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%64 == 0 {
			c.burst()
		}
	}
}
