package wire

import (
	"errors"
	"fmt"
	"time"
)

// ErrMalformed is matched by every error of this package.
var ErrMalformed = errors.New("malformed message")

// FormatError says what is wrong with a message, and where.
type FormatError struct {
	Frame  string // the frame's name; empty if it is the message itself
	Offset int    // of the first byte that is wrong, in the plaintext
	Detail string // what was found and what would be right
}

func (e *FormatError) Error() string {
	frame := e.Frame
	if frame == "" {
		frame = "message"
	}
	return fmt.Sprintf("wire: %s, byte %d: %s", frame, e.Offset, e.Detail)
}

// Is matches ErrMalformed.
func (e *FormatError) Is(target error) bool { return target == ErrMalformed }

// NextFrame splits the first frame off b: its type, its body, and what follows
// it. offset is where b[0] stands in the plaintext, for the error. The lease
// protocol, whose frames have the same envelope, uses it too.
func NextFrame(b []byte, offset int) (typ uint8, body, rest []byte, err error) {
	if len(b) < FrameHeaderSize {
		return 0, nil, nil, &FormatError{Offset: offset,
			Detail: fmt.Sprintf("%d bytes are left, a frame has at least %d", len(b), FrameHeaderSize)}
	}
	n := int(le.Uint16(b[1:]))
	if n > len(b)-FrameHeaderSize {
		return 0, nil, nil, &FormatError{Frame: frameName(b[0]), Offset: offset + 1,
			Detail: fmt.Sprintf("length %d, but %d bytes are left", n, len(b)-FrameHeaderSize)}
	}
	return b[0], b[FrameHeaderSize : FrameHeaderSize+n], b[FrameHeaderSize+n:], nil
}

func frameName(t uint8) string {
	if int(t) < len(frameNames) && frameNames[t] != "" {
		return frameNames[t]
	}
	return fmt.Sprintf("frame of type %d", t)
}

// A Decoder reads the frames of one plaintext after the other. It reuses its
// memory: after a few messages it allocates nothing. The zero value is ready.
// It is not safe for concurrent use.
//
//	d.Reset(plaintext)
//	for d.Next() {
//		switch f := d.Frame().(type) {
//		case *wire.Feedback:
//			…
//		}
//	}
//	if err := d.Err(); err != nil { … }
type Decoder struct {
	buf     []byte
	off     int
	path    uint8
	skipped int
	frame   Frame
	err     error

	// The structs that Frame points into, and the memory of all ranges of
	// the latest Feedback.
	frames struct {
		attach         Attach
		challenge      Challenge
		challengeReply ChallengeReply
		attached       Attached
		detach         Detach
		ping           Ping
		pong           Pong
		keyPair        KeyPair
		keyPairEnd     KeyPairEnd
		marker         Marker
		void           Void
		tune           Tune
		feedback       Feedback
		close          Close
		hello          Hello
		equalize       Equalize
		ceiling        Ceiling
		receipt        Receipt
		verdict        Verdict
		reached        Reached
	}
	ranges []Range
}

// Reset starts on a new plaintext, which the Decoder reads until the next
// Reset and never changes.
func (d *Decoder) Reset(plaintext []byte) {
	d.buf, d.off, d.path, d.skipped, d.frame, d.err = plaintext, 1, NoPath, 0, nil, nil
	switch {
	case len(plaintext) == 0:
		d.err = &FormatError{Detail: "empty, the first byte is the path"}
	case plaintext[0] >= MaxPaths && plaintext[0] != NoPath:
		d.err = &FormatError{Detail: fmt.Sprintf("path %d, the highest is %d; %d stands for none", plaintext[0], MaxPaths-1, NoPath)}
	default:
		d.path = plaintext[0]
	}
}

// Path is the path that the message was sent on, or NoPath.
func (d *Decoder) Path() uint8 { return d.path }

// Next reads the next frame of a known type and reports whether there is one.
// It returns false at the end of the message and at the first error.
func (d *Decoder) Next() bool {
	d.frame = nil
	for d.err == nil && d.off < len(d.buf) {
		typ, content, rest, err := NextFrame(d.buf[d.off:], d.off)
		if err != nil {
			d.err = err
			return false
		}
		b := body{b: content, name: typ, base: d.off + FrameHeaderSize}
		d.off = len(d.buf) - len(rest)
		f := d.decode(frameType(typ), &b)
		if f == nil {
			d.skipped++
			continue
		}
		if b.err == nil && b.left() > 0 {
			b.failf("%d bytes too many, the body has %d", b.left(), b.off)
		}
		if b.err != nil {
			d.err = b.err
			return false
		}
		d.frame = f
		return true
	}
	return false
}

// Frame is what Next read. It and all it points to are valid until the next
// call of Next or Reset.
func (d *Decoder) Frame() Frame { return d.frame }

// Skipped is the number of frames of unknown type so far in this message.
func (d *Decoder) Skipped() int { return d.skipped }

// Err is the error that ended this message, a *FormatError, or nil.
func (d *Decoder) Err() error { return d.err }

// decode reads a body into the struct of its type; nil if the type is unknown.
func (d *Decoder) decode(t frameType, b *body) Frame {
	switch t {
	case typeAttach:
		f := &d.frames.attach
		*f = Attach{Path: b.path(), Flags: AttachFlags(b.u8()), Weight: b.u16(), MTU: b.u16()}
		return f
	case typeChallenge:
		f := &d.frames.challenge
		f.Path = b.path()
		b.copy(f.Nonce[:])
		return f
	case typeChallengeReply:
		f := &d.frames.challengeReply
		f.Path = b.path()
		b.copy(f.Nonce[:])
		return f
	case typeAttached:
		f := &d.frames.attached
		f.Path = b.path()
		return f
	case typeDetach:
		f := &d.frames.detach
		f.Path = b.path()
		return f
	case typePing:
		f := &d.frames.ping
		*f = Ping{Path: b.path(), ID: b.u32(), Sent: Clock(b.u64())}
		f.Padding = uint16(b.left())
		b.off = len(b.b)
		return f
	case typePong:
		f := &d.frames.pong
		*f = Pong{Path: b.path(), ID: b.u32(), Sent: Clock(b.u64()), Received: Clock(b.u64()), Size: b.u16()}
		return f
	case typeKeyPair:
		f := &d.frames.keyPair
		*f = KeyPair{Index: b.u32(), Ordinal: b.u32(), First: b.u64()}
		return f
	case typeKeyPairEnd:
		f := &d.frames.keyPairEnd
		*f = KeyPairEnd{Index: b.u32(), End: b.u64()}
		return f
	case typeMarker:
		f := &d.frames.marker
		*f = Marker{Path: b.path(), Index: b.u32(), Below: b.u64()}
		return f
	case typeVoid:
		f := &d.frames.void
		*f = Void{Index: b.u32(), Range: Range{From: b.u64(), To: b.u64()}}
		if b.err == nil && f.Range.From >= f.Range.To {
			b.failf("range from %d to %d is empty", f.Range.From, f.Range.To)
		}
		return f
	case typeTune:
		f := &d.frames.tune
		*f = Tune{Hold: b.micros(), Deadline: b.micros(), Live: b.u32()}
		return f
	case typeFeedback:
		return d.feedback(b)
	case typeClose:
		f := &d.frames.close
		f.Reason = CloseReason(b.u8())
		return f
	case typeHello:
		f := &d.frames.hello
		f.Instance = b.u64()
		return f
	case typeEqualize:
		f := &d.frames.equalize
		b.delays(&f.Delay)
		return f
	case typeCeiling:
		f := &d.frames.ceiling
		*f = Ceiling{Path: b.path(), Rate: b.u64()}
		return f
	case typeReceipt:
		f := &d.frames.receipt
		*f = Receipt{Path: b.path(), Key: b.u32(), Index: b.u32(), Samples: f.Samples[:0]}
		if n := b.left() / sampleSize; n > MaxSamples {
			b.failf("%d samples, there can be %d", n, MaxSamples)
		}
		for b.err == nil && b.left() > 0 {
			f.Samples = append(f.Samples, Sample{Counter: b.u16(), Tag: b.u32()})
		}
		return f
	case typeVerdict:
		f := &d.frames.verdict
		*f = Verdict{Path: b.path(), Charge: Charge(b.u8())}
		return f
	case typeReached:
		f := &d.frames.reached
		*f = Reached{Path: b.path(), Rate: b.u64(), RTT: time.Duration(b.u32()) * time.Microsecond}
		return f
	}
	return nil
}

// sampleSize is that of a Receipt's Sample, bytes.
const sampleSize = 2 + 4

// body reads one frame's body. The first failure stays and makes all further
// reads give zero.
type body struct {
	b    []byte
	off  int
	name uint8
	base int // offset of b[0] in the plaintext
	err  error
}

func (b *body) left() int { return len(b.b) - b.off }

// failf records a failure at the current offset, unless there was one before.
func (b *body) failf(format string, args ...any) {
	if b.err == nil {
		b.err = &FormatError{Frame: frameName(b.name), Offset: b.base + b.off, Detail: fmt.Sprintf(format, args...)}
	}
}

// take returns the next n bytes, or nil after a failure.
func (b *body) take(n int) []byte {
	if b.err == nil && b.left() < n {
		b.failf("the body ends here, %d bytes short", n-b.left())
	}
	if b.err != nil {
		return nil
	}
	b.off += n
	return b.b[b.off-n : b.off]
}

func (b *body) u8() uint8 {
	if p := b.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (b *body) u16() uint16 {
	if p := b.take(2); p != nil {
		return le.Uint16(p)
	}
	return 0
}

func (b *body) u32() uint32 {
	if p := b.take(4); p != nil {
		return le.Uint32(p)
	}
	return 0
}

func (b *body) u64() uint64 {
	if p := b.take(8); p != nil {
		return le.Uint64(p)
	}
	return 0
}

func (b *body) copy(dst []byte) { copy(dst, b.take(len(dst))) }

func (b *body) micros() time.Duration { return time.Duration(b.u32()) * time.Microsecond }

// delays reads what appendDelays appends.
func (b *body) delays(to *[MaxPaths]time.Duration) {
	*to = [MaxPaths]time.Duration{}
	last := -1
	for n := b.u8(); n > 0 && b.err == nil; n-- {
		at := b.off
		path, d := b.path(), b.micros()
		switch {
		case b.err != nil:
		case int(path) <= last:
			b.off = at
			b.failf("path %d after path %d, they must rise", path, last)
		case d == 0:
			b.off = at
			b.failf("a delay of 0 for path %d, which is not to be named then", path)
		default:
			to[path], last = d, int(path)
		}
	}
}

func (b *body) path() uint8 {
	p := b.u8()
	if p >= MaxPaths {
		b.off--
		b.failf("path %d, the highest is %d", p, MaxPaths-1)
		return 0
	}
	return p
}

// varint reads an unsigned LEB128 in its shortest form.
func (b *body) varint() uint64 {
	var v uint64
	for i := 0; b.err == nil; i++ {
		p := b.take(1)
		if p == nil {
			return 0
		}
		c := p[0]
		if i == 9 && c > 1 {
			b.off--
			b.failf("a varint beyond 64 bits")
			return 0
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				b.off--
				b.failf("a varint with a needless last byte")
				return 0
			}
			return v
		}
	}
	return 0
}
