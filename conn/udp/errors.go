package udp

import (
	"errors"
	"net/netip"
	"slices"
)

// ErrFamily is the error of writing from an IPv4 socket to an IPv6 address or
// the reverse.
var ErrFamily = errors.New("the socket is of the other IP family; open one for each")

var errNoDestination = errors.New("no address or port 0; a destination needs both")

// Error is what ReadBatch and WriteBatch return: what was done, with whom,
// and the system's reason.
type Error struct {
	Op   string         // "send" or "receive"
	Peer netip.AddrPort // of a send
	From netip.Addr     // the local address that was asked for, if any
	Err  error          // usually a syscall.Errno
}

// Error says it in words.
func (e *Error) Error() string {
	text := "udp: " + e.Op
	if e.Peer.IsValid() {
		text += " to " + e.Peer.String()
	}
	if e.From.IsValid() {
		text += " from " + e.From.String()
	}
	return text + ": " + e.Err.Error()
}

// Unwrap gives the system's reason.
func (e *Error) Unwrap() error { return e.Err }

// Gone reports whether err says that the device, address or route that a
// socket sends by is not there (any more): the path is down until a link or
// address event says otherwise.
func Gone(err error) bool { return isAny(err, goneErrors) }

// TooLong reports whether err says that a datagram is longer than the device
// carries whole. A shorter one may pass.
func TooLong(err error) bool { return isAny(err, tooLongErrors) }

// Transient reports whether err will pass by itself: a full device queue, no
// memory, or an ICMP error that an earlier datagram had brought upon us. What
// was not sent counts as lost; there is nothing to repair.
func Transient(err error) bool { return isAny(err, noBufferErrors) || isAny(err, refusedErrors) }

// denied reports whether a firewall or a prohibiting route refused.
func denied(err error) bool { return isAny(err, deniedErrors) }

func isAny(err error, of []error) bool {
	return err != nil && slices.ContainsFunc(of, func(e error) bool { return errors.Is(err, e) })
}
