package judge

import (
	"encoding/binary"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim"
	"github.com/wg-bond/wg-bond/wgbond/sim/tcp"
)

// stream is one end of a TCP connection over the tunnel.
type stream struct {
	flow    uint16
	conn    *tcp.Conn
	out     []tcp.Segment
	scratch []byte
}

func newStream(cfg tcp.Config) (*stream, error) {
	c, err := tcp.New(cfg)
	if err != nil {
		return nil, err
	}
	return &stream{flow: cfg.Flow, conn: c}, nil
}

func (s *stream) receive(now time.Duration, inner []byte) bool {
	var seg tcp.Segment
	if err := seg.Unmarshal(inner); err != nil || seg.Flow != s.flow {
		return false
	}
	s.conn.Handle(now, &seg)
	return true
}

func (s *stream) output(now time.Duration, send func([]byte)) {
	s.out = s.conn.Output(now, s.out[:0])
	for i := range s.out {
		s.scratch = s.out[i].Marshal(s.scratch[:0])
		send(s.scratch)
	}
}

func (s *stream) next() time.Duration { return s.conn.Next() }

// pinger sends echo requests of ping's default size at an interval, and
// measures the round trips.
//
//	'P' or 'p' (answer) | 0… | number u32 | sent i64 | 0…
type pinger struct {
	interval, until time.Duration
	at              time.Duration
	from            time.Duration // those sent before do not count
	sent            uint32
	counted         int
	rtts            []time.Duration
	answered        []bool                              // by number
	onRTT           func(number int, rtt time.Duration) // may be nil
	last, gap       time.Duration                       // the newest answer; the longest time between two
}

const (
	pingSize = 84 // an IPv4 ICMP echo with 56 bytes
	pingAsk  = 'P'
	pingBack = 'p'
)

func (p *pinger) receive(now time.Duration, inner []byte) bool {
	if len(inner) < pingSize || inner[0] != pingBack {
		return false
	}
	if n := int(binary.LittleEndian.Uint32(inner[4:])); n < len(p.answered) {
		p.answered[n] = true
	}
	if sent := time.Duration(binary.LittleEndian.Uint64(inner[8:])); sent >= p.from {
		p.rtts = append(p.rtts, now-sent)
		if p.onRTT != nil {
			p.onRTT(int(binary.LittleEndian.Uint32(inner[4:])), now-sent)
		}
		if p.last > 0 {
			p.gap = max(p.gap, now-p.last)
		}
		p.last = now
	}
	return true
}

func (p *pinger) output(now time.Duration, send func([]byte)) {
	var b [pingSize]byte
	b[0] = pingAsk
	binary.LittleEndian.PutUint32(b[4:], p.sent)
	binary.LittleEndian.PutUint64(b[8:], uint64(now))
	p.sent++
	p.answered = append(p.answered, false)
	if now >= p.from {
		p.counted++
	}
	p.at += p.interval
	send(b[:])
}

// underway is how many of the pings of the last second have no answer yet.
func (p *pinger) underway() (n int) {
	last := min(int(time.Second/p.interval), len(p.answered))
	for _, answered := range p.answered[len(p.answered)-last:] {
		if !answered {
			n++
		}
	}
	return n
}

func (p *pinger) next() time.Duration {
	if p.at > p.until {
		return sim.Never
	}
	return p.at
}

// ponger answers pings.
type ponger struct{ due [][pingSize]byte }

func (p *ponger) receive(_ time.Duration, inner []byte) bool {
	if len(inner) < pingSize || inner[0] != pingAsk {
		return false
	}
	b := [pingSize]byte(inner)
	b[0] = pingBack
	p.due = append(p.due, b)
	return true
}

func (p *ponger) output(_ time.Duration, send func([]byte)) {
	for i := range p.due {
		send(p.due[i][:])
	}
	p.due = p.due[:0]
}

func (p *ponger) next() time.Duration {
	if len(p.due) > 0 {
		return 0
	}
	return sim.Never
}
