package wire

import (
	"encoding/binary"
	"math"
	"math/bits"
	"time"
)

// frameType is a frame's first byte.
type frameType uint8

const (
	typeAttach frameType = 1 + iota
	typeChallenge
	typeChallengeReply
	typeAttached
	typeDetach
	typePing
	typePong
	typeKeyPair
	typeKeyPairEnd
	typeMarker
	typeVoid
	typeTune
	typeFeedback
	typeClose
	typeHello
	typeEqualize
	typeCeiling
	typeReceipt
	typeVerdict
	typeReached
)

var frameNames = [...]string{
	typeAttach: "Attach", typeChallenge: "Challenge", typeChallengeReply: "ChallengeReply",
	typeAttached: "Attached", typeDetach: "Detach", typePing: "Ping", typePong: "Pong",
	typeKeyPair: "KeyPair", typeKeyPairEnd: "KeyPairEnd", typeMarker: "Marker",
	typeVoid: "Void", typeTune: "Tune", typeFeedback: "Feedback", typeClose: "Close",
	typeHello: "Hello", typeEqualize: "Equalize", typeCeiling: "Ceiling",
	typeReceipt: "Receipt", typeVerdict: "Verdict", typeReached: "Reached",
}

// FrameHeaderSize is the size of a frame's type and length, bytes.
const FrameHeaderSize = 3

// pingSize is the body of a Ping without padding.
const pingSize = 1 + 4 + 8

// MaxPadding is the most a Ping can be padded with, bytes.
const MaxPadding = math.MaxUint16 - pingSize

var le = binary.LittleEndian

// AppendFrame appends f, with its type and length, to dst. A Feedback is cut
// as by AppendFeedback if it breaks a limit of the format. Durations are
// rounded down to microseconds and held within what the wire can say; Padding
// is held to MaxPadding. It does not check what the format forbids otherwise,
// such as a path beyond MaxPaths: that is the caller's part.
func AppendFrame(dst []byte, f Frame) []byte {
	if fb, ok := f.(*Feedback); ok {
		dst, _ = AppendFeedback(dst, fb, FrameHeaderSize+math.MaxUint16)
		return dst
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0)
	var t frameType
	switch f := f.(type) {
	case *Attach:
		t = typeAttach
		dst = append(dst, f.Path, byte(f.Flags))
		dst = le.AppendUint16(dst, f.Weight)
		dst = le.AppendUint16(dst, f.MTU)
	case *Challenge:
		t = typeChallenge
		dst = append(dst, f.Path)
		dst = append(dst, f.Nonce[:]...)
	case *ChallengeReply:
		t = typeChallengeReply
		dst = append(dst, f.Path)
		dst = append(dst, f.Nonce[:]...)
	case *Attached:
		t = typeAttached
		dst = append(dst, f.Path)
	case *Detach:
		t = typeDetach
		dst = append(dst, f.Path)
	case *Ping:
		t = typePing
		dst = append(dst, f.Path)
		dst = le.AppendUint32(dst, f.ID)
		dst = le.AppendUint64(dst, uint64(f.Sent))
		for range min(f.Padding, MaxPadding) {
			dst = append(dst, 0)
		}
	case *Pong:
		t = typePong
		dst = append(dst, f.Path)
		dst = le.AppendUint32(dst, f.ID)
		dst = le.AppendUint64(dst, uint64(f.Sent))
		dst = le.AppendUint64(dst, uint64(f.Received))
		dst = le.AppendUint16(dst, f.Size)
	case *KeyPair:
		t = typeKeyPair
		dst = le.AppendUint32(dst, f.Index)
		dst = le.AppendUint32(dst, f.Ordinal)
		dst = le.AppendUint64(dst, f.First)
	case *KeyPairEnd:
		t = typeKeyPairEnd
		dst = le.AppendUint32(dst, f.Index)
		dst = le.AppendUint64(dst, f.End)
	case *Marker:
		t = typeMarker
		dst = append(dst, f.Path)
		dst = le.AppendUint32(dst, f.Index)
		dst = le.AppendUint64(dst, f.Below)
	case *Void:
		t = typeVoid
		dst = le.AppendUint32(dst, f.Index)
		dst = le.AppendUint64(dst, f.Range.From)
		dst = le.AppendUint64(dst, f.Range.To)
	case *Tune:
		t = typeTune
		dst = le.AppendUint32(dst, micros(f.Hold))
		dst = le.AppendUint32(dst, micros(f.Deadline))
		dst = le.AppendUint32(dst, f.Live)
	case *Close:
		t = typeClose
		dst = append(dst, byte(f.Reason))
	case *Hello:
		t = typeHello
		dst = le.AppendUint64(dst, f.Instance)
	case *Equalize:
		t = typeEqualize
		dst = appendDelays(dst, &f.Delay)
	case *Ceiling:
		t = typeCeiling
		dst = append(dst, f.Path)
		dst = le.AppendUint64(dst, f.Rate)
	case *Receipt:
		t = typeReceipt
		dst = append(dst, f.Path)
		dst = le.AppendUint32(dst, f.Key)
		dst = le.AppendUint32(dst, f.Index)
		for _, x := range f.Samples[:min(len(f.Samples), MaxSamples)] {
			dst = le.AppendUint16(dst, x.Counter)
			dst = le.AppendUint32(dst, x.Tag)
		}
	case *Verdict:
		t = typeVerdict
		dst = append(dst, f.Path, byte(f.Charge))
	case *Reached:
		t = typeReached
		dst = append(dst, f.Path)
		dst = le.AppendUint64(dst, f.Rate)
		dst = le.AppendUint32(dst, micros(f.RTT))
	}
	return finishFrame(dst, start, t)
}

// appendDelays appends those that are not 0.
func appendDelays(dst []byte, delays *[MaxPaths]time.Duration) []byte {
	count := len(dst)
	dst = append(dst, 0)
	for path, d := range delays {
		if us := micros(d); us > 0 {
			dst[count]++
			dst = append(dst, byte(path))
			dst = le.AppendUint32(dst, us)
		}
	}
	return dst
}

// finishFrame writes type and length of the frame that begins at start.
func finishFrame(dst []byte, start int, t frameType) []byte {
	dst[start] = byte(t)
	le.PutUint16(dst[start+1:], uint16(len(dst)-start-FrameHeaderSize))
	return dst
}

// micros is d in whole microseconds, held within 0 … 2³²−1.
func micros(d time.Duration) uint32 {
	us := d / time.Microsecond
	return uint32(max(0, min(us, math.MaxUint32)))
}

// varintSize is the number of bytes that v takes as a varint.
func varintSize(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }
