package udp

import "sync/atomic"

// Stats counts what a socket did since it was opened.
type Stats struct {
	Received       uint64 // datagrams handed to the caller
	ReceiveCalls   uint64 // system calls that brought any
	ReceivedTrains uint64 // trains among them, of two or more segments

	// Datagrams lost on receipt, by reason.
	Truncated      uint64 // longer than the caller's buffer
	BadControl     uint64 // came with control data that cannot be read
	BufferOverflow uint64 // found the socket's receive buffer full (Linux)

	ReceiveErrors uint64 // errors met in reading (ICMP's, most likely) and passed over

	Sent       uint64 // datagrams the kernel took
	SendCalls  uint64 // system calls that sent any
	SentTrains uint64 // trains among them, of two or more segments
	SendWaits  uint64 // times that the send buffer was full and WriteBatch waited

	// Datagrams not sent, by reason. A WriteBatch call that fails counts one:
	// the datagram that it stopped at.
	TooLong  uint64 // see the function TooLong
	Gone     uint64 // see the function Gone
	NoBuffer uint64 // the device's queue or memory is full
	Refused  uint64 // an ICMP error, twice in a row
	Denied   uint64 // a firewall or a prohibiting route
	Failed   uint64 // anything else, as a closed socket or a wrong address

	GSOFallbacks uint64 // trains that the kernel refused, sent as single datagrams instead
	GSO          bool   // whether trains are being sent
}

// counters are Stats being made. Every field is written by ReadBatch or
// WriteBatch and read by Stats.
type counters struct {
	received, receiveCalls, receivedTrains              atomic.Uint64
	truncated, badControl, receiveErrors                atomic.Uint64
	sent, sendCalls, sentTrains, sendWaits              atomic.Uint64
	tooLong, gone, noBuffer, refused, denied, otherwise atomic.Uint64
	gsoFallbacks                                        atomic.Uint64
}

// sendFailed counts one datagram that was not sent.
func (c *counters) sendFailed(err error) {
	switch {
	case TooLong(err):
		c.tooLong.Add(1)
	case Gone(err):
		c.gone.Add(1)
	case isAny(err, noBufferErrors):
		c.noBuffer.Add(1)
	case isAny(err, refusedErrors):
		c.refused.Add(1)
	case denied(err):
		c.denied.Add(1)
	default:
		c.otherwise.Add(1)
	}
}

func (c *counters) snapshot() Stats {
	return Stats{
		Received:       c.received.Load(),
		ReceiveCalls:   c.receiveCalls.Load(),
		ReceivedTrains: c.receivedTrains.Load(),
		Truncated:      c.truncated.Load(),
		BadControl:     c.badControl.Load(),
		ReceiveErrors:  c.receiveErrors.Load(),
		Sent:           c.sent.Load(),
		SendCalls:      c.sendCalls.Load(),
		SentTrains:     c.sentTrains.Load(),
		SendWaits:      c.sendWaits.Load(),
		TooLong:        c.tooLong.Load(),
		Gone:           c.gone.Load(),
		NoBuffer:       c.noBuffer.Load(),
		Refused:        c.refused.Load(),
		Denied:         c.denied.Load(),
		Failed:         c.otherwise.Load(),
		GSOFallbacks:   c.gsoFallbacks.Load(),
	}
}
