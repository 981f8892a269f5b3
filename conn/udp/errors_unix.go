//go:build !windows

package udp

import "syscall"

var (
	goneErrors     = []error{syscall.ENODEV, syscall.ENXIO, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EADDRNOTAVAIL, syscall.ENETDOWN}
	tooLongErrors  = []error{syscall.EMSGSIZE}
	noBufferErrors = []error{syscall.ENOBUFS, syscall.ENOMEM, syscall.EAGAIN}
	refusedErrors  = []error{syscall.ECONNREFUSED, syscall.ECONNRESET}
	deniedErrors   = []error{syscall.EPERM, syscall.EACCES}
)

// msgTrunc is the flag of a received datagram that was longer than its buffer.
const msgTrunc = syscall.MSG_TRUNC
