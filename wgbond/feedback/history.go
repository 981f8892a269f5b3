package feedback

import (
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

const (
	// capacity is the number of packets a History holds. WireGuard's replay
	// window is 8128, so more could not be in order anyway.
	capacity     = 8192
	capacityMask = capacity - 1

	// reorderPackets and reorderTime are how far a path may shuffle its
	// packets before one counts as lost; reorderTime grows with each packet
	// that was declared lost and came after all, up to reorderTimeMax.
	reorderPackets = 3
	reorderStep    = 2 * time.Millisecond
	reorderTimeMax = 40 * time.Millisecond

	// expressSize is the largest Size that may have been sent ahead of lower
	// counters: what a feedback that ends below its counter leaves open is that
	// packet alone.
	expressSize = wire.ExpressSize + 48
)

// Handle names a packet in a History. It outlives the packet safely: a handle
// of a packet that is gone finds nothing.
type Handle struct {
	slot int32
	gen  uint32
}

type state uint8

const (
	free     state = iota
	queued         // waits for a path, for the first time or again
	inFlight       // sent, not reported
	gone           // delivered or dropped, but its buffer is lent to a writer
)

// Packet is one packet of a History. S is what the owner wants to remember of
// its sending.
type Packet[S any] struct {
	// Buf is the datagram; nil for a copy's record that was never filled.
	Buf []byte
	// Index and Counter are WireGuard's.
	Index   uint32
	Counter uint64
	// Size is that of the whole IP packet, bytes.
	Size int
	// Queued is when it was added.
	Queued time.Duration
	// Sent, Path and Stamp tell of the latest transmission.
	Sent  time.Duration
	Path  schedulers.PathID
	Stamp S
	// Transmissions counts them; a copy's with that of the packet itself by the
	// same path, for a report does not tell which of them came.
	Transmissions int

	state      state
	copy       bool              // an extra copy: not looked up by counter
	copied     bool              // has an extra copy
	went       uint32            // a bit for each path that it, or what it is a copy of, has gone by
	lostOn     schedulers.PathID // by which it was sent when declared lost
	lent       int
	seq        uint64 // rises by one with each transmission on Path
	gen        uint32
	prev, next int32 // among those in flight on Path, by seq; -1: none
}

// onPath is what is in flight on one path, oldest first.
type onPath struct {
	head, tail  int32
	bytes       int
	copies      int // in flight
	seq         uint64
	reported    uint64 // highest seq that the peer reported
	reportedAt  time.Duration
	reorderTime time.Duration
	leastRTT    time.Duration // from sending to the report; 0: unknown
}

// sending is one key pair's packets by counter.
type sending struct {
	used  bool
	index uint32
	low   uint64 // lowest counter that may still be held
	end   uint64 // highest counter added, plus one
	told  uint64 // the feedback being applied tells of the counters below
	slots [capacity]int32
}

// Counts are a History's totals.
type Counts struct {
	Delivered, Lost, Spurious, GivenUp uint64
}

// History holds a sender's packets until they are reported or dropped. Use
// NewHistory.
type History[S any] struct {
	packets []Packet[S]
	spare   []int32
	paths   [schedulers.MaxPaths]onPath
	pairs   [2]sending // the current key pair and the one before
	cur     int
	release func([]byte)

	now    time.Duration // of the feedback being applied
	lost   []Handle
	counts Counts
}

// NewHistory makes an empty history. release gets each buffer that is no
// longer needed.
func NewHistory[S any](release func([]byte)) *History[S] {
	h := &History[S]{release: release}
	for i := range h.paths {
		h.paths[i].head, h.paths[i].tail = -1, -1
	}
	return h
}

// Counts are the totals so far.
func (h *History[S]) Counts() Counts { return h.counts }

// KeyPair begins a new key pair. The packets of the last but one are dropped.
func (h *History[S]) KeyPair(index uint32, first uint64) {
	h.cur = 1 - h.cur
	p := &h.pairs[h.cur]
	h.dropBelow(p, p.end)
	p.used, p.index, p.low, p.end, p.told = true, index, first, first, 0
}

// Room reports whether a packet with this counter of the current key pair can
// be added: the window of counters is bounded.
func (h *History[S]) Room(counter uint64) bool {
	p := &h.pairs[h.cur]
	h.advance(p)
	if p.low == p.end {
		p.low, p.end = counter, counter // nothing is held: begin here
	}
	return counter-p.low < capacity && (len(h.spare) > 0 || len(h.packets) < 2*capacity)
}

// Add takes in a packet of the current key pair; its counter must be above all
// others' and have Room. The buffer is the History's until released.
func (h *History[S]) Add(now time.Duration, buf []byte, index uint32, counter uint64, size int) Handle {
	p := &h.pairs[h.cur]
	i := h.slot()
	pk := &h.packets[i]
	*pk = Packet[S]{Buf: buf, Index: index, Counter: counter, Size: size, Queued: now,
		state: queued, gen: pk.gen, prev: -1, next: -1}
	for c := p.end; c < counter; c++ {
		p.slots[c&capacityMask] = -1
	}
	p.slots[counter&capacityMask] = i
	p.end = counter + 1
	return Handle{i, pk.gen}
}

// AddCopy takes in an extra copy of a packet, to go out by another path. Its
// loss does not matter and is not judged.
func (h *History[S]) AddCopy(of *Packet[S], buf []byte) (Handle, bool) {
	if len(h.spare) == 0 && len(h.packets) >= 2*capacity {
		return Handle{}, false
	}
	index, counter, size, at, went := of.Index, of.Counter, of.Size, of.Queued, of.went // slot may move of
	of.copied = true
	i := h.slot()
	pk := &h.packets[i]
	*pk = Packet[S]{Buf: buf, Index: index, Counter: counter, Size: size, Queued: at,
		state: queued, copy: true, went: went, gen: pk.gen, prev: -1, next: -1}
	return Handle{i, pk.gen}, true
}

func (h *History[S]) slot() int32 {
	if n := len(h.spare); n > 0 {
		i := h.spare[n-1]
		h.spare = h.spare[:n-1]
		return i
	}
	h.packets = append(h.packets, Packet[S]{gen: 1})
	return int32(len(h.packets) - 1)
}

// Get finds a packet that is still held; nil if it is gone. The pointer is
// good until the next Add.
func (h *History[S]) Get(x Handle) *Packet[S] {
	if int(x.slot) >= len(h.packets) {
		return nil
	}
	pk := &h.packets[x.slot]
	if pk.gen != x.gen || pk.state == free || pk.state == gone {
		return nil
	}
	return pk
}

// Sent notes that a queued packet leaves by path now, and lends its buffer:
// it stays valid until Return.
func (h *History[S]) Sent(now time.Duration, x Handle, path schedulers.PathID, stamp S) {
	pk := h.Get(x)
	o := &h.paths[path]
	o.seq++
	pk.state, pk.Sent, pk.Path, pk.Stamp, pk.seq = inFlight, now, path, stamp, o.seq
	pk.Transmissions++
	if pk.copy && pk.went>>path&1 != 0 {
		pk.Transmissions++
	}
	pk.went |= 1 << path
	pk.lent++
	pk.prev, pk.next = o.tail, -1
	if o.tail >= 0 {
		h.packets[o.tail].next = x.slot
	} else {
		o.head = x.slot
	}
	o.tail = x.slot
	o.bytes += pk.Size
	if pk.copy {
		o.copies++
	}
}

// Return ends the lending that Sent began.
func (h *History[S]) Return(x Handle) {
	pk := &h.packets[x.slot]
	pk.lent--
	if pk.state == gone && pk.lent == 0 {
		h.free(x.slot)
	}
}

// InFlight is what is in flight on a path, bytes.
func (h *History[S]) InFlight(path schedulers.PathID) int { return h.paths[path].bytes }

// Oldest is the send time of the oldest packet in flight on a path; -1 if
// there is none.
func (h *History[S]) Oldest(path schedulers.PathID) time.Duration {
	if i := h.paths[path].head; i >= 0 {
		return h.packets[i].Sent
	}
	return -1
}

// Newest finds the packet that a report names as its path's newest; nil if it
// is gone or went by another path since.
func (h *History[S]) Newest(r *wire.PathReport) *Packet[S] {
	p := h.pairOf(r.Index)
	if p == nil {
		return nil
	}
	pk := h.at(p, r.Last)
	if pk != nil && pk.state == inFlight && pk.Path == schedulers.PathID(r.Path) {
		return pk
	}
	if o := &h.paths[r.Path]; o.copies > 0 {
		for i := o.head; i >= 0; i = h.packets[i].next {
			if pk := &h.packets[i]; pk.copy && pk.Index == r.Index && pk.Counter == r.Last {
				return pk
			}
		}
	}
	return nil
}

// Apply takes in a feedback that came now: what it reports is delivered, and what should
// have come before it on its path is lost. It returns the lost packets, which
// are queued again now; the slice is valid until the next call.
func (h *History[S]) Apply(now time.Duration, f *wire.Feedback) []Handle {
	h.lost, h.now = h.lost[:0], now
	for i := range h.pairs {
		h.pairs[i].told = 0
	}
	for i := range f.Paths {
		r := &f.Paths[i]
		// Of a packet sent twice it is not known which transmission came.
		if pk := h.Newest(r); pk != nil && pk.Transmissions == 1 {
			o := &h.paths[r.Path]
			o.reported, o.reportedAt = max(o.reported, pk.seq), max(o.reportedAt, pk.Sent)
		}
	}
	for i := range f.KeyPairs {
		k := &f.KeyPairs[i]
		if p := h.pairOf(k.Index); p != nil {
			for _, r := range k.Received {
				for c := max(r.From, p.low); c < min(r.To, p.end); c++ {
					h.delivered(p, c)
				}
			}
			p.told = k.Span.To
			h.advance(p)
		}
	}
	for id := range h.paths {
		h.copiesDone(schedulers.PathID(id))
		h.judge(schedulers.PathID(id))
	}
	return h.lost
}

func (h *History[S]) delivered(p *sending, c uint64) {
	pk := h.at(p, c)
	if pk == nil {
		return
	}
	i := p.slots[c&capacityMask]
	p.slots[c&capacityMask] = -1
	switch {
	case pk.state == inFlight && pk.copied:
		// It may be the copy that came. Until the path reports something newer
		// the packet is still on its way there, and fills it.
		h.counts.Delivered++
		pk.copy = true
		h.paths[pk.Path].copies++
		return
	case pk.state == inFlight:
		o, took := &h.paths[pk.Path], h.now-pk.Sent
		switch {
		case pk.Transmissions == 1: // as in Apply
			o.reported, o.reportedAt = max(o.reported, pk.seq), max(o.reportedAt, pk.Sent)
			if o.leastRTT == 0 || took < o.leastRTT {
				o.leastRTT = took
			}
		case took < o.leastRTT:
			h.spurious(pk) // too soon for the repair: it was not lost after all
		}
		h.unlink(i)
	case pk.Transmissions > 0 && !pk.copied:
		// Declared lost, not yet sent again, and here it is.
		h.spurious(pk)
	}
	h.counts.Delivered++
	h.end(i)
}

// spurious notes that a packet was not lost but overtaken.
func (h *History[S]) spurious(pk *Packet[S]) {
	h.counts.Spurious++
	o := &h.paths[pk.lostOn]
	o.reorderTime = min(o.reorderTime+reorderStep, reorderTimeMax)
}

// judge declares lost what was overtaken on its path.
func (h *History[S]) judge(path schedulers.PathID) {
	o := &h.paths[path]
	for i := o.head; i >= 0; {
		pk := &h.packets[i]
		next := pk.next
		if pk.seq+reorderPackets > o.reported || pk.Sent+o.reorderTime > o.reportedAt {
			return
		}
		if p := h.pairOf(pk.Index); p != nil && pk.Counter >= p.told {
			if pk.Size <= expressSize {
				i = next // it went ahead of what the feedback tells of
				continue
			}
			return // the feedback was cut short before it
		}
		h.lose(i)
		i = next
	}
}

// lose takes a packet out of flight and queues it again, or ends it if it is
// a copy.
func (h *History[S]) lose(i int32) {
	pk := &h.packets[i]
	h.unlink(i)
	if pk.copy {
		h.end(i)
		return
	}
	h.counts.Lost++
	pk.state, pk.lostOn = queued, pk.Path
	h.lost = append(h.lost, Handle{i, pk.gen})
}

// Uncopied finds the oldest packet in flight on a path that left at or before
// sent and has no extra copy; false if there is none.
func (h *History[S]) Uncopied(path schedulers.PathID, sent time.Duration) (Handle, bool) {
	for i := h.paths[path].head; i >= 0; i = h.packets[i].next {
		pk := &h.packets[i]
		if pk.Sent > sent {
			break
		}
		if !pk.copied && !pk.copy {
			return Handle{i, pk.gen}, true
		}
	}
	return Handle{}, false
}

// EachInFlight calls f for what is in flight on a path, oldest first, until f
// returns false. f must not send, nor add but copies.
func (h *History[S]) EachInFlight(path schedulers.PathID, f func(x Handle, size int, copied bool) bool) {
	for i := h.paths[path].head; i >= 0; i = h.packets[i].next {
		pk := &h.packets[i]
		if !f(Handle{i, pk.gen}, pk.Size, pk.copied || pk.copy) {
			return
		}
	}
}

// Wanted reports whether a packet is still worth sending: an extra copy is not
// once the packet that it is a copy of was reported or dropped.
func (h *History[S]) Wanted(pk *Packet[S]) bool {
	if !pk.copy {
		return true
	}
	p := h.pairOf(pk.Index)
	return p != nil && h.at(p, pk.Counter) != nil
}

// IsCopy reports whether a packet is an extra copy.
func (pk *Packet[S]) IsCopy() bool { return pk.copy }

// IsCopied reports whether a packet has an extra copy.
func (pk *Packet[S]) IsCopied() bool { return pk.copied }

// Recall declares lost all that left by path at or before sent: the path has
// died, or proved that it lives by carrying something later.
func (h *History[S]) Recall(path schedulers.PathID, sent time.Duration) []Handle {
	h.lost = h.lost[:0]
	for i := h.paths[path].head; i >= 0; {
		next := h.packets[i].next
		if h.packets[i].Sent > sent {
			break
		}
		h.lose(i)
		i = next
	}
	return h.lost
}

// Missed declares lost what left by path at or before sent and is not reported
// by the feedback applied last, as far as that goes: the caller knows that it
// would have been. It returns false if the feedback was cut short before.
func (h *History[S]) Missed(path schedulers.PathID, sent time.Duration) (lost []Handle, all bool) {
	h.lost = h.lost[:0]
	for i := h.paths[path].head; i >= 0; {
		pk := &h.packets[i]
		next := pk.next
		if pk.Sent > sent {
			break
		}
		if p := h.pairOf(pk.Index); p != nil && pk.Counter >= p.told {
			if pk.Size <= expressSize {
				i = next // as in judge
				continue
			}
			return h.lost, false
		}
		h.lose(i)
		i = next
	}
	return h.lost, true
}

// copiesDone ends the copies that a path's reports have passed: those sent no
// later than the newest packet reported. Their counters say nothing, for a
// copy of an old packet may follow a new one.
func (h *History[S]) copiesDone(path schedulers.PathID) {
	o := &h.paths[path]
	if o.copies == 0 {
		return
	}
	for i := o.head; i >= 0 && h.packets[i].seq <= o.reported; {
		next := h.packets[i].next
		if h.packets[i].copy {
			h.unlink(i)
			h.end(i)
		}
		i = next
	}
}

// Drop gives a queued packet up.
func (h *History[S]) Drop(x Handle) {
	pk := h.Get(x)
	if pk == nil {
		return
	}
	if pk.state == inFlight {
		h.unlink(x.slot)
	}
	if !pk.copy {
		h.counts.GivenUp++
		if p := h.pairOf(pk.Index); p != nil && h.at(p, pk.Counter) == pk {
			p.slots[pk.Counter&capacityMask] = -1
		}
	}
	h.end(x.slot)
}

// Clear drops everything; KeyPair begins anew.
func (h *History[S]) Clear() {
	for i := range h.packets {
		pk := &h.packets[i]
		if pk.state == queued || pk.state == inFlight {
			h.Drop(Handle{int32(i), pk.gen})
		}
	}
	for i := range h.pairs {
		h.pairs[i].used = false
		h.pairs[i].low, h.pairs[i].end = 0, 0
	}
}

func (h *History[S]) unlink(i int32) {
	pk := &h.packets[i]
	o := &h.paths[pk.Path]
	if pk.prev >= 0 {
		h.packets[pk.prev].next = pk.next
	} else {
		o.head = pk.next
	}
	if pk.next >= 0 {
		h.packets[pk.next].prev = pk.prev
	} else {
		o.tail = pk.prev
	}
	pk.prev, pk.next = -1, -1
	o.bytes -= pk.Size
	if pk.copy {
		o.copies--
	}
}

// end is a packet's last step but for a writer that still holds its buffer.
func (h *History[S]) end(i int32) {
	pk := &h.packets[i]
	pk.state = gone
	if pk.lent == 0 {
		h.free(i)
	}
}

func (h *History[S]) free(i int32) {
	pk := &h.packets[i]
	if pk.Buf != nil {
		h.release(pk.Buf)
	}
	pk.Buf, pk.state = nil, free
	pk.gen++
	h.spare = append(h.spare, i)
}

func (h *History[S]) pairOf(index uint32) *sending {
	for i := range h.pairs {
		if p := &h.pairs[i]; p.used && p.index == index {
			return p
		}
	}
	return nil
}

// at is the packet with counter c; nil if it is not held.
func (h *History[S]) at(p *sending, c uint64) *Packet[S] {
	if c < p.low || c >= p.end {
		return nil
	}
	i := p.slots[c&capacityMask]
	if i < 0 {
		return nil
	}
	return &h.packets[i]
}

// advance moves a key pair's low end over what is no longer held.
func (h *History[S]) advance(p *sending) {
	for p.low < p.end && p.slots[p.low&capacityMask] < 0 {
		p.low++
	}
}

// Lowest is the lowest counter of the current key pair that is still held, or
// the next one to be added.
func (h *History[S]) Lowest() uint64 {
	p := &h.pairs[h.cur]
	h.advance(p)
	return p.low
}

func (h *History[S]) dropBelow(p *sending, end uint64) {
	for c := p.low; c < end; c++ {
		if pk := h.at(p, c); pk != nil {
			h.Drop(Handle{p.slots[c&capacityMask], pk.gen})
		}
	}
}
