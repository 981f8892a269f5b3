package wgbond

import (
	"encoding/binary"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// traffic drives the server's sending half and the client's receiving half as
// a shell would, without an allocation of its own: the server has data for the
// client at nine tenths of what all paths can carry.
//
//	Send ─▶ Transmit ─▶ sim.Link ─▶ Receive ─▶ Deliver
//	  ▲                                │
//	  └──────────── feedback ◀─────────┘
type traffic struct {
	*world
	pkts     [][]byte
	credit   float64 // packets that the source may send
	perStep  float64
	counter  uint64
	out      [][]byte
	arriving []arriving

	delivered, disorder uint64
	last                uint64
	// Time spent in the calls of either session, if timed, by processor if not nil.
	timed                 bool
	processor             func() time.Duration
	sendTime, receiveTime time.Duration
}

type arriving struct {
	path *simPath
	pkt  []byte
}

const trafficStep = 500 * time.Microsecond

// newTraffic bonds n paths of 100 Mbit/s and brings them to their full rate.
func newTraffic(t testing.TB, n int) *traffic {
	t.Helper()
	const size = 1452
	specs := make([]pathSpec, n)
	for i := range specs {
		specs[i] = pathSpec{down: 100 * mbit, up: 100 * mbit, delay: time.Duration(5+i) * ms}
	}
	w := newWorld(t, 1, specs...)
	w.bond()
	x := &traffic{world: w, out: make([][]byte, 0, 256),
		perStep: 0.9 * float64(n) * 100 * mbit / 8 / (size + 28) * trafficStep.Seconds()}
	for range int(x.perStep) + 1 {
		x.pkts = append(x.pkts, dataMessage(7, 0, size))
	}
	settle := func(packets uint64) {
		limit := x.now + time.Minute
		for to := x.delivered + packets; x.delivered < to; x.step() {
			if x.now > limit {
				t.Fatalf("%d packets do not arrive within a minute", packets)
			}
		}
	}
	settle(uint64(20_000 * n)) // Startup may fill the links' queues
	before := w.server.Status(x.serverNow())
	settle(uint64(5_000 * n))
	after := w.server.Status(x.serverNow())
	if !maps.Equal(before.Drops, after.Drops) || before.Suspects != after.Suspects || before.RepairsSent != after.RepairsSent {
		t.Fatalf("traffic is not steady: drops %v, then %v; suspects %d, %d; repairs %d, %d", before.Drops, after.Drops,
			before.Suspects, after.Suspects, before.RepairsSent, after.RepairsSent)
	}
	x.disorder = 0
	return x
}

func (x *traffic) serverNow() time.Duration { return x.now + x.serverClock }

// step advances by trafficStep.
func (x *traffic) step() {
	x.now += trafficStep

	x.credit += x.perStep
	batch := x.pkts[:int(x.credit)]
	x.credit -= float64(len(batch))
	for _, b := range batch {
		binary.LittleEndian.PutUint64(b[8:], x.counter)
		x.counter++
	}
	start := x.clock()
	x.server.Send(x.serverNow(), batch)
	x.server.Advance(x.serverNow())
	x.sendTime += x.clock() - start
	x.sendTime += x.transmit(x.server, x.serverNow(), false)

	x.arriving = x.arriving[:0]
	for _, p := range x.paths {
		for pkt, _, ok := p.down.Pop(x.now); ok; pkt, _, ok = p.down.Pop(x.now) {
			x.arriving = append(x.arriving, arriving{p, pkt})
		}
	}
	start = x.clock()
	for _, a := range x.arriving {
		x.client.Take(x.now, a.path.id, a.pkt)
	}
	x.client.Advance(x.now)
	x.out = x.client.Deliver(x.out[:0])
	x.receiveTime += x.clock() - start
	for _, b := range x.out {
		_, c, _ := wire.DataHeader(b)
		if c < x.last {
			x.disorder++
		}
		x.last = c
		x.delivered++
		x.pool.Put(b)
	}
	x.receiveTime += x.transmit(x.client, x.now, true)

	x.arriving = x.arriving[:0]
	for _, p := range x.paths {
		for pkt, _, ok := p.up.Pop(x.now); ok; pkt, _, ok = p.up.Pop(x.now) {
			x.arriving = append(x.arriving, arriving{p, pkt})
		}
	}
	start = x.clock()
	for _, a := range x.arriving {
		x.atServerDoor(a.path, a.pkt)
	}
	x.sendTime += x.clock() - start
}

// atServerDoor passes on what is the session's; new handshakes take the way
// through the shell.
func (x *traffic) atServerDoor(p *simPath, pkt []byte) {
	if index, ok := wire.ReceiverIndex(pkt); ok && wire.ControlKind(pkt) == wire.Sealed && x.server.OwnsReceiver(index) {
		x.server.Receive(x.serverNow(), p.id, pkt)
		return
	}
	x.arriveAtServer(p, pkt)
	x.pool.Put(pkt)
}

// transmit puts on the links what a session has ready, and returns the time
// that the session took.
func (x *traffic) transmit(s *Session, now time.Duration, fromClient bool) (spent time.Duration) {
	for ready := s.Ready(); ready != 0; ready = s.Ready() {
		for _, p := range x.paths {
			if ready>>p.id&1 == 0 {
				continue
			}
			start := x.clock()
			x.out = s.Transmit(now, schedulers.PathID(p.id), x.out[:0])
			spent += x.clock() - start
			l := p.down
			if fromClient {
				l = p.up
			}
			for _, b := range x.out {
				c := x.copy(b)
				if !l.Push(x.now, len(b)+28, c) {
					x.pool.Put(c)
				}
			}
			start = x.clock()
			s.Transmitted(now, p.id)
			spent += x.clock() - start
		}
	}
	return spent
}

var began = time.Now()

func (x *traffic) clock() time.Duration {
	switch {
	case !x.timed:
		return 0
	case x.processor != nil:
		return x.processor()
	}
	return time.Since(began)
}

// BenchmarkSessionSend: what a data packet of 1452 bytes costs its sender, from
// Send to Transmitted, and with its share of feedback, plans and pings.
func BenchmarkSessionSend(b *testing.B) {
	benchmarkSession(b, func(x *traffic) time.Duration { return x.sendTime })
}

// BenchmarkSessionReceive: what it costs its receiver, from Receive to Deliver,
// and with its share of the feedback sent.
func BenchmarkSessionReceive(b *testing.B) {
	benchmarkSession(b, func(x *traffic) time.Duration { return x.receiveTime })
}

func benchmarkSession(b *testing.B, spent func(*traffic) time.Duration) {
	for _, n := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("paths=%d", n), func(b *testing.B) {
			x := newTraffic(b, n)
			x.timed = true
			from := x.delivered
			b.ReportAllocs()
			b.ResetTimer()
			for x.delivered < from+uint64(b.N) {
				x.step()
			}
			b.ReportMetric(float64(spent(x).Nanoseconds())/float64(x.delivered-from), "ns/op")
		})
	}
}
