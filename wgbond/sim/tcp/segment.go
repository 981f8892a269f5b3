package tcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Flags of a Segment.
type Flags uint8

const (
	// SYN opens a connection, alone or answering with ACK.
	SYN Flags = 1 << iota
	// ACK: the field Ack counts.
	ACK
	// DSACK: the first SACK block reports data that came twice (RFC 2883).
	DSACK
)

// MaxSACK is how many SACK blocks fit beside the timestamps.
const MaxSACK = 3

// Segment is a TCP segment without its payload's bytes.
type Segment struct {
	Flow   uint16 // tells connections apart, as the ports do
	Flags  Flags
	Len    uint16 // payload, bytes
	Seq    uint64 // first byte of the payload
	Ack    uint64 // next byte expected
	SACK   [MaxSACK]Block
	Blocks int           // SACK blocks in use
	TSVal  time.Duration // sender's clock
	TSEcr  time.Duration // echo of the peer's
}

// Block is a half-open range of bytes: From ≤ b < To.
type Block struct{ From, To uint64 }

// Sizes in bytes of IPv4, TCP and its options.
const (
	header    = 20 + 20 + 12 // with timestamps
	synHeader = 20 + 40
)

// Size is the size of the IP packet in bytes.
func (s *Segment) Size() int {
	switch {
	case s.Flags&SYN != 0:
		return synHeader
	case s.Blocks > 0:
		return header + 4 + 8*s.Blocks + int(s.Len)
	}
	return header + int(s.Len)
}

// Magic is the first byte of a marshalled segment.
const Magic = 'T'

// fixed is the marshalled size without SACK blocks. It stays below Size, as
// blocks take 8 bytes in both and a SYN has none.
const fixed = 38

// Marshal appends the segment, padded with zeros to Size bytes:
//
//	'T' | flags and blocks<<4 | flow u16 | len u16 | seq u64 | ack u64 |
//	tsval i64 | tsecr i64 | blocks: from − ack i32, to − ack i32 | zeros
//
// all little-endian. Blocks lie within 2 GB of Ack.
func (s *Segment) Marshal(b []byte) []byte {
	start := len(b)
	le := binary.LittleEndian
	b = append(b, Magic, byte(s.Flags)|byte(s.Blocks)<<4)
	b = le.AppendUint16(b, s.Flow)
	b = le.AppendUint16(b, s.Len)
	b = le.AppendUint64(b, s.Seq)
	b = le.AppendUint64(b, s.Ack)
	b = le.AppendUint64(b, uint64(s.TSVal))
	b = le.AppendUint64(b, uint64(s.TSEcr))
	for _, k := range s.SACK[:s.Blocks] {
		b = le.AppendUint32(b, uint32(k.From-s.Ack))
		b = le.AppendUint32(b, uint32(k.To-s.Ack))
	}
	for len(b)-start < s.Size() {
		b = append(b, 0)
	}
	return b
}

// ErrNotSegment says that bytes are not a marshalled segment.
var ErrNotSegment = errors.New("not a TCP segment of this model")

// Unmarshal reads what Marshal wrote; more padding may follow.
func (s *Segment) Unmarshal(b []byte) error {
	le := binary.LittleEndian
	if len(b) < fixed || b[0] != Magic {
		return fmt.Errorf("%w: %d bytes beginning % x", ErrNotSegment, len(b), b[:min(len(b), 4)])
	}
	*s = Segment{
		Flags: Flags(b[1] & 0xf), Blocks: int(b[1] >> 4),
		Flow: le.Uint16(b[2:]), Len: le.Uint16(b[4:]),
		Seq: le.Uint64(b[6:]), Ack: le.Uint64(b[14:]),
		TSVal: time.Duration(le.Uint64(b[22:])), TSEcr: time.Duration(le.Uint64(b[30:])),
	}
	if s.Blocks > MaxSACK || s.Flags&SYN != 0 && s.Blocks > 0 || len(b) < s.Size() {
		return fmt.Errorf("%w: flags %#x, %d SACK blocks and %d bytes of payload in %d bytes", ErrNotSegment, s.Flags, s.Blocks, s.Len, len(b))
	}
	for i := range s.SACK[:s.Blocks] {
		k := b[fixed+8*i:]
		s.SACK[i].From = s.Ack + uint64(int64(int32(le.Uint32(k))))
		s.SACK[i].To = s.Ack + uint64(int64(int32(le.Uint32(k[4:]))))
	}
	return nil
}
