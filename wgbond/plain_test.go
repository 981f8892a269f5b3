package wgbond

import (
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim"
	"github.com/wg-bond/wg-bond/wgbond/sim/tcp"
	"github.com/wg-bond/wg-bond/wgbond/sim/tunnel"
)

// stockServer is a stock WireGuard with a TCP sender behind it: it drops
// replays and answers where something new came from last.
type stockServer struct {
	w      *world
	tunnel *tunnel.Peer
	tcp    *tcp.Conn
	route  *simPath
	moves  int
}

func (s *stockServer) receive(pkt []byte) {
	inner, err := s.tunnel.Unwrap(append([]byte(nil), pkt...))
	if err != nil {
		return
	}
	if s.route != s.w.arrivedBy {
		s.route = s.w.arrivedBy
		s.moves++
	}
	if seg := new(tcp.Segment); seg.Unmarshal(inner) == nil {
		s.tcp.Handle(s.w.now, seg)
	}
}

// plainDownload runs a TCP download of size bytes from a stock server for d. It
// returns the client's end and the server.
func plainDownload(t *testing.T, w *world, size int64, d time.Duration) (*tcp.Conn, *stockServer) {
	t.Helper()
	w.noShim = true
	conn := func(cfg tcp.Config) *tcp.Conn {
		c, err := tcp.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	s := &stockServer{w: w, tunnel: tunnel.New(5), tcp: conn(tcp.Config{Flow: 1, Send: size})}
	client, clientTunnel := conn(tcp.Config{Flow: 1, Active: true, Start: w.now}), tunnel.New(5)
	w.atServer = s.receive
	w.atClient = func(pkt []byte) {
		if inner, err := clientTunnel.Unwrap(append([]byte(nil), pkt...)); err == nil {
			if seg := new(tcp.Segment); seg.Unmarshal(inner) == nil {
				client.Handle(w.now, seg)
			}
		}
	}
	end := w.now + d
	var tick func()
	tick = func() {
		for _, seg := range s.tcp.Output(w.now, nil) {
			if s.route != nil {
				w.put(s.route, false, s.tunnel.Wrap(nil, seg.Marshal(nil)))
			}
		}
		for _, seg := range client.Output(w.now, nil) {
			w.sendUp([][]byte{clientTunnel.Wrap(nil, seg.Marshal(nil))})
		}
		if w.now < end {
			w.after(ms, tick)
		}
	}
	tick()
	w.run(d)
	return client, s
}

// TestPlainDownloadMoves: before a stock server, the path dies that carries a
// download. All that the client then hears is silence, and it has nothing to
// send; a copy of its last acknowledgement, by the other path, moves both.
func TestPlainDownloadMoves(t *testing.T) {
	dark := ten
	dark.outages = []sim.Outage{{From: 4 * time.Second, To: time.Hour}}
	w := newWorld(t, 1, dark, ten)
	client, server := plainDownload(t, w, tcp.Unlimited, 10*time.Second)
	st := client.Stats()
	t.Logf("longest gap %v", st.MaxGap)
	within(t, "longest gap, ms", float64(st.MaxGap)/1e6, 0, 1000)
	within(t, "Mbit/s over all", float64(st.Received)*8/10/mbit, 7, 10)
	within(t, "moves of the server", float64(server.moves), 2, 2) // onto the first path, and from it
	within(t, "fail-overs", float64(w.client.Status(w.now).Failovers), 1, 1)
}

// TestPlainDownloadStays: a download that ends, or stands still, leaves the
// same silence. The copies that it brings about are dropped as replays, and
// nobody moves.
func TestPlainDownloadStays(t *testing.T) {
	w := newWorld(t, 1, ten, ten)
	client, server := plainDownload(t, w, 200_000, 10*time.Second)
	within(t, "bytes", float64(client.Stats().Received), 200_000, 200_000)
	within(t, "moves of the server", float64(server.moves), 1, 1)
	within(t, "fail-overs", float64(w.client.Status(w.now).Failovers), 0, 0)
	within(t, "copies dropped as replays", float64(server.tunnel.Stats().Duplicates), 1, plainAsks)
}
