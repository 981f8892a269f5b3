package lease

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// A Frame is one message of the protocol: a pointer to Request, Prove, Grant,
// Refuse, Release, Redeem or Hint.
type Frame interface{ frame() }

// Token proves that who sends it receives at its address.
type Token [16]byte

// Request asks for a lease, or renews it.
type Request struct {
	ID       uint32        // of the caller's choice, not 0; the answer repeats it
	Lifetime time.Duration // wanted; whole seconds on the wire
	Token    Token         // of the latest Prove; zero if there was none
	Target   netip.AddrPort
}

// Prove asks to repeat the Request with Token.
type Prove struct {
	ID    uint32
	Token Token
}

// Grant says that the lease is in force.
type Grant struct {
	ID       uint32
	Lifetime time.Duration // from now; whole seconds on the wire
	Terms    Terms
}

// Terms are what a lender lends.
type Terms struct {
	Rate uint64 // bytes per second of whole IP packets; 0: no limit
	Left uint64 // bytes of whole IP packets; Unlimited: no limit
}

// Unlimited as Terms.Left, or in a Hint, stands for no limit.
const Unlimited = math.MaxUint64

// Refuse says that there is no lease, or, with ID 0, that there is none any
// more.
type Refuse struct {
	ID     uint32
	Reason Reason
	Text   string // for people, at most MaxText bytes
}

// MaxText is the most that Refuse says, bytes.
const MaxText = 200

// Release gives a lease back.
type Release struct{}

// Redeem presents an invitation. It stands before the Request that it is for.
type Redeem struct {
	ID    InvitationID
	Proof Token // Code.Proof
}

// Hint says how much of its link the lender has to spare now: the most that the
// borrower may send, and be sent. A borrower passes the latter on to the server.
// Unlimited says more than no Hint: the lender sees that it uses nothing itself.
// It stands until the next; one that comes without a lease is an invitation to
// ask again at once.
type Hint struct {
	Up, Down uint64 // bytes per second of whole IP packets; Unlimited: as much as goes
}

// Reason says why a lease was refused or ended.
type Reason uint8

// The reasons. One that is not known here is as good as Policy.
const (
	Policy      Reason = iota // the lender does not want to
	Busy                      // no room for one more lease
	BadTarget                 // the lender does not forward to that address
	Unreachable               // the lender's own link is down
	Ended                     // the lender stops lending
	Paused                    // the lender lends nothing at the moment: by its hours, its battery, its word
)

func (r Reason) String() string {
	switch r {
	case Busy:
		return "busy"
	case BadTarget:
		return "bad target"
	case Unreachable:
		return "link down"
	case Ended:
		return "ended"
	case Paused:
		return "paused"
	}
	return "policy"
}

func (*Request) frame() {}
func (*Prove) frame()   {}
func (*Grant) frame()   {}
func (*Refuse) frame()  {}
func (*Release) frame() {}
func (*Redeem) frame()  {}
func (*Hint) frame()    {}

// The frames' types on the wire.
const (
	typeRequest = 32 + iota
	typeProve
	typeGrant
	typeRefuse
	typeRelease
	typeRedeem
	typeHint
)

var le = binary.LittleEndian

// maxFrames bounds the frames taken from one message; one is usual.
const maxFrames = 16

// Append appends f to a message; an empty message is begun. Lifetimes are
// rounded down to seconds, Text is cut at MaxText.
func Append(msg []byte, f Frame) []byte {
	if len(msg) == 0 {
		msg = append(msg, wire.NoPath)
	}
	start := len(msg)
	msg = append(msg, 0, 0, 0)
	switch f := f.(type) {
	case *Request:
		msg[start] = typeRequest
		msg = le.AppendUint32(msg, f.ID)
		msg = le.AppendUint32(msg, seconds(f.Lifetime))
		msg = append(msg, f.Token[:]...)
		msg = le.AppendUint16(msg, f.Target.Port())
		msg = append(msg, f.Target.Addr().Unmap().AsSlice()...)
	case *Prove:
		msg[start] = typeProve
		msg = le.AppendUint32(msg, f.ID)
		msg = append(msg, f.Token[:]...)
	case *Grant:
		msg[start] = typeGrant
		msg = le.AppendUint32(msg, f.ID)
		msg = le.AppendUint32(msg, seconds(f.Lifetime))
		msg = le.AppendUint64(msg, f.Terms.Rate)
		msg = le.AppendUint64(msg, f.Terms.Left)
	case *Refuse:
		msg[start] = typeRefuse
		msg = le.AppendUint32(msg, f.ID)
		msg = append(msg, byte(f.Reason))
		msg = append(msg, cut(f.Text)...)
	case *Release:
		msg[start] = typeRelease
	case *Redeem:
		msg[start] = typeRedeem
		msg = append(msg, f.ID[:]...)
		msg = append(msg, f.Proof[:]...)
	case *Hint:
		msg[start] = typeHint
		msg = le.AppendUint64(msg, f.Up)
		msg = le.AppendUint64(msg, f.Down)
	}
	le.PutUint16(msg[start+1:], uint16(len(msg)-start-wire.FrameHeaderSize))
	return msg
}

func seconds(d time.Duration) uint32 {
	return uint32(max(0, min(d/time.Second, math.MaxUint32)))
}

// cut shortens text to MaxText bytes, between two characters.
func cut(text string) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= MaxText {
		return text
	}
	n := MaxText
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// Decode reads a message: its frames of known types. Errors are of package
// wire.
func Decode(msg []byte) ([]Frame, error) {
	if len(msg) == 0 || msg[0] != wire.NoPath {
		return nil, &wire.FormatError{Detail: fmt.Sprintf("a lease message begins with %d", wire.NoPath)}
	}
	var frames []Frame
	for rest := msg[1:]; len(rest) > 0; {
		offset := len(msg) - len(rest)
		var typ uint8
		var body []byte
		var err error
		if typ, body, rest, err = wire.NextFrame(rest, offset); err != nil {
			return nil, err
		}
		f, problem := decode(typ, body)
		if problem != "" {
			return nil, &wire.FormatError{Frame: names[typ], Offset: offset + wire.FrameHeaderSize, Detail: problem}
		}
		if f == nil {
			continue
		}
		if len(frames) == maxFrames {
			return nil, &wire.FormatError{Frame: names[typ], Offset: offset,
				Detail: fmt.Sprintf("more than %d frames in one message", maxFrames)}
		}
		frames = append(frames, f)
	}
	return frames, nil
}

var names = map[uint8]string{
	typeRequest: "Request", typeProve: "Prove", typeGrant: "Grant",
	typeRefuse: "Refuse", typeRelease: "Release", typeRedeem: "Redeem", typeHint: "Hint",
}

// decode reads one body; problem says what is wrong with it. f is nil for an
// unknown type.
func decode(typ uint8, b []byte) (f Frame, problem string) {
	short := func(sizes string) (Frame, string) {
		return nil, fmt.Sprintf("a body of %d bytes, it has %s", len(b), sizes)
	}
	switch typ {
	case typeRequest:
		if len(b) != 26+4 && len(b) != 26+16 {
			return short("30 or 42")
		}
		addr, _ := netip.AddrFromSlice(b[26:])
		if addr.Is4In6() {
			return nil, "an IPv4 address goes as 4 bytes, not mapped to IPv6"
		}
		r := &Request{ID: le.Uint32(b), Lifetime: time.Duration(le.Uint32(b[4:])) * time.Second,
			Token: Token(b[8:24]), Target: netip.AddrPortFrom(addr, le.Uint16(b[24:]))}
		if r.ID == 0 {
			return nil, "a request's ID is not 0"
		}
		return r, ""
	case typeProve:
		if len(b) != 20 {
			return short("20")
		}
		return &Prove{ID: le.Uint32(b), Token: Token(b[4:])}, ""
	case typeGrant:
		if len(b) != 24 {
			return short("24")
		}
		return &Grant{ID: le.Uint32(b), Lifetime: time.Duration(le.Uint32(b[4:])) * time.Second,
			Terms: Terms{Rate: le.Uint64(b[8:]), Left: le.Uint64(b[16:])}}, ""
	case typeRefuse:
		if len(b) < 5 || len(b) > 5+MaxText {
			return short(fmt.Sprintf("5 to %d", 5+MaxText))
		}
		if !utf8.Valid(b[5:]) {
			return nil, "the text is not UTF-8"
		}
		return &Refuse{ID: le.Uint32(b), Reason: Reason(b[4]), Text: string(b[5:])}, ""
	case typeRelease:
		if len(b) != 0 {
			return short("0")
		}
		return &Release{}, ""
	case typeRedeem:
		if len(b) != 24 {
			return short("24")
		}
		return &Redeem{ID: InvitationID(b), Proof: Token(b[8:])}, ""
	case typeHint:
		if len(b) != 16 {
			return short("16")
		}
		return &Hint{Up: le.Uint64(b), Down: le.Uint64(b[8:])}, ""
	}
	return nil, ""
}
