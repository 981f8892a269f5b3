package tcp

import (
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim"
)

const ms = time.Millisecond

// overhead is what WireGuard over IPv4 and UDP adds to a segment: a 1368-byte
// MSS makes packets of 1480 bytes.
const overhead = 60

// endpoint is a Conn whose segments go into a link.
type endpoint struct {
	*Conn
	out *sim.Link[Segment]
	buf []Segment
}

func (e *endpoint) Step(now time.Duration) {
	e.buf = e.Output(now, e.buf[:0])
	for i := range e.buf {
		e.out.Push(now, e.buf[i].Size()+overhead, e.buf[i])
	}
}

// rig is a client and a server with a link each way.
type rig struct {
	sim.Loop
	client, server *endpoint
	down, up       *sim.Link[Segment]
}

func newRig(t testing.TB, client, server Config, down, up sim.LinkConfig) *rig {
	t.Helper()
	link := func(cfg sim.LinkConfig) *sim.Link[Segment] {
		l, err := sim.NewLink[Segment](cfg)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	conn := func(cfg Config) *Conn {
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	r := &rig{down: link(down), up: link(up)}
	r.client = &endpoint{Conn: conn(client), out: r.up}
	r.server = &endpoint{Conn: conn(server), out: r.down}
	to := func(e *endpoint) func(time.Duration, int, Segment) {
		return func(now time.Duration, _ int, s Segment) {
			e.Handle(now, &s)
			e.Step(now)
		}
	}
	r.Add(sim.Hop[Segment]{Link: r.down, To: to(r.client)}, sim.Hop[Segment]{Link: r.up, To: to(r.server)}, r.client, r.server)
	return r
}

// download is a client that asks with 100 bytes and a server that answers
// with n.
func download(t testing.TB, n int64, control func(int) Control, down, up sim.LinkConfig) *rig {
	return newRig(t, Config{Active: true, Send: 100}, Config{Send: n, After: 100, Control: control}, down, up)
}
