package feedback

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// modelReceiver is what a Receiver must know, kept in maps.
type modelReceiver struct {
	pairs []*modelPair
}

type modelPair struct {
	index, ordinal uint32
	came           map[uint64]bool // and was believed
	void           map[uint64]bool // said to come never
	high           uint64          // highest of both, plus one
	floor          uint64          // below it nothing is missed
	slid           uint64          // nor below this: the window went on
	news           map[uint64]bool // came since the last report
	far            uint64
}

func (m *modelReceiver) pair(index uint32) *modelPair {
	for _, p := range m.pairs {
		if p.index == index {
			return p
		}
	}
	return nil
}

// begin makes place for a key pair: of three, the unannounced one goes, or the
// oldest.
func (m *modelReceiver) begin(index, ordinal uint32, first uint64) *modelPair {
	if len(m.pairs) == maxPairs {
		oldest := slices.MinFunc(m.pairs, func(a, b *modelPair) int { return int(a.ordinal) - int(b.ordinal) })
		m.pairs = slices.DeleteFunc(m.pairs, func(p *modelPair) bool { return p == oldest })
	}
	p := &modelPair{index: index, ordinal: ordinal, came: map[uint64]bool{}, void: map[uint64]bool{}, news: map[uint64]bool{}, high: first, floor: first}
	m.pairs = append(m.pairs, p)
	return p
}

func (m *modelReceiver) keyPair(index, ordinal uint32, first uint64) {
	p := m.pair(index)
	switch {
	case p == nil:
		m.begin(index, ordinal, first)
	case p.high > first+4*8192:
		m.pairs = slices.DeleteFunc(m.pairs, func(o *modelPair) bool { return o == p })
		if p.ordinal > 0 {
			ordinal = p.ordinal
		}
		m.begin(index, ordinal, first)
	case p.ordinal == 0:
		p.ordinal = ordinal
		p.floor = min(p.floor, max(first, p.high-min(p.high, 8192)))
	default:
		p.floor = max(p.floor, min(first, p.high))
	}
}

func (m *modelReceiver) data(index uint32, c uint64) {
	if c >= 1<<64-1<<13-1 {
		return
	}
	p := m.pair(index)
	if p == nil {
		m.pairs = slices.DeleteFunc(m.pairs, func(p *modelPair) bool { return p.ordinal == 0 })
		p = m.begin(index, 0, c)
	}
	if c >= p.high+4096 && (c < p.far || c >= p.far+4096) {
		p.far = c
		return
	}
	if c+8192 < p.high {
		return
	}
	p.came[c], p.news[c] = true, true
	if lowest := p.lowest(); c > lowest+8191 {
		p.slid = c - 8191
	}
	p.high = max(p.high, c+1)
}

func (m *modelReceiver) voided(index uint32, from, to uint64) {
	p := m.pair(index)
	if p == nil || to > p.high+4096 {
		return
	}
	for c := from; c < to; c++ {
		if c >= max(p.high, p.lowest()+8192-1024) {
			return // would push out what is told of
		}
		p.void[c] = true
		p.high = max(p.high, c+1)
	}
}

// lowest is the lowest counter that is missing and may still come.
func (p *modelPair) lowest() uint64 {
	c := max(p.floor, p.slid)
	for c < p.high && (p.came[c] || p.void[c]) {
		c++
	}
	return c
}

// check compares a feedback with the truth.
func (m *modelReceiver) check(f *wire.Feedback) error {
	last := ^uint32(0)
	for _, k := range f.KeyPairs {
		p := m.pair(k.Index)
		if p == nil {
			return fmt.Errorf("key pair %d is reported and was forgotten", k.Index)
		}
		if p.ordinal > last {
			return fmt.Errorf("key pair %d of ordinal %d comes after an older one", k.Index, p.ordinal)
		}
		last = p.ordinal
		if k.Span.To != p.high {
			return fmt.Errorf("key pair %d: span %v, highest is %d", k.Index, k.Span, p.high)
		}
		if lowest := p.lowest(); k.Span.From > lowest {
			return fmt.Errorf("key pair %d: span %v leaves out %d, which is missing", k.Index, k.Span, lowest)
		}
		for c := range p.news {
			if c < k.Span.From && c+8192 >= p.high {
				return fmt.Errorf("key pair %d: span %v leaves out %d, which came since", k.Index, k.Span, c)
			}
		}
		clear(p.news)
		at := k.Span.From
		for _, r := range k.Received {
			if r.From < at || r.To <= r.From || r.To > k.Span.To {
				return fmt.Errorf("key pair %d: range %v in span %v after %d", k.Index, r, k.Span, at)
			}
			for ; at < r.From; at++ {
				if p.came[at] {
					return fmt.Errorf("key pair %d: %d came and is not reported", k.Index, at)
				}
			}
			for ; at < r.To; at++ {
				if !p.came[at] && !p.void[at] {
					return fmt.Errorf("key pair %d: %d is reported and did not come", k.Index, at)
				}
			}
		}
		for ; at < k.Span.To; at++ {
			if p.came[at] {
				return fmt.Errorf("key pair %d: %d came and is not reported", k.Index, at)
			}
		}
	}
	for _, p := range m.pairs {
		if len(p.came) > 0 && !slices.ContainsFunc(f.KeyPairs, func(k wire.KeyPairReport) bool { return k.Index == p.index }) {
			return fmt.Errorf("key pair %d is not reported", p.index)
		}
	}
	return nil
}

// TestReceiverModel compares a Receiver with the model over random arrivals.
func TestReceiverModel(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var r Receiver
		var f wire.Feedback
		m := &modelReceiver{}
		index, ordinal, next := uint32(1), uint32(1), rng.Uint64N(3)*5000
		r.KeyPair(index, ordinal, next)
		m.keyPair(index, ordinal, next)
		first := next
		loss, skew := rng.Float64()*0.3, rng.Uint64N(300)+1
		for range 4000 {
			switch n := rng.IntN(1000); {
			case n < 900: // data: mostly new, out of order, sometimes lost
				c := next - min(rng.Uint64N(skew), next)
				if next++; rng.Float64() >= loss {
					r.Data(0, 0, index, c, 100)
					m.data(index, c)
				}
			case n < 920: // something old
				c := next - min(rng.Uint64N(9000), next)
				r.Data(0, 0, index, c, 100)
				m.data(index, c)
			case n < 935:
				from := next + rng.Uint64N(100) - min(rng.Uint64N(200), next)
				to := from + rng.Uint64N(20) + 1
				r.Void(index, from, to)
				m.voided(index, from, to)
			case n < 945: // many lost at once
				next += rng.Uint64N(6000)
			case n < 950: // forged
				c := next + rng.Uint64N(1<<20)
				r.Data(0, 1, index, c, 100)
				m.data(index, c)
			case n < 953: // forged altogether
				i, c := 1000+rng.Uint32N(3), rng.Uint64()
				r.Data(0, 1, i, c, 100)
				m.data(i, c)
			case n < 960: // announced again: the floor rises
				first = max(first, next-min(rng.Uint64N(5000), next))
				r.KeyPair(index, ordinal, first)
				m.keyPair(index, ordinal, first)
			case n < 962: // a new key pair; now and then data comes first
				index, ordinal, next, first = index+1, ordinal+1, 0, 0
				if rng.IntN(2) == 0 {
					c := rng.Uint64N(20)
					r.Data(0, 0, index, c, 100)
					m.data(index, c)
				}
				r.KeyPair(index, ordinal, 0)
				m.keyPair(index, ordinal, 0)
			case n < 975:
				r.Report(0, &f)
				if err := m.check(&f); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		}
	}
}

// modelHistory is what a History must do, in lists that are searched from end
// to end.
type modelHistory struct {
	held             []*modelPacket // queued or in flight
	lent             []*modelPacket // one entry for each lending
	current, before  uint32         // key pairs; 0: none
	seq, reported    [schedulers.MaxPaths]uint64
	reportedAt       [schedulers.MaxPaths]time.Duration
	patience         [schedulers.MaxPaths]time.Duration
	leastRTT         [schedulers.MaxPaths]time.Duration
	released         map[int]bool
	delivered, lost  uint64
	spurious, gaveUp uint64
}

type modelPacket struct {
	h             Handle
	id            int // its buffer's
	index         uint32
	counter       uint64
	copy          bool
	copied        bool
	inFlight      bool
	path          schedulers.PathID
	sent          time.Duration
	seq           uint64
	transmissions int
	went          []schedulers.PathID // it, or what it is a copy of
	over          bool
	ahead         bool // may have been sent ahead of lower counters
	lostOn        schedulers.PathID
}

func (m *modelHistory) find(index uint32, c uint64) *modelPacket {
	if index != m.current && index != m.before {
		return nil
	}
	for _, p := range m.held {
		if p.index == index && p.counter == c && !p.copy {
			return p
		}
	}
	return nil
}

func (m *modelHistory) onPath(path schedulers.PathID) (out []*modelPacket) {
	for _, p := range m.held {
		if p.inFlight && p.path == path {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *modelPacket) int { return int(a.seq) - int(b.seq) })
	return out
}

func (m *modelHistory) end(p *modelPacket) {
	p.over = true
	m.held = slices.DeleteFunc(m.held, func(o *modelPacket) bool { return o == p })
	m.settle(p)
}

func (m *modelHistory) settle(p *modelPacket) {
	if p.over && !slices.Contains(m.lent, p) {
		m.released[p.id] = true
	}
}

func (m *modelHistory) sent(now time.Duration, p *modelPacket, path schedulers.PathID) {
	m.seq[path]++
	p.inFlight, p.path, p.sent, p.seq = true, path, now, m.seq[path]
	p.transmissions++
	if p.copy && slices.Contains(p.went, path) {
		p.transmissions++ // a report names this one and that of the packet itself alike
	}
	p.went = append(p.went, path)
	m.lent = append(m.lent, p)
}

func (m *modelHistory) back(i int) {
	p := m.lent[i]
	m.lent = slices.Delete(m.lent, i, i+1)
	m.settle(p)
}

func (m *modelHistory) drop(p *modelPacket) {
	if !p.copy {
		m.gaveUp++
	}
	m.end(p)
}

func (m *modelHistory) keyPair(index uint32) {
	for _, p := range slices.Clone(m.held) {
		if p.index == m.before && !p.copy {
			m.drop(p)
		}
	}
	m.before, m.current = m.current, index
}

func (m *modelHistory) came(p *modelPacket) {
	if p.transmissions == 1 {
		m.reported[p.path] = max(m.reported[p.path], p.seq)
		m.reportedAt[p.path] = max(m.reportedAt[p.path], p.sent)
	}
}

func (m *modelHistory) lose(p *modelPacket) (lost []Handle) {
	if p.copy {
		m.end(p)
		return nil
	}
	m.lost++
	p.inFlight, p.lostOn = false, p.path
	return []Handle{p.h}
}

func (m *modelHistory) apply(now time.Duration, f *wire.Feedback) (lost []Handle) {
	spurious := func(p *modelPacket) {
		m.spurious++
		m.patience[p.lostOn] = min(m.patience[p.lostOn]+2*ms, 40*ms)
	}
	told := map[uint32]uint64{}
	for _, r := range f.Paths {
		path := schedulers.PathID(r.Path)
		p := m.find(r.Index, r.Last)
		if p == nil || !p.inFlight || p.path != path {
			p = nil
			for _, q := range m.onPath(path) {
				if q.copy && q.index == r.Index && q.counter == r.Last && (r.Index == m.current || r.Index == m.before) {
					p = q
					break
				}
			}
		}
		if p != nil {
			m.came(p)
		}
	}
	for _, k := range f.KeyPairs {
		told[k.Index] = k.Span.To
		for _, r := range k.Received {
			for c := r.From; c < r.To; c++ {
				p := m.find(k.Index, c)
				if p == nil {
					continue
				}
				m.delivered++
				switch {
				case p.inFlight && p.copied:
					p.copy = true // it still fills its path
					continue
				case p.inFlight && p.transmissions == 1:
					m.came(p)
					if least := &m.leastRTT[p.path]; *least == 0 || now-p.sent < *least {
						*least = now - p.sent
					}
				case p.inFlight && now-p.sent < m.leastRTT[p.path]:
					spurious(p) // what came cannot be the second
				case !p.inFlight && p.transmissions > 0 && !p.copied:
					spurious(p)
				}
				m.end(p)
			}
		}
	}
	for path := range schedulers.PathID(schedulers.MaxPaths) {
		for _, p := range m.onPath(path) {
			if p.copy && p.seq <= m.reported[path] {
				m.end(p)
			}
		}
	}
	for path := range schedulers.PathID(schedulers.MaxPaths) {
		for _, p := range m.onPath(path) {
			tracked := p.index == m.current || p.index == m.before
			if p.seq+3 > m.reported[path] || p.sent+m.patience[path] > m.reportedAt[path] {
				break
			}
			if tracked && p.counter >= told[p.index] {
				if p.ahead {
					continue
				}
				break
			}
			lost = append(lost, m.lose(p)...)
		}
	}
	return lost
}

func (m *modelHistory) recall(path schedulers.PathID, sent time.Duration) (lost []Handle) {
	for _, p := range m.onPath(path) {
		if p.sent <= sent {
			lost = append(lost, m.lose(p)...)
		}
	}
	return lost
}

// pair is a History, its model, and a Receiver at the far end of three paths.
type pair struct {
	rng      *rand.Rand
	now      time.Duration
	h        *History[int]
	m        *modelHistory
	released map[int]bool
	bufs     int
	r        Receiver
	dec      wire.Decoder
	next     uint64
	ordinal  uint32
	queues   [3][]arrival // on their way, by path
	err      error
}

type arrival struct {
	index   uint32
	counter uint64
}

func newPair(rng *rand.Rand) *pair {
	p := &pair{rng: rng, released: map[int]bool{}, m: &modelHistory{released: map[int]bool{}}}
	p.h = NewHistory[int](func(b []byte) {
		id := int(binary.LittleEndian.Uint32(b))
		if p.released[id] {
			p.fail("buffer %d is released twice", id)
		}
		for _, l := range p.m.lent {
			if l.id == id {
				p.fail("buffer %d is released and lent", id)
			}
		}
		p.released[id] = true
	})
	p.rekey()
	return p
}

func (p *pair) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

func (p *pair) buf() []byte {
	p.bufs++
	return binary.LittleEndian.AppendUint32(nil, uint32(p.bufs))
}

func (p *pair) rekey() {
	p.ordinal++
	p.next = p.rng.Uint64N(3) * 4000
	p.h.KeyPair(p.ordinal, p.next)
	p.m.keyPair(p.ordinal)
	p.r.KeyPair(p.ordinal, p.ordinal, p.next)
}

func pick[T any](rng *rand.Rand, from []T) (v T, ok bool) {
	if len(from) == 0 {
		return v, false
	}
	return from[rng.IntN(len(from))], true
}

func (p *pair) pickHeld(f func(*modelPacket) bool) (*modelPacket, bool) {
	var out []*modelPacket
	for _, x := range p.m.held {
		if f(x) {
			out = append(out, x)
		}
	}
	return pick(p.rng, out)
}

// step does one operation, chosen by n, to both.
func (p *pair) step(n int) {
	p.now += time.Duration(p.rng.IntN(2000)) * time.Microsecond
	switch {
	case n < 300:
		p.next += uint64(p.rng.IntN(20) / 19) // WireGuard dropped one
		if !p.h.Room(p.next) {
			p.fail("no room for %d", p.next)
			return
		}
		b := p.buf()
		size := 100 + p.rng.IntN(1400)
		h := p.h.Add(p.now, b, p.ordinal, p.next, size)
		p.m.held = append(p.m.held, &modelPacket{h: h, id: p.bufs, index: p.ordinal, counter: p.next, ahead: size <= 208})
		p.next++
	case n < 600:
		if x, ok := p.pickHeld(func(x *modelPacket) bool { return !x.inFlight }); ok {
			path := schedulers.PathID(p.rng.IntN(3))
			p.h.Sent(p.now, x.h, path, 0)
			p.m.sent(p.now, x, path)
			p.queues[path] = append(p.queues[path], arrival{x.index, x.counter})
		}
	case n < 630:
		if x, ok := p.pickHeld(func(x *modelPacket) bool { return !x.copy }); ok {
			if h, ok := p.h.AddCopy(p.h.Get(x.h), p.buf()); ok {
				x.copied = true
				p.m.held = append(p.m.held, &modelPacket{h: h, id: p.bufs, index: x.index, counter: x.counter, ahead: x.ahead, copy: true, went: slices.Clone(x.went)})
			} else {
				p.fail("no room for a copy")
			}
		}
	case n < 830:
		if len(p.m.lent) > 0 {
			i := p.rng.IntN(len(p.m.lent))
			h := p.m.lent[i].h
			p.m.back(i)
			p.h.Return(h)
		}
	case n < 930: // some arrive, a few of them late or never; then a feedback, perhaps cut
		p.arrive()
		p.feedback(60 + p.rng.IntN(300))
	case n < 940: // a feedback that a mad peer might send
		f := wire.Feedback{KeyPairs: []wire.KeyPairReport{{Index: p.ordinal - p.rng.Uint32N(3)}}}
		k := &f.KeyPairs[0]
		from := p.next - min(p.rng.Uint64N(100), p.next)
		k.Received = []wire.Range{{From: from, To: from + p.rng.Uint64N(10)}}
		k.Span = wire.Range{To: from + p.rng.Uint64N(100)}
		f.Paths = []wire.PathReport{{Path: uint8(p.rng.IntN(16)), Index: k.Index, Last: from + p.rng.Uint64N(10)}}
		p.apply(&f)
	case n < 950:
		path, at := schedulers.PathID(p.rng.IntN(3)), p.now-time.Duration(p.rng.IntN(50))*ms
		p.sameLost("Recall", p.m.recall(path, at), p.h.Recall(path, at))
	case n < 970:
		if x, ok := p.pickHeld(func(x *modelPacket) bool { return true }); ok {
			p.m.drop(x)
			p.h.Drop(x.h)
		}
	case n < 973:
		p.rekey()
	case n < 974:
		for _, x := range slices.Clone(p.m.held) {
			p.m.drop(x)
		}
		p.m.current, p.m.before = 0, 0
		p.h.Clear()
		p.r.Forget()
		p.rekey()
	}
}

func (p *pair) arrive() {
	for path := range p.queues {
		q := p.queues[path]
		for range p.rng.IntN(len(q) + 1) {
			i := 0
			if len(q) > 1 && p.rng.IntN(20) == 0 {
				i = 1
			}
			if p.rng.IntN(20) > 0 {
				p.r.Data(p.now, schedulers.PathID(path), q[i].index, q[i].counter, 100)
			}
			q = slices.Delete(q, i, i+1)
		}
		p.queues[path] = q
	}
}

func (p *pair) feedback(limit int) {
	var f wire.Feedback
	p.r.Report(p.now, &f)
	msg, _ := wire.AppendFeedback([]byte{0}, &f, limit)
	p.dec.Reset(msg)
	if !p.dec.Next() {
		p.fail("feedback of %d bytes: %v", len(msg), p.dec.Err())
		return
	}
	p.apply(p.dec.Frame().(*wire.Feedback))
}

func (p *pair) apply(f *wire.Feedback) { p.sameLost("Apply", p.m.apply(p.now, f), p.h.Apply(p.now, f)) }

func (p *pair) sameLost(what string, want, got []Handle) {
	if !slices.Equal(want, got) {
		p.fail("%s: lost %v, want %v", what, got, want)
	}
}

// compare checks all that can be asked of a History against the model.
func (p *pair) compare() {
	var c Counts = p.h.Counts()
	if want := (Counts{p.m.delivered, p.m.lost, p.m.spurious, p.m.gaveUp}); c != want {
		p.fail("counts %+v, want %+v", c, want)
	}
	lowest := p.next
	for _, x := range p.m.held {
		got := p.h.Get(x.h)
		if got == nil {
			p.fail("%+v is gone, key pairs %d and %d", *x, p.m.before, p.m.current)
			return
		}
		if int(binary.LittleEndian.Uint32(got.Buf)) != x.id || got.Counter != x.counter || got.Index != x.index ||
			got.Transmissions != x.transmissions || (got.state == inFlight) != x.inFlight {
			p.fail("%+v, want %+v", got, x)
		}
		if x.index == p.ordinal && !x.copy {
			lowest = min(lowest, x.counter)
		}
	}
	for path := range schedulers.PathID(3) {
		bytes, oldest := 0, time.Duration(-1)
		for i, x := range p.m.onPath(path) {
			bytes += p.h.Get(x.h).Size
			if i == 0 {
				oldest = x.sent
			}
		}
		if p.h.InFlight(path) != bytes || p.h.Oldest(path) != oldest {
			p.fail("path %d: %d bytes in flight, oldest %v; want %d, %v", path, p.h.InFlight(path), p.h.Oldest(path), bytes, oldest)
		}
	}
	if len(p.released) != len(p.m.released) {
		p.fail("%d buffers are released, want %d", len(p.released), len(p.m.released))
	}
	for id := range p.m.released {
		if !p.released[id] {
			p.fail("buffer %d is not released", id)
		}
	}
	if got := p.h.Lowest(); got != lowest {
		p.fail("lowest %d, want %d", got, lowest)
	}
}

// finish drops everything: no buffer may stay behind.
func (p *pair) finish() {
	p.h.Clear()
	for _, x := range slices.Clone(p.m.held) {
		p.m.drop(x)
	}
	for len(p.m.lent) > 0 {
		h := p.m.lent[0].h
		p.m.back(0)
		p.h.Return(h)
	}
	if len(p.released) != p.bufs {
		p.fail("%d of %d buffers are released at the end", len(p.released), p.bufs)
	}
}

// TestHistoryModel compares a History with the model over random operations.
func TestHistoryModel(t *testing.T) {
	var sum Counts
	for seed := range uint64(60) {
		p := newPair(rand.New(rand.NewPCG(seed, 2)))
		for i := range 2000 {
			p.step(p.rng.IntN(1000))
			if i%8 == 0 {
				p.compare()
			}
			if p.err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, i, p.err)
			}
		}
		if p.finish(); p.err != nil {
			t.Fatalf("seed %d: %v", seed, p.err)
		}
		c := p.h.Counts()
		sum.Delivered += c.Delivered
		sum.Lost += c.Lost
		sum.Spurious += c.Spurious
		sum.GivenUp += c.GivenUp
	}
	if sum.Delivered < 1000 || sum.Lost < 1000 || sum.Spurious < 100 || sum.GivenUp < 1000 {
		t.Errorf("something hardly happened: %+v", sum)
	}
}

// FuzzHistory lets the fuzzer choose the operations of TestHistoryModel: two
// bytes each.
func FuzzHistory(f *testing.F) {
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 3))
		ops := make([]byte, 400)
		for i := range ops {
			ops[i] = byte(rng.Uint32())
		}
		f.Add(seed, ops)
	}
	f.Fuzz(func(t *testing.T, seed uint64, ops []byte) {
		p := newPair(rand.New(rand.NewPCG(seed, 4)))
		for ; len(ops) >= 2 && p.err == nil; ops = ops[2:] {
			p.step(int(binary.LittleEndian.Uint16(ops)) % 1000)
			p.compare()
		}
		if p.finish(); p.err != nil {
			t.Fatal(p.err)
		}
	})
}

// FuzzReceiver: whatever arrives and is announced, a Receiver reports the
// truth. Each operation is a byte for what, one for which key pair and eight
// for the counter.
func FuzzReceiver(f *testing.F) {
	f.Add([]byte{})
	var ops []byte
	for c := range uint64(40) {
		ops = append(ops, byte(c%5), byte(c%3))
		ops = binary.LittleEndian.AppendUint64(ops, c*c*c)
	}
	f.Add(ops)
	f.Fuzz(func(t *testing.T, ops []byte) {
		var r Receiver
		var fb wire.Feedback
		var dec wire.Decoder
		m := &modelReceiver{}
		for ; len(ops) >= 10; ops = ops[10:] {
			index, c := uint32(ops[1]%5), binary.LittleEndian.Uint64(ops[2:])
			switch ops[0] % 8 {
			case 0, 1:
				r.Data(0, 0, index, c, 100)
				m.data(index, c)
			case 2:
				r.Data(0, 0, index, c%20000, 100)
				m.data(index, c%20000)
			case 3, 4:
				// The sender never announces a first that WireGuard cannot send.
				r.KeyPair(index, index+1, c%40000)
				m.keyPair(index, index+1, c%40000)
			case 5:
				r.Void(index, c%20000, c%20000+c>>32%100)
				m.voided(index, c%20000, c%20000+c>>32%100)
			default:
				r.Report(0, &fb)
				if err := m.check(&fb); err != nil {
					t.Fatal(err)
				}
				dec.Reset(wire.AppendFrame([]byte{0}, &fb))
				if !dec.Next() {
					t.Fatalf("what was reported does not decode: %v", dec.Err())
				}
			}
		}
	})
}
