package wire

import "encoding/binary"

// AppendFeedback appends f as a frame of at most limit bytes, its header
// included. What does not fit is left out from the end, and honestly so: path
// reports first, then key pairs in their order, the last of them with its Span
// cut short before the first range that did not fit. whole is false if
// anything was left out. With a limit too small for even an empty Feedback
// (13 bytes) dst comes back as it was.
//
// An Arrived after Sent is sent as Sent. Ranges that touch are joined.
func AppendFeedback(dst []byte, f *Feedback, limit int) (out []byte, whole bool) {
	start := len(dst)
	limit = min(limit, FrameHeaderSize+0xffff)
	const empty = FrameHeaderSize + 8 + 1 + 1
	if limit < empty {
		return dst, false
	}
	end := start + limit
	whole = true

	dst = append(dst, 0, 0, 0)
	dst = le.AppendUint64(dst, uint64(f.Sent))
	count := len(dst)
	dst = append(dst, 0)
	for i := range f.Paths {
		p := &f.Paths[i]
		var age uint64
		if p.Arrived < f.Sent {
			age = uint64(f.Sent - p.Arrived)
		}
		size := 1 + 4 + varintSize(p.Last) + varintSize(age) + varintSize(p.Packets) + varintSize(p.Bytes)
		if i == MaxPaths || len(dst)+size > end-1 { // the count of key pairs follows
			whole = false
			break
		}
		dst = append(dst, p.Path)
		dst = le.AppendUint32(dst, p.Index)
		dst = binary.AppendUvarint(dst, p.Last)
		dst = binary.AppendUvarint(dst, age)
		dst = binary.AppendUvarint(dst, p.Packets)
		dst = binary.AppendUvarint(dst, p.Bytes)
		dst[count]++
	}

	count = len(dst)
	dst = append(dst, 0)
	ranges := MaxRanges
	for i := range f.KeyPairs {
		k := &f.KeyPairs[i]
		span, n, size, all := fitKeyPair(k, end-len(dst), ranges)
		if i == MaxKeyPairs || size == 0 {
			whole = false
			break
		}
		dst = appendKeyPair(dst, k, span, n)
		dst[count]++
		ranges -= n
		if !all {
			whole = false
			break
		}
	}
	return finishFrame(dst, start, typeFeedback), whole
}

// fitKeyPair finds how much of k fits in room bytes and maxRanges ranges: the
// span to send, the number of ranges in it, touching ones counted as one, and
// the bytes needed at most. size is 0 if nothing fits; all is true if
// everything does.
func fitKeyPair(k *KeyPairReport, room, maxRanges int) (span Range, n, size int, all bool) {
	span = k.Span
	// The number of ranges is reckoned at its widest, so that it need not be
	// known before they are counted.
	size = 4 + varintSize(span.From) + varintSize(span.To-span.From) + varintSize(MaxRanges)
	if size > room {
		return Range{}, 0, 0, false
	}
	it := runs{ranges: k.Received, at: span.From}
	for {
		r, skip, ok := it.next(n == 0)
		if !ok {
			return span, n, size, true
		}
		more := varintSize(skip) + varintSize(r.To-r.From-1)
		if n == maxRanges || size+more > room {
			span.To = r.From
			return span, n, size, false
		}
		size += more
		n++
	}
}

// appendKeyPair appends the first n ranges of k under the given span.
func appendKeyPair(dst []byte, k *KeyPairReport, span Range, n int) []byte {
	dst = le.AppendUint32(dst, k.Index)
	dst = binary.AppendUvarint(dst, span.From)
	dst = binary.AppendUvarint(dst, span.To-span.From)
	dst = binary.AppendUvarint(dst, uint64(n))
	it := runs{ranges: k.Received, at: span.From}
	for i := range n {
		r, skip, _ := it.next(i == 0)
		dst = binary.AppendUvarint(dst, skip)
		dst = binary.AppendUvarint(dst, r.To-r.From-1)
	}
	return dst
}

// runs walks over ranges, joining those that touch.
type runs struct {
	ranges []Range
	at     uint64 // where the last run ended
}

// next gives the next run and its skip as it stands on the wire.
func (it *runs) next(first bool) (r Range, skip uint64, ok bool) {
	for len(it.ranges) > 0 && it.ranges[0].From >= it.ranges[0].To {
		it.ranges = it.ranges[1:]
	}
	if len(it.ranges) == 0 {
		return Range{}, 0, false
	}
	r = it.ranges[0]
	it.ranges = it.ranges[1:]
	for len(it.ranges) > 0 && it.ranges[0].From <= r.To {
		r.To = max(r.To, it.ranges[0].To)
		it.ranges = it.ranges[1:]
	}
	skip = r.From - it.at
	if !first {
		skip--
	}
	it.at = r.To
	return r, skip, true
}

// feedback reads the body of a Feedback into d's own memory.
func (d *Decoder) feedback(b *body) *Feedback {
	f := &d.frames.feedback
	f.Sent = Clock(b.u64())
	f.Paths, f.KeyPairs, d.ranges = f.Paths[:0], f.KeyPairs[:0], d.ranges[:0]

	n := int(b.u8())
	if n > MaxPaths {
		b.failf("%d path reports, there can be %d", n, MaxPaths)
	}
	var seen uint32
	for i := 0; i < n && b.err == nil; i++ {
		var p PathReport
		p.Path = b.path()
		p.Index = b.u32()
		p.Last = b.varint()
		age := b.varint()
		p.Packets = b.varint()
		p.Bytes = b.varint()
		if b.err != nil {
			break
		}
		if seen&(1<<p.Path) != 0 {
			b.failf("path %d is reported twice", p.Path)
		}
		seen |= 1 << p.Path
		if age > uint64(f.Sent) {
			b.failf("path %d: age %d µs is before the clock's start, it was sent at %d µs", p.Path, age, f.Sent)
		}
		p.Arrived = f.Sent - Clock(age)
		f.Paths = append(f.Paths, p)
	}

	n = int(b.u8())
	if n > MaxKeyPairs {
		b.failf("%d key pair reports, there can be %d", n, MaxKeyPairs)
	}
	for i := 0; i < n && b.err == nil; i++ {
		k := d.keyPair(b)
		for _, other := range f.KeyPairs {
			if other.Index == k.Index {
				b.failf("key pair %#x is reported twice", k.Index)
			}
		}
		f.KeyPairs = append(f.KeyPairs, k)
	}
	return f
}

// keyPair reads one KeyPairReport; its ranges go to d.ranges.
func (d *Decoder) keyPair(b *body) KeyPairReport {
	var k KeyPairReport
	k.Index = b.u32()
	k.Span.From = b.varint()
	span := b.varint()
	k.Span.To = k.Span.From + span
	if k.Span.To < k.Span.From {
		b.failf("a span of %d from %d passes the last counter", span, k.Span.From)
	}
	n := b.varint()
	// Each range takes two bytes or more: a count that cannot be true must not
	// make us reserve memory for it.
	if n > uint64(b.left()/2) || n > uint64(MaxRanges-len(d.ranges)) {
		b.failf("%d ranges more: there are %d bytes left, and a Feedback can have %d ranges", n, b.left(), MaxRanges)
	}
	first, at := len(d.ranges), k.Span.From
	for i := uint64(0); i < n && b.err == nil; i++ {
		skip, more := b.varint(), b.varint()
		if b.err != nil {
			break
		}
		if i > 0 {
			skip++ // at least one counter is missing between two ranges
		}
		// left counts what the span still has; comparing in this order cannot
		// overflow. A skip of 2⁶⁴−1 may have become 0 above.
		left := k.Span.To - at
		if skip == 0 && i > 0 || skip >= left || more >= left-skip {
			b.failf("range %d leaves the span, which ends at %d", i+1, k.Span.To)
			break
		}
		r := Range{From: at + skip, To: at + skip + more + 1}
		d.ranges = append(d.ranges, r)
		at = r.To
	}
	k.Received = d.ranges[first:len(d.ranges):len(d.ranges)]
	return k
}
