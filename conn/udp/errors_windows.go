package udp

import "golang.org/x/sys/windows"

var (
	goneErrors     = []error{windows.WSAENETUNREACH, windows.WSAEHOSTUNREACH, windows.WSAEADDRNOTAVAIL, windows.WSAENETDOWN}
	tooLongErrors  = []error{windows.WSAEMSGSIZE}
	noBufferErrors = []error{windows.WSAENOBUFS, windows.WSAEWOULDBLOCK}
	refusedErrors  = []error{windows.WSAECONNRESET, windows.WSAECONNREFUSED, windows.WSAENETRESET}
	deniedErrors   = []error{windows.WSAEACCES}
)

// msgTrunc is the flag of a received datagram that was longer than its buffer.
const msgTrunc = windows.MSG_TRUNC
