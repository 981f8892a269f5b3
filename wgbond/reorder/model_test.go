package reorder

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

// model is the policy written down as plainly as possible: one list of waiting
// packets, everything found by searching it. The buffer must do the same.
type model struct {
	p       Params
	now     time.Duration
	live    uint32
	heard   map[schedulers.PathID]time.Duration
	newest  map[schedulers.PathID]mpos
	below   map[schedulers.PathID]int
	far     map[schedulers.PathID]time.Duration
	streams []*mstream // by ordinal
	closed  int        // ordinals below are over
	over    []uint32   // indices of the last streams that are over
	early   []mearly
	waiting []mpacket // in order of arrival
	out     []string
}

type mpos struct {
	ordinal int // -1: nothing
	next    uint64
}

type mearly struct {
	index uint32
	next  map[schedulers.PathID]uint64
}

type mstream struct {
	index   uint32
	ordinal int
	head    uint64
	end     uint64
	fed     time.Duration
	gone    map[uint64]bool
	passed  map[uint64]time.Duration // by waiting counter; absent: not passed
	tail    time.Duration
	tailOK  bool
}

type mpacket struct {
	s       *mstream
	c       uint64
	arrived time.Duration
	pkt     string
	size    int
}

func newModel(p Params) *model {
	return &model{
		p: p, live: math.MaxUint32,
		heard:  map[schedulers.PathID]time.Duration{},
		newest: map[schedulers.PathID]mpos{},
		below:  map[schedulers.PathID]int{},
		far:    map[schedulers.PathID]time.Duration{},
	}
}

func (m *model) find(index uint32) *mstream {
	for _, s := range m.streams {
		if s.index == index {
			return s
		}
	}
	return nil
}

func (m *model) waits(s *mstream, c uint64) int {
	return slices.IndexFunc(m.waiting, func(w mpacket) bool { return w.s == s && w.c == c })
}

// lowest is the lowest waiting counter of s from c on.
func (m *model) lowest(s *mstream, from uint64) (low uint64, ok bool) {
	for _, w := range m.waiting {
		if w.s == s && w.c >= from && (!ok || w.c < low) {
			low, ok = w.c, true
		}
	}
	return low, ok
}

func (m *model) alive() (ids []schedulers.PathID) {
	for id, at := range m.heard {
		if m.live>>id&1 != 0 && m.now-at < m.p.Silence {
			ids = append(ids, id)
		}
	}
	return ids
}

// passedTo is the lowest counter of s that a live path may still bring.
func (m *model) passedTo(s *mstream) uint64 {
	low := uint64(math.MaxUint64)
	for _, id := range m.alive() {
		pos, ok := m.newest[id]
		switch {
		case !ok || pos.ordinal < s.ordinal:
			low = 0
		case pos.ordinal == s.ordinal:
			low = min(low, pos.next)
		}
	}
	return low
}

func (m *model) go_(i int) {
	m.out = append(m.out, m.waiting[i].pkt)
	m.waiting = slices.Delete(m.waiting, i, i+1)
}

func (m *model) bytes() (n int) {
	for _, w := range m.waiting {
		n += w.size
	}
	return n
}

func (m *model) finish() {
	s := m.streams[0]
	for {
		c, ok := m.lowest(s, 0)
		if !ok {
			break
		}
		m.go_(m.waits(s, c))
	}
	m.streams = m.streams[1:]
	m.closed = s.ordinal + 1
	if m.over = append(m.over, s.index); len(m.over) > MaxKeyPairs {
		m.over = m.over[1:]
	}
}

// look notes for each waiting packet since when what is below it is passed.
func (m *model) look(s *mstream) {
	to := m.passedTo(s)
	for _, w := range m.waiting {
		if w.s != s {
			continue
		}
		if w.c > to {
			delete(s.passed, w.c)
		} else if _, ok := s.passed[w.c]; !ok {
			s.passed[w.c] = m.now
		}
	}
	if to < s.end {
		s.tailOK = false
	} else if !s.tailOK {
		s.tailOK, s.tail = true, m.now
	}
}

func (m *model) settle() {
	if len(m.waiting) > 0 {
		for _, s := range m.streams {
			m.look(s)
		}
	}
	for len(m.streams) > 0 {
		s := m.streams[0]
		for {
			if i := m.waits(s, s.head); i >= 0 {
				m.go_(i)
			} else if !s.gone[s.head] {
				break
			}
			delete(s.gone, s.head)
			s.head++
		}
		if s.head >= s.end {
			m.finish()
			continue
		}
		if len(m.waiting) == 0 {
			return
		}
		low, any := m.lowest(s, 0)
		giveUp := func() {
			if any {
				s.head = low
			} else {
				m.finish()
			}
		}
		if len(m.waiting) > m.p.MaxPackets || m.bytes() > m.p.MaxBytes {
			giveUp()
			continue
		}
		since, passed := s.tail, s.tailOK
		if any {
			since, passed = s.passed[low], m.passedTo(s) >= low
		}
		if passed && m.now-since >= m.p.Hold {
			giveUp()
			continue
		}
		// Two streams' packets of one moment: the older stream's first.
		first := slices.MinFunc(m.waiting, func(a, b mpacket) int {
			if a.arrived != b.arrived {
				return int(a.arrived - b.arrived)
			}
			return a.s.ordinal - b.s.ordinal
		})
		if m.now-first.arrived < m.p.Deadline {
			return
		}
		if m.now-s.fed >= m.p.Deadline {
			giveUp()
			continue
		}
		first.s.gone[first.c] = true
		m.go_(m.waits(first.s, first.c))
	}
}

func (m *model) keyPair(index uint32, ordinal int, first uint64) {
	defer m.settle()
	if s := m.find(index); s != nil {
		if s.ordinal == ordinal {
			m.voidRange(s, s.head, first)
			return
		}
		if ordinal < s.ordinal {
			return
		}
		for m.find(index) != nil {
			m.finish()
		}
	}
	if ordinal < m.closed {
		return
	}
	for _, s := range m.streams {
		if s.ordinal == ordinal {
			return
		}
	}
	if len(m.streams) == MaxKeyPairs {
		if ordinal < m.streams[0].ordinal {
			return
		}
		m.finish()
	}
	head := first
	for i, e := range m.early {
		if e.index == index {
			for id, next := range e.next {
				if next-1 < first+Window {
					head = max(head, next)
					m.raise(id, mpos{ordinal, next})
				}
			}
			m.early[i].index = math.MaxUint32 // no index of these tests
		}
	}
	for i := range m.over {
		if m.over[i] == index {
			m.over[i] = math.MaxUint32
		}
	}
	m.streams = append(m.streams, &mstream{index: index, ordinal: ordinal, head: head, end: math.MaxUint64, fed: m.now,
		gone: map[uint64]bool{}, passed: map[uint64]time.Duration{}})
	slices.SortFunc(m.streams, func(a, b *mstream) int { return a.ordinal - b.ordinal })
}

// raise moves a path's newest forward, and reports whether it did.
func (m *model) raise(id schedulers.PathID, pos mpos) bool {
	old, ok := m.newest[id]
	if ok && (pos.ordinal < old.ordinal || pos.ordinal == old.ordinal && pos.next <= old.next) {
		return false
	}
	m.newest[id], m.below[id] = pos, 0
	return true
}

func (m *model) end(index uint32, end uint64) {
	if s := m.find(index); s != nil {
		s.end = min(s.end, end)
		if s.tailOK {
			// Passed further than the old end is passed further than this.
			s.tailOK = true
		}
	}
	m.settle()
}

func (m *model) packet(id schedulers.PathID, index uint32, c uint64, pkt string, size int) {
	defer m.settle()
	m.heard[id] = m.now
	s := m.find(index)
	if s == nil {
		m.out = append(m.out, pkt)
		if slices.Contains(m.over, index) {
			return
		}
		i := slices.IndexFunc(m.early, func(e mearly) bool { return e.index == index })
		if i < 0 {
			if len(m.early) == MaxKeyPairs {
				m.early = m.early[1:]
			}
			i = len(m.early)
			m.early = append(m.early, mearly{index, map[schedulers.PathID]uint64{}})
		}
		m.early[i].next[id] = max(m.early[i].next[id], c+1)
		return
	}
	idle := s == m.streams[0] && !slices.ContainsFunc(m.waiting, func(w mpacket) bool { return w.s == s })
	if idle && c >= s.head+Window {
		s.head = max(s.head, min(m.passedTo(s), c))
	}
	switch {
	case c >= s.end:
		m.out = append(m.out, pkt)
	case c >= s.head+Window || c+Window < s.head:
		m.out = append(m.out, pkt)
		m.astray(s, id, c)
	default:
		delete(m.far, id)
		if pos := (mpos{s.ordinal, c + 1}); !m.raise(id, pos) {
			if m.below[id]++; m.below[id] == healAfter {
				m.newest[id], m.below[id] = pos, 0
			}
		}
		if c < s.head || s.gone[c] || m.waits(s, c) >= 0 {
			m.out = append(m.out, pkt)
			return
		}
		if c == s.head {
			s.fed = m.now
			if s == m.streams[0] {
				m.out = append(m.out, pkt)
				s.head++
				return
			}
		}
		m.look(s)
		if to := m.passedTo(s); c <= to {
			s.passed[c] = m.now
			if above, ok := m.lowest(s, c); ok && above <= to {
				s.passed[c] = s.passed[above]
			}
		} else {
			delete(s.passed, c)
		}
		m.waiting = append(m.waiting, mpacket{s, c, m.now, pkt, size})
	}
}

func (m *model) astray(s *mstream, id schedulers.PathID, c uint64) {
	if _, ok := m.far[id]; !ok {
		m.far[id] = m.now
	}
	for _, id := range m.alive() {
		if at, ok := m.far[id]; !ok || m.now-at < m.p.Deadline {
			return
		}
	}
	for {
		low, ok := m.lowest(s, 0)
		if !ok {
			break
		}
		m.go_(m.waits(s, low))
	}
	s.head, s.fed = c+1, m.now
	clear(s.gone)
	s.tailOK = false
	for id, pos := range m.newest {
		if pos.ordinal == s.ordinal {
			m.newest[id] = mpos{s.ordinal, 0}
		}
	}
	clear(m.far)
	clear(m.below)
	m.newest[id] = mpos{s.ordinal, c + 1}
}

// voidRange voids what of from ≤ c < to lies in the window.
func (m *model) voidRange(s *mstream, from, to uint64) {
	if to <= s.head {
		return
	}
	if from <= s.head {
		s.fed = m.now
		if _, any := m.lowest(s, 0); !any && to-s.head > Window {
			s.head = to
			return
		}
	}
	for c := max(from, s.head); c < min(to, s.head+Window); c++ {
		if m.waits(s, c) < 0 {
			s.gone[c] = true
		}
	}
}

func (m *model) void(index uint32, from, to uint64) {
	if s := m.find(index); s != nil && from < to {
		m.voidRange(s, from, to)
	}
	m.settle()
}

func (m *model) marker(id schedulers.PathID, index uint32, below uint64) {
	m.heard[id] = m.now
	if s := m.find(index); s != nil {
		delete(m.far, id)
		m.raise(id, mpos{s.ordinal, below})
	}
	m.settle()
}

// source gives the choices of a random or fuzzed run; 0 when it is used up.
type source interface{ pick(n int) int }

type random struct{ *rand.Rand }

func (r random) pick(n int) int { return r.IntN(n) }

type fuzzed struct{ data []byte }

func (f *fuzzed) pick(n int) int {
	if len(f.data) < 2 {
		f.data = nil
		return 0
	}
	v := int(binary.LittleEndian.Uint16(f.data))
	f.data = f.data[2:]
	return v % n
}

// compare plays steps random operations to a buffer and the model, and checks
// after each that they agree, and what must always be true.
func compare(t *testing.T, src source, steps int) {
	p := Params{
		Hold:       time.Duration(src.pick(4)) * 10 * time.Millisecond,
		Deadline:   time.Duration(1+src.pick(3)) * 50 * time.Millisecond,
		Silence:    time.Duration(1+src.pick(3)) * 40 * time.Millisecond,
		MaxPackets: 1 + src.pick(60),
		MaxBytes:   500 + 100*src.pick(60),
	}
	b, m := New(p), newModel(p)
	spread := []int{3, 30, 300, 2 * Window}[src.pick(4)]
	paths := 1 + src.pick(4)
	var now time.Duration
	var base [8]uint64 // where key pair i's sender is
	kp := 0            // the newest key pair
	sent := map[string]bool{}
	arrived := map[string]time.Duration{}
	longest := p.Deadline

	for step := range steps {
		if src.pick(3) == 0 {
			now += time.Duration(src.pick(20)) * time.Millisecond
		}
		// Time does not jump over what is due.
		for b.Next() < now {
			check(t, b, m, b.Next(), arrived, longest)
		}
		b.now, m.now = now, now
		k := max(0, kp-src.pick(2)*src.pick(3))
		index := uint32(100 + k)
		near := func() uint64 {
			if c := base[k%8] + uint64(src.pick(spread)); c >= uint64(spread/2) {
				return c - uint64(spread/2)
			}
			return 0
		}
		id := schedulers.PathID(src.pick(paths))
		switch op := src.pick(40); op {
		case 0:
			first := near() * uint64(src.pick(2))
			b.KeyPair(now, index, uint32(k), first)
			m.keyPair(index, k, first)
		case 1:
			if src.pick(4) == 0 {
				kp++
				base[kp%8] = 0
			}
		case 2:
			end := near() + uint64(src.pick(5))
			b.KeyPairEnd(now, index, end)
			m.end(index, end)
		case 3, 4:
			from := near()
			to := from + uint64(src.pick(spread))
			b.Void(now, index, from, to)
			m.void(index, from, to)
		case 5, 6:
			c := near()
			b.Marker(now, id, index, c)
			m.marker(id, index, c)
		case 7:
			hold, live := time.Duration(src.pick(3))*10*time.Millisecond, uint32(src.pick(16))
			b.Tune(now, hold, 0, live)
			m.p.Hold, m.live = hold, live
			m.settle()
		case 8:
			b.PathGone(now, id)
			delete(m.heard, id)
			delete(m.far, id)
			m.below[id] = 0
			m.settle()
		case 9:
			b.Heard(now, id)
			m.heard[id] = now
			m.settle()
		default:
			c := base[k%8]
			if op < 20 {
				c = near()
			} else {
				base[k%8]++
			}
			if op == 10 && src.pick(8) == 0 {
				c += uint64(src.pick(1000)) * 10000 // forged, or a jump
			}
			size := 30 + src.pick(100)
			name := fmt.Sprintf("%d:%d@%d", index, c, step)
			pkt := make([]byte, size)
			copy(pkt, name)
			sent[name], arrived[name] = true, now
			b.Packet(now, id, index, c, pkt)
			m.packet(id, index, c, name, size)
		}
		check(t, b, m, now, arrived, longest)
		if t.Failed() {
			t.Fatalf("at step %d, %v, params %+v", step, now, p)
		}
	}
	// In the end everything goes on.
	for b.Next() != Never {
		now = max(now, b.Next())
		check(t, b, m, now, arrived, longest)
	}
	if len(arrived) != 0 {
		t.Errorf("never went on: %v", arrived)
	}
	if s := b.Stats(); s.Out() != uint64(len(sent)) {
		t.Errorf("counted %d of %d packets: %+v", s.Out(), len(sent), s)
	}
}

func check(t *testing.T, b *Buffer, m *model, now time.Duration, arrived map[string]time.Duration, longest time.Duration) {
	t.Helper()
	m.now = now
	m.settle()
	var got []string
	for _, pkt := range b.Release(now, nil) {
		name := string(pkt[:max(0, slices.Index(append(pkt, 0), 0))])
		at, ok := arrived[name]
		if !ok {
			t.Errorf("%s went on twice", name)
		}
		if now-at > longest {
			t.Errorf("%s was held for %v, more than %v", name, now-at, longest)
		}
		delete(arrived, name)
		got = append(got, name)
	}
	if !slices.Equal(got, m.out) {
		t.Errorf("went on:\n%v\nthe model says:\n%v", got, m.out)
	}
	m.out = nil
	packets, bytes := b.Held()
	if packets != len(m.waiting) || bytes != m.bytes() {
		t.Errorf("holds %d packets, %d bytes; the model %d, %d", packets, bytes, len(m.waiting), m.bytes())
	}
	if packets > m.p.MaxPackets || bytes > m.p.MaxBytes {
		t.Errorf("holds %d packets, %d bytes: above its bounds", packets, bytes)
	}
	if len(b.streams) > MaxKeyPairs {
		t.Errorf("tracks %d key pairs", len(b.streams))
	}
	if next := b.Next(); next <= now {
		t.Errorf("Next is %v at %v", next, now)
	}
}

func TestAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("first seed %d", seed)
	runs := uint64(300)
	if testing.Short() {
		runs = 30
	}
	for i := range runs {
		compare(t, random{rand.New(rand.NewPCG(seed+i, 0))}, 600)
		if t.Failed() {
			t.Fatalf("seed %d", seed+i)
		}
	}
}

func FuzzAgainstModel(f *testing.F) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 1))
		data := make([]byte, 2000)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 8000 {
			return
		}
		compare(t, &fuzzed{data}, len(data)/5)
	})
}
