package wire

import "encoding/binary"

// DatagramKind is what a datagram is, as far as anyone can tell without keys.
type DatagramKind uint8

// The kinds of datagram.
// ExpressSize is the length of the longest data message, bytes, that is not
// kept in order: an inner packet of 128, as an IPv6 acknowledgement with three
// SACK blocks (100), a connection request, a ping, a DNS query or a keystroke.
const ExpressSize = 160

const (
	// Other is nothing of ours or WireGuard's: wrong first bytes or a size
	// that its kind cannot have.
	Other DatagramKind = iota
	// WGHandshake is a WireGuard initiation, response or cookie of the exact
	// size: 148, 92 or 64 bytes.
	WGHandshake
	// WGData is a WireGuard data message of at least 32 bytes.
	WGData
	// SessionControl is of type TypeSession, between borrower and server.
	SessionControl
	// LeaseControl is of type TypeLease, between borrower and relayd.
	LeaseControl
)

func (k DatagramKind) String() string {
	switch k {
	case WGHandshake:
		return "WireGuard handshake"
	case WGData:
		return "WireGuard data"
	case SessionControl:
		return "session control"
	case LeaseControl:
		return "lease control"
	}
	return "other"
}

// The first byte of WireGuard's messages and of ours.
const (
	TypeWGInitiation = 1
	TypeWGResponse   = 2
	TypeWGCookie     = 3
	TypeWGData       = 4
	TypeSession      = 0xB0
	TypeLease        = 0xB1
)

// MessageKind is the second byte of a control datagram.
type MessageKind uint8

// The kinds of control datagram.
const (
	Initiation  MessageKind = 1
	Response    MessageKind = 2
	CookieReply MessageKind = 3
	Sealed      MessageKind = 4
)

func (k MessageKind) String() string {
	switch k {
	case Initiation:
		return "initiation"
	case Response:
		return "response"
	case CookieReply:
		return "cookie reply"
	case Sealed:
		return "sealed message"
	}
	return "unknown kind"
}

// Sizes of whole datagrams, bytes.
const (
	WGInitiationSize = 148
	WGResponseSize   = 92
	WGCookieSize     = 64
	MinWGDataSize    = 32 // header 16, tag 16: a keepalive

	// MinInitiationSize and MinResponseSize are those with an empty payload.
	MinInitiationSize = 148
	MinResponseSize   = 96
	CookieReplySize   = 64
	// SealedHeaderSize is what precedes a sealed message's ciphertext,
	// SealedOverhead all that sealing adds to a plaintext.
	SealedHeaderSize = 16
	SealedOverhead   = SealedHeaderSize + 16
)

// Kind tells what pkt is, by its first four bytes and its size.
func Kind(pkt []byte) DatagramKind {
	if len(pkt) < 4 || pkt[2] != 0 || pkt[3] != 0 {
		return Other
	}
	switch pkt[0] {
	case TypeWGData:
		if pkt[1] == 0 && len(pkt) >= MinWGDataSize {
			return WGData
		}
	case TypeWGInitiation:
		if pkt[1] == 0 && len(pkt) == WGInitiationSize {
			return WGHandshake
		}
	case TypeWGResponse:
		if pkt[1] == 0 && len(pkt) == WGResponseSize {
			return WGHandshake
		}
	case TypeWGCookie:
		if pkt[1] == 0 && len(pkt) == WGCookieSize {
			return WGHandshake
		}
	case TypeSession:
		if ControlKind(pkt) != 0 {
			return SessionControl
		}
	case TypeLease:
		if ControlKind(pkt) != 0 {
			return LeaseControl
		}
	}
	return Other
}

// ControlKind is the kind of a control datagram of either type, or 0 if pkt is
// none or has a size that its kind cannot have.
func ControlKind(pkt []byte) MessageKind {
	if len(pkt) < 4 || pkt[0] != TypeSession && pkt[0] != TypeLease || pkt[2] != 0 || pkt[3] != 0 {
		return 0
	}
	kind := MessageKind(pkt[1])
	var ok bool
	switch kind {
	case Initiation:
		ok = len(pkt) >= MinInitiationSize
	case Response:
		ok = len(pkt) >= MinResponseSize
	case CookieReply:
		ok = len(pkt) == CookieReplySize
	case Sealed:
		ok = len(pkt) > SealedOverhead // the plaintext has at least its path
	}
	if !ok {
		return 0
	}
	return kind
}

// DataHeader reads a WireGuard data message: the receiver index of its key pair
// and its counter, which rises by one per message of a key pair. ok is false
// if pkt is no data message.
func DataHeader(pkt []byte) (index uint32, counter uint64, ok bool) {
	if len(pkt) < MinWGDataSize || binary.LittleEndian.Uint32(pkt) != TypeWGData {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint32(pkt[4:]), binary.LittleEndian.Uint64(pkt[8:]), true
}

// ReceiverIndex reads the receiver index of a control datagram: the index that
// its receiver chose in the handshake. ok is false for an initiation, which has
// none, and for anything else that is no control datagram.
func ReceiverIndex(pkt []byte) (index uint32, ok bool) {
	switch ControlKind(pkt) {
	case Response:
		return binary.LittleEndian.Uint32(pkt[8:]), true
	case CookieReply, Sealed:
		return binary.LittleEndian.Uint32(pkt[4:]), true
	}
	return 0, false
}
