package tcp

import (
	"fmt"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim"
)

// Unlimited, as Config.Send, is a sender that never ends.
const Unlimited = -1

// Config describes one end of a connection. Sizes are bytes.
type Config struct {
	// Flow must be the same at both ends.
	Flow uint16
	// Active opens the connection, at Start; the other end waits.
	Active bool
	Start  time.Duration

	// Send is how much to send, or Unlimited, once After bytes have come.
	Send, After int64

	MSS           int // 1368 if 0: what WireGuard's 1420 leaves beside IPv4, TCP and timestamps
	InitialWindow int // segments; 10 if 0 (RFC 6928)
	MaxWindow     int // the peer's receive window; 6 MB if 0 (Linux's tcp_rmem)
	// Control makes the congestion control; NewCubic if nil.
	Control func(initialWindow int) Control
	// Trains: a paced sender sends what a millisecond has room for, at least two
	// segments, at once, as Linux does (tcp_tso_autosize); else one by one.
	Trains bool

	// OnDeliver is told of bytes that became deliverable in order; OnRTT of
	// the sender's RTT samples. Both may be nil.
	OnDeliver func(now time.Duration, bytes int64)
	OnRTT     func(rtt time.Duration)
}

// Stats counts what one end saw. Times are sim.Never until they come.
type Stats struct {
	// As a receiver: segments with data.
	Received    int64 // bytes in order
	Segments    uint64
	OutOfOrder  uint64 // came after a later one
	Duplicates  uint64 // had come before: the peer's spurious retransmissions
	FirstByteAt time.Duration
	LastByteAt  time.Duration
	MaxGap      time.Duration // longest time between two deliveries in order

	// As a sender: segments with data.
	Sent, Retransmits uint64
	Recoveries        uint64 // fast recoveries
	Timeouts, Probes  uint64 // RTOs; tail loss probes
	Undone            uint64 // recoveries found spurious
	DSACKs            uint64 // retransmissions reported duplicate
	OpenedAt          time.Duration
	AckedAt           time.Duration // all of Send acknowledged
}

// Conn is one end of a connection.
type Conn struct {
	cfg      Config
	sender   sender
	receiver receiver
	stats    Stats

	opened   bool
	synSent  time.Duration // when the last SYN or SYN|ACK was sent
	synDue   time.Duration // when to send it (again)
	synTimes uint
}

// New makes one end of a connection.
func New(cfg Config) (*Conn, error) {
	if cfg.MSS == 0 {
		cfg.MSS = 1368
	}
	if cfg.InitialWindow == 0 {
		cfg.InitialWindow = 10
	}
	if cfg.MaxWindow == 0 {
		cfg.MaxWindow = 6 << 20
	}
	if cfg.Control == nil {
		cfg.Control = NewCubic
	}
	if cfg.MSS < 100 || cfg.MSS > 65000 {
		return nil, fmt.Errorf("tcp: MSS %d bytes: want 100 to 65000", cfg.MSS)
	}
	if cfg.Send < Unlimited || cfg.After < 0 {
		return nil, fmt.Errorf("tcp: Send %d after %d bytes: want 0 or more, or Unlimited", cfg.Send, cfg.After)
	}
	c := &Conn{cfg: cfg, synDue: sim.Never}
	c.stats = Stats{FirstByteAt: sim.Never, LastByteAt: sim.Never, OpenedAt: sim.Never, AckedAt: sim.Never}
	c.sender = newSender(&c.cfg, &c.stats)
	c.receiver.due = sim.Never
	if cfg.Active {
		c.synDue = cfg.Start
	}
	return c, nil
}

// Stats tells what this end saw so far.
func (c *Conn) Stats() Stats { return c.stats }

// SRTT is the sender's smoothed round-trip time; 0 before the first sample.
func (c *Conn) SRTT() time.Duration { return c.sender.srtt }

// InFlight is the number of segments the sender believes to be in flight;
// Window how many may be.
func (c *Conn) InFlight() int { return c.sender.inFlight() }

// Window is the congestion window, segments.
func (c *Conn) Window() int { return c.sender.control.Window() }

// Handle takes a segment from the peer. Output may then have some to send.
func (c *Conn) Handle(now time.Duration, s *Segment) {
	if s.Flags&SYN != 0 {
		c.receiver.echo = max(c.receiver.echo, s.TSVal)
		switch {
		case !c.cfg.Active:
			if !c.opened {
				c.synDue = now // answer, or answer again
			}
		case !c.opened:
			c.open(now)
			c.receiver.due = now
		default:
			c.receiver.due = now // our ACK was lost
		}
		return
	}
	if !c.opened {
		if c.cfg.Active || c.synTimes == 0 {
			return // data before the SYN: a real stack would reset
		}
		c.open(now)
	}
	if n := c.receiver.segment(now, s, &c.stats); n > 0 {
		c.deliver(now, n)
	}
	if s.Flags&ACK != 0 {
		c.sender.ack(now, s)
		if c.cfg.Send > 0 && c.stats.AckedAt == sim.Never && s.Ack >= uint64(c.cfg.Send) {
			c.stats.AckedAt = now
		}
	}
}

func (c *Conn) open(now time.Duration) {
	c.opened, c.synDue = true, sim.Never
	c.stats.OpenedAt = now
	if c.synTimes == 1 {
		c.sender.sampleRTT(now-c.synSent, now-c.synSent)
	}
	c.sender.open = c.stats.Received >= c.cfg.After
}

func (c *Conn) deliver(now time.Duration, n int64) {
	if c.stats.Received == 0 {
		c.stats.FirstByteAt = now
	} else {
		c.stats.MaxGap = max(c.stats.MaxGap, now-c.stats.LastByteAt)
	}
	c.stats.LastByteAt = now
	c.stats.Received += n
	c.sender.open = c.stats.Received >= c.cfg.After
	if c.cfg.OnDeliver != nil {
		c.cfg.OnDeliver(now, n)
	}
}

// Output appends the segments to send now, after acting on due timers.
func (c *Conn) Output(now time.Duration, out []Segment) []Segment {
	if c.synDue <= now {
		s := Segment{Flow: c.cfg.Flow, Flags: SYN, TSVal: now}
		if !c.cfg.Active {
			s.Flags |= ACK
			s.TSEcr = c.receiver.echo
		}
		c.synSent, c.synDue = now, now+initialRTO<<min(c.synTimes, 6)
		c.synTimes++
		return append(out, s)
	}
	if !c.opened {
		return out
	}
	c.sender.output(now, func(n uint64) {
		s := Segment{
			Flow: c.cfg.Flow, TSVal: now,
			Seq: n * uint64(c.cfg.MSS), Len: uint16(c.sender.size(n)),
		}
		c.receiver.acknowledge(&s, false)
		out = append(out, s)
	})
	if c.receiver.due <= now {
		s := Segment{Flow: c.cfg.Flow, TSVal: now, Seq: c.sender.nxt * uint64(c.cfg.MSS)}
		c.receiver.acknowledge(&s, true)
		out = append(out, s)
	}
	return out
}

// Next is when Output must be called, or sim.Never.
func (c *Conn) Next() time.Duration {
	if !c.opened {
		return c.synDue
	}
	return min(c.synDue, c.receiver.due, c.sender.next())
}
