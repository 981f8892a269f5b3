package wire

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// golden are packets that any implementation must make and read. Spaces and
// bars in the hex only help the eye.
var golden = []struct {
	name  string
	frame Frame
	hex   string
}{
	{"Attach", &Attach{Path: 3, Flags: AttachBackup | AttachMetered, Weight: 256, MTU: 1452},
		"01 0600 | 03 03 0001 ac05"},
	{"Challenge", &Challenge{Path: 1, Nonce: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}},
		"02 0900 | 01 0102030405060708"},
	{"ChallengeReply", &ChallengeReply{Path: 1, Nonce: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}},
		"03 0900 | 01 0102030405060708"},
	{"Attached", &Attached{Path: 15}, "04 0100 | 0f"},
	{"Detach", &Detach{Path: 0}, "05 0100 | 00"},
	{"Ping", &Ping{Path: 2, ID: 0x01020304, Sent: 1_000_000},
		"06 0d00 | 02 04030201 40420f0000000000"},
	{"padded Ping", &Ping{Path: 2, ID: 7, Sent: 1, Padding: 3},
		"06 1000 | 02 07000000 0100000000000000 000000"},
	{"Pong", &Pong{Path: 2, ID: 7, Sent: 1_000_000, Received: 0x1122334455667788, Size: 1280},
		"07 1700 | 02 07000000 40420f0000000000 8877665544332211 0005"},
	{"KeyPair", &KeyPair{Index: 0xdeadbeef, Ordinal: 5, First: 1},
		"08 1000 | efbeadde 05000000 0100000000000000"},
	{"KeyPairEnd", &KeyPairEnd{Index: 0xdeadbeef, End: 0xffffffffffffffff},
		"09 0c00 | efbeadde ffffffffffffffff"},
	{"Marker", &Marker{Path: 1, Index: 0xdeadbeef, Below: 4096},
		"0a 0d00 | 01 efbeadde 0010000000000000"},
	{"Void", &Void{Index: 0xdeadbeef, Range: Range{From: 16, To: 18}},
		"0b 1400 | efbeadde 1000000000000000 1200000000000000"},
	{"Tune", &Tune{Hold: 40 * time.Millisecond, Deadline: time.Second, Live: 0b101},
		"0c 0c00 | 409c0000 40420f00 05000000"},
	{"Close", &Close{Reason: CloseReplaced}, "0e 0100 | 01"},
	{"Hello", &Hello{Instance: 0x0102030405060708}, "0f 0800 | 0807060504030201"},
	{"Equalize", &Equalize{Delay: [MaxPaths]time.Duration{1: 45 * time.Millisecond, 15: time.Microsecond}},
		"10 0b00 | 02 | 01 c8af0000 | 0f 01000000"},
	{"Equalize nothing", &Equalize{}, "10 0100 | 00"},
	{"Ceiling", &Ceiling{Path: 3, Rate: 250_000}, "11 0900 | 03 90d0030000000000"},
	{"Receipt", &Receipt{Path: 2, Key: 5, Index: 0x04030201, Samples: []Sample{{1, 0xdeadbeef}, {0xffff, 0}}},
		"12 1500 | 02 05000000 01020304 | 0100 efbeadde | ffff 00000000"},
	{"empty Receipt", &Receipt{Path: 2}, "12 0900 | 02 00000000 00000000"},
	{"Verdict", &Verdict{Path: 3, Charge: Invents}, "13 0200 | 03 02"},
	{"Reached", &Reached{Path: 2, Rate: 2_500_000, RTT: 30 * time.Millisecond}, "14 0d00 | 02 a025260000000000 30750000"},
	{"Reached, not known", &Reached{Path: 15}, "14 0d00 | 0f 0000000000000000 00000000"},
	{"no Ceiling", &Ceiling{Path: 15, Rate: NoCeiling}, "11 0900 | 0f ffffffffffffffff"},
	{"Ceiling of an unused link", &Ceiling{Path: 15, Rate: Unused}, "11 0900 | 0f feffffffffffffff"},
	{"empty Feedback", &Feedback{Sent: 1_000_000}, "0d 0a00 | 40420f0000000000 00 00"},
	{"Feedback as drawn in the package doc", &Feedback{
		Sent: 1_000_000,
		Paths: []PathReport{
			{Path: 0, Index: 0xdeadbeef, Last: 300, Arrived: 999_990, Packets: 1000, Bytes: 1_500_000},
			{Path: 1},
		},
		KeyPairs: []KeyPairReport{{
			Index:    0xdeadbeef,
			Span:     Range{From: 100, To: 111},
			Received: []Range{{102, 105}, {108, 109}},
		}},
	}, "0d 2d00 | 40420f0000000000 | 02 00 efbeadde ac02 0a e807 e0c65b | 01 00000000 00 c0843d 00 00" +
		"| 01 efbeadde 64 0b 02 02 02 02 00"},
	{"Feedback with all arrived, and none", &Feedback{
		Sent: 0,
		KeyPairs: []KeyPairReport{
			{Index: 1, Span: Range{0, 128}, Received: []Range{{0, 128}}},
			{Index: 2, Span: Range{5, 5}},
			{Index: 3, Span: Range{5, 8}},
		},
	}, "0d 2200 | 0000000000000000 00 03 | 01000000 00 8001 01 00 7f | 02000000 05 00 00 | 03000000 05 03 00"},
	{"Feedback at the last counter", &Feedback{
		KeyPairs: []KeyPairReport{{
			Index:    1,
			Span:     Range{math.MaxUint64 - 3, math.MaxUint64},
			Received: []Range{{math.MaxUint64 - 1, math.MaxUint64}},
		}},
	}, "0d 1c00 | 0000000000000000 00 01 | 01000000 fcffffffffffffffff01 03 01 02 00"},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "|", "").Replace(s))
	if err != nil {
		t.Fatalf("bad hex in the test: %v", err)
	}
	return b
}

// same compares frames; nil and empty slices are alike.
var same = cmpopts.EquateEmpty()

// decodeAll decodes a plaintext into frames of their own.
func decodeAll(plaintext []byte) (frames []Frame, skipped int, err error) {
	var d Decoder
	d.Reset(plaintext)
	for d.Next() {
		frames = append(frames, clone(d.Frame()))
	}
	return frames, d.Skipped(), d.Err()
}

func clone(f Frame) Frame {
	switch f := f.(type) {
	case *Attach:
		c := *f
		return &c
	case *Challenge:
		c := *f
		return &c
	case *ChallengeReply:
		c := *f
		return &c
	case *Attached:
		c := *f
		return &c
	case *Detach:
		c := *f
		return &c
	case *Ping:
		c := *f
		return &c
	case *Pong:
		c := *f
		return &c
	case *KeyPair:
		c := *f
		return &c
	case *KeyPairEnd:
		c := *f
		return &c
	case *Marker:
		c := *f
		return &c
	case *Void:
		c := *f
		return &c
	case *Tune:
		c := *f
		return &c
	case *Close:
		c := *f
		return &c
	case *Hello:
		c := *f
		return &c
	case *Equalize:
		c := *f
		return &c
	case *Ceiling:
		c := *f
		return &c
	case *Receipt:
		c := *f
		c.Samples = append([]Sample(nil), f.Samples...)
		return &c
	case *Verdict:
		c := *f
		return &c
	case *Reached:
		c := *f
		return &c
	case *Feedback:
		c := Feedback{Sent: f.Sent, Paths: append([]PathReport(nil), f.Paths...)}
		for _, k := range f.KeyPairs {
			k.Received = append([]Range(nil), k.Received...)
			c.KeyPairs = append(c.KeyPairs, k)
		}
		return &c
	}
	panic(fmt.Sprintf("%T is not cloned", f))
}

func TestGoldenFrames(t *testing.T) {
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			want := unhex(t, g.hex)
			if got := AppendFrame(nil, g.frame); string(got) != string(want) {
				t.Errorf("encoded\n got %x\nwant %x", got, want)
			}
			frames, skipped, err := decodeAll(append([]byte{0}, want...))
			if err != nil || skipped != 0 {
				t.Fatalf("decoding: %v, %d skipped", err, skipped)
			}
			if diff := cmp.Diff([]Frame{g.frame}, frames, same); diff != "" {
				t.Errorf("decoded, -want +got:\n%s", diff)
			}
		})
	}
}

func TestEveryFrameHasAGoldenVector(t *testing.T) {
	have := map[string]bool{}
	for _, g := range golden {
		have[frameName(AppendFrame(nil, g.frame)[0])] = true
	}
	for _, name := range frameNames[1:] {
		if !have[name] {
			t.Errorf("no golden vector of %s", name)
		}
	}
}

func TestMessageOfManyFrames(t *testing.T) {
	msg := []byte{NoPath}
	var want []Frame
	for i, g := range golden {
		msg = append(msg, 200, 2, 0, byte(i), 0) // an unknown frame between any two
		msg = AppendFrame(msg, g.frame)
		want = append(want, g.frame)
	}
	got, skipped, err := decodeAll(msg)
	if err != nil || skipped != len(golden) {
		t.Fatalf("err %v, %d skipped, want %d", err, skipped, len(golden))
	}
	if diff := cmp.Diff(want, got, same); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestMalformed(t *testing.T) {
	const fb = "0d 0000 | 40420f0000000000 " // the length is set below
	for _, c := range []struct{ name, hex, err string }{
		{"nothing", "", "message, byte 0: empty"},
		{"path of the message", "10", "message, byte 0: path 16, the highest is 15; 255 stands for none"},
		{"cut in the header", "00 04 01", "message, byte 1: 2 bytes are left, a frame has at least 3"},
		{"length beyond the end", "00 04 0200 00", "Attached, byte 2: length 2, but 1 bytes are left"},
		{"length of an unknown frame", "00 63 0200 00", "frame of type 99, byte 2: length 2, but 1 bytes are left"},
		{"short body", "00 01 0500 03 03 0001 ac", "Attach, byte 8: the body ends here, 1 bytes short"},
		{"long body", "00 04 0200 03 00", "Attached, byte 5: 1 bytes too many, the body has 1"},
		{"path of a frame", "00 04 0100 10", "Attached, byte 4: path 16, the highest is 15"},
		{"empty void", "00 0b 1400 efbeadde 1000000000000000 1000000000000000", "Void, byte 24: range from 16 to 16 is empty"},
		{"delays out of order", "00 10 0b00 02 | 02 01000000 | 01 01000000", "Equalize, byte 10: path 1 after path 2, they must rise"},
		{"delay of 0", "00 10 0600 01 | 02 00000000", "Equalize, byte 5: a delay of 0 for path 2"},
		{"fewer delays than said", "00 10 0600 02 | 02 01000000", "Equalize, byte 10: the body ends here"},
		{"second frame", "00 04 0100 03 | 05 0100 ff", "Detach, byte 8: path 255"},
		{"17 paths", "00" + fb + "11 00", "Feedback, byte 13: 17 path reports, there can be 16"},
		{"path twice", "00" + fb + "02 | 01 00000000 00 00 00 00 | 01 00000000 00 00 00 00 | 00", "path 1 is reported twice"},
		{"age before the clock", "00" + fb + "01 | 01 00000000 00 c1843d 00 00 | 00", "path 1: age 1000001 µs"},
		{"9 key pairs", "00" + fb + "00 09", "Feedback, byte 14: 9 key pair reports, there can be 8"},
		{"key pair twice", "00" + fb + "00 02 | 01000000 00 00 00 | 01000000 00 00 00", "key pair 0x1 is reported twice"},
		{"span overflow", "00" + fb + "00 01 | 01000000 ffffffffffffffffff01 01 00", "passes the last counter"},
		{"more ranges than bytes", "00" + fb + "00 01 | 01000000 00 0a 03 00 00 00 00", "3 ranges more: there are 4 bytes left"},
		{"range count of 2⁶⁴−1", "00" + fb + "00 01 | 01000000 00 0a ffffffffffffffffff01", "18446744073709551615 ranges more"},
		{"range beyond the span", "00" + fb + "00 01 | 01000000 00 0a 01 00 0a", "range 1 leaves the span, which ends at 10"},
		{"second range beyond the span", "00" + fb + "00 01 | 01000000 00 0a 02 00 08 00 00", "range 2 leaves the span"},
		{"skip that overflows", "00" + fb + "00 01 | 01000000 00 0a 02 00 00 ffffffffffffffffff01 00", "range 2 leaves the span"},
		{"more that overflows", "00" + fb + "00 01 | 01000000 05 0a 01 00 ffffffffffffffffff01", "range 1 leaves the span"},
		{"varint of 65 bits", "00" + fb + "00 01 | 01000000 ffffffffffffffffff02 00 00", "a varint beyond 64 bits"},
		{"varint without end", "00" + fb + "00 01 | 01000000 ffffffffffffffffffffff 00 00", "a varint beyond 64 bits"},
		{"varint padded", "00" + fb + "00 01 | 01000000 8000 00 00", "a varint with a needless last byte"},
		{"varint cut", "00" + fb + "00 01 | 01000000 80", "the body ends here, 1 bytes short"},
	} {
		t.Run(c.name, func(t *testing.T) {
			msg := unhex(t, c.hex)
			if len(msg) > 4 && msg[1] == byte(typeFeedback) {
				le.PutUint16(msg[2:], uint16(len(msg)-4))
			}
			_, _, err := decodeAll(msg)
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Fatalf("got error %v, want it to say %q", err, c.err)
			}
			var fe *FormatError
			if !errors.Is(err, ErrMalformed) || !errors.As(err, &fe) {
				t.Errorf("%T does not match ErrMalformed and FormatError", err)
			}
		})
	}
}

func TestFramesBeforeAnErrorHold(t *testing.T) {
	msg := AppendFrame([]byte{2}, &Detach{Path: 1})
	msg = append(msg, byte(typeClose), 0, 0)
	frames, _, err := decodeAll(msg)
	if err == nil || len(frames) != 1 {
		t.Errorf("got %d frames and error %v, want 1 and an error", len(frames), err)
	}
}

func TestEveryTruncationFails(t *testing.T) {
	for _, g := range golden {
		whole := AppendFrame([]byte{0}, g.frame)
		for n := 2; n < len(whole); n++ {
			if _, _, err := decodeAll(whole[:n]); err == nil {
				t.Errorf("%s: %d of %d bytes are taken", g.name, n, len(whole))
			}
			// The same with a length that agrees: the body itself is too short.
			if n < 4 {
				continue
			}
			short := append([]byte(nil), whole[:n]...)
			le.PutUint16(short[2:], uint16(n-4))
			if _, isPing := g.frame.(*Ping); isPing && n >= 4+pingSize {
				continue // less padding
			}
			if _, isReceipt := g.frame.(*Receipt); isReceipt && n >= 4+9 && (n-4-9)%sampleSize == 0 {
				continue // fewer samples
			}
			if _, _, err := decodeAll(short); err == nil {
				t.Errorf("%s: a body of %d of %d bytes is taken", g.name, n-4, len(whole)-4)
			}
		}
	}
}

// randomFeedback draws a valid Feedback and, as a naive model, the set of
// counters of each key pair.
func randomFeedback(r *rand.Rand) (*Feedback, []map[uint64]bool) {
	f := &Feedback{Sent: Clock(r.Uint64() >> r.IntN(64))}
	for p := range r.IntN(MaxPaths + 1) {
		f.Paths = append(f.Paths, PathReport{
			Path: uint8(p), Index: r.Uint32(), Last: r.Uint64() >> r.IntN(64),
			Arrived: Clock(r.Uint64N(uint64(f.Sent)/2 + 1)),
			Packets: r.Uint64() >> r.IntN(64), Bytes: r.Uint64() >> r.IntN(64),
		})
	}
	var sets []map[uint64]bool
	for i := range r.IntN(4) {
		k := KeyPairReport{Index: uint32(i)}
		k.Span.From = r.Uint64() >> (1 + r.IntN(62))
		k.Span.To = k.Span.From + r.Uint64N(1000)
		set := map[uint64]bool{}
		density := r.Float64()
		for c := k.Span.From; c < k.Span.To; c++ {
			if r.Float64() >= density {
				continue
			}
			set[c] = true
			if n := len(k.Received); n > 0 && k.Received[n-1].To == c && r.IntN(5) > 0 {
				k.Received[n-1].To = c + 1 // else leave ranges that touch
			} else {
				k.Received = append(k.Received, Range{c, c + 1})
			}
		}
		f.KeyPairs = append(f.KeyPairs, k)
		sets = append(sets, set)
	}
	return f, sets
}

func TestFeedbackAgainstNaiveSets(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 500 {
		f, sets := randomFeedback(r)
		limit := 65538
		if i%2 == 0 {
			limit = 13 + r.IntN(1500)
		}
		out, whole := AppendFeedback(make([]byte, 1, 2048), f, limit)
		if len(out)-1 > limit {
			t.Fatalf("case %d: %d bytes, the limit was %d", i, len(out)-1, limit)
		}
		frames, _, err := decodeAll(out)
		if err != nil || len(frames) != 1 {
			t.Fatalf("case %d: %d frames, %v", i, len(frames), err)
		}
		got := frames[0].(*Feedback)
		if got.Sent != f.Sent || !cmp.Equal(got.Paths, f.Paths[:len(got.Paths)], same) {
			t.Fatalf("case %d: sent or paths differ", i)
		}
		complete := len(got.Paths) == len(f.Paths) && len(got.KeyPairs) == len(f.KeyPairs)
		for j, k := range got.KeyPairs {
			want := f.KeyPairs[j]
			if k.Index != want.Index || k.Span.From != want.Span.From || k.Span.To > want.Span.To {
				t.Fatalf("case %d: key pair %d: got %v, want within %v", i, j, k.Span, want.Span)
			}
			complete = complete && k.Span == want.Span
			arrived := map[uint64]bool{}
			for _, r := range k.Received {
				for c := r.From; c < r.To; c++ {
					arrived[c] = true
				}
			}
			for c := k.Span.From; c < k.Span.To; c++ {
				if arrived[c] != sets[j][c] {
					t.Fatalf("case %d: key pair %d says arrived=%v of counter %d", i, j, arrived[c], c)
				}
			}
		}
		if complete != whole {
			t.Fatalf("case %d: whole is %v but all that was put in came out: %v", i, whole, complete)
		}
	}
}

// alternating is a Feedback in which every other of 2n counters arrived.
func alternating(n int) *Feedback {
	f := &Feedback{Sent: 123456789, Paths: make([]PathReport, 4)}
	k := KeyPairReport{Index: 9, Span: Range{1 << 20, 1<<20 + uint64(2*n)}}
	for i := range f.Paths {
		f.Paths[i] = PathReport{Path: uint8(i), Index: 9, Last: 1 << 20, Arrived: 123450000, Packets: 1 << 20, Bytes: 1 << 30}
	}
	for i := range uint64(n) {
		k.Received = append(k.Received, Range{k.Span.From + 2*i, k.Span.From + 2*i + 1})
	}
	f.KeyPairs = []KeyPairReport{k}
	return f
}

func TestAlternatingPatternCostsTwoBytesARange(t *testing.T) {
	a, wa := AppendFeedback(nil, alternating(100), 1200)
	b, wb := AppendFeedback(nil, alternating(300), 1200)
	if !wa || !wb || len(b)-len(a) != 2*200+1 { // and one for the count's second byte
		t.Errorf("100 ranges take %d bytes (%v), 300 take %d (%v)", len(a), wa, len(b), wb)
	}
	c, whole := AppendFeedback(nil, alternating(1000), 1200)
	if whole || len(c) < 1197 || len(c) > 1200 {
		t.Errorf("1000 ranges in 1200 bytes: %d bytes, whole %v", len(c), whole)
	}
}

func TestFeedbackOverItsLimits(t *testing.T) {
	f := &Feedback{Sent: 5}
	for i := range 20 {
		f.Paths = append(f.Paths, PathReport{Path: uint8(i), Arrived: 9})
		f.KeyPairs = append(f.KeyPairs, KeyPairReport{Index: uint32(i), Span: Range{0, 1}})
	}
	frames, _, err := decodeAll(AppendFrame([]byte{0}, f))
	if err != nil {
		t.Fatal(err)
	}
	got := frames[0].(*Feedback)
	if len(got.Paths) != MaxPaths || len(got.KeyPairs) != MaxKeyPairs || got.Paths[0].Arrived != 5 {
		t.Errorf("got %d paths, %d key pairs, arrived %d", len(got.Paths), len(got.KeyPairs), got.Paths[0].Arrived)
	}

	frames, _, err = decodeAll(AppendFrame([]byte{0}, alternating(MaxRanges+10)))
	if err != nil {
		t.Fatal(err)
	}
	k := frames[0].(*Feedback).KeyPairs[0]
	if len(k.Received) != MaxRanges || k.Span.To != 1<<20+2*MaxRanges {
		t.Errorf("%d ranges, span to %d", len(k.Received), k.Span.To)
	}

	if out, whole := AppendFeedback([]byte{7}, f, 12); whole || len(out) != 1 {
		t.Errorf("12 bytes are too few, got %x, %v", out, whole)
	}
}

func TestTuneIsHeldWithinTheWire(t *testing.T) {
	frames, _, err := decodeAll(AppendFrame([]byte{0}, &Tune{Hold: -time.Second, Deadline: 100 * time.Hour}))
	if err != nil {
		t.Fatal(err)
	}
	if got := frames[0].(*Tune); got.Hold != 0 || got.Deadline != math.MaxUint32*time.Microsecond {
		t.Errorf("got %+v", got)
	}
}

func TestNoAllocation(t *testing.T) {
	var d Decoder
	buf := make([]byte, 0, 2048)
	fb := alternating(400)
	pong := &Pong{Path: 1, ID: 2, Sent: 3, Received: 4, Size: 5}
	void := &Void{Index: 1, Range: Range{1, 2}}
	n := testing.AllocsPerRun(200, func() {
		buf = append(buf[:0], 0)
		buf, _ = AppendFeedback(buf, fb, 1200)
		buf = AppendFrame(buf, pong)
		buf = AppendFrame(buf, void)
		d.Reset(buf)
		frames := 0
		for d.Next() {
			switch f := d.Frame().(type) {
			case *Feedback:
				frames += len(f.KeyPairs)
			default:
				frames++
			}
		}
		if frames != 3 || d.Err() != nil {
			t.Fatalf("%d frames, %v", frames, d.Err())
		}
	})
	if n != 0 {
		t.Errorf("%v allocations per message, want none", n)
	}
}

func FuzzDecoder(f *testing.F) {
	for _, g := range golden {
		f.Add(AppendFrame([]byte{0}, g.frame))
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 8 {
		fb, _ := randomFeedback(r)
		msg, _ := AppendFeedback([]byte{1}, fb, 1200)
		f.Add(AppendFrame(msg, &Tune{Hold: time.Second, Live: 3}))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		frames, skipped, err := decodeAll(msg)
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("error of another kind: %v", err)
		}
		if err != nil || skipped > 0 {
			return
		}
		// What decodes must come back the same, byte for byte but for padding,
		// whose content is ignored: so the form of every message is unique.
		again := []byte{msg[0]}
		padded := false
		for _, fr := range frames {
			again = AppendFrame(again, fr)
			p, ok := fr.(*Ping)
			padded = padded || ok && p.Padding > 0
		}
		if !padded && string(again) != string(msg) {
			t.Fatalf("decoded and encoded again:\n was %x\n now %x", msg, again)
		}
	})
}

func BenchmarkFeedbackEncode(b *testing.B) {
	fb, buf := alternating(400), make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = AppendFeedback(buf[:0], fb, 1200)
	}
}

func BenchmarkFeedbackDecode(b *testing.B) {
	msg, _ := AppendFeedback([]byte{0}, alternating(400), 1200)
	var d Decoder
	b.ReportAllocs()
	for b.Loop() {
		for d.Reset(msg); d.Next(); {
		}
	}
}
