package wgbond

import (
	"net/netip"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// mostADay is what README promises of a metered path that carries no data:
// bytes a day, both directions, IP headers included.
const mostADay = 200_000

// chatter counts the bytes on a path, both directions, of whole IP packets.
func chatter(p *simPath) *int {
	n := new(int)
	p.tap = func(_ bool, pkt []byte) { *n += len(pkt) + 28 }
	return n
}

// TestMeteredIdle measures what a metered path that carries no data costs a
// day. The session is otherwise idle, or busy on another path with all that
// belongs to it: WireGuard's rekeying every two minutes, ours every ten.
func TestMeteredIdle(t *testing.T) {
	const day = 24 * time.Hour
	metered := ten
	metered.cfg = PathConfig{Name: "metered", Metered: true, Backup: true}
	dark := func(fromClient bool, pkt []byte) bool { return true }

	for _, tc := range []struct {
		name  string
		paths []pathSpec // the last one is metered
		busy  bool
		dark  bool // the metered path carries nothing, although what is sent is paid for
		least float64
	}{
		{"beside an idle path", []pathSpec{ten, metered}, false, false, 50_000},
		{"alone", []pathSpec{metered}, false, false, 100_000},
		{"beside a busy path", []pathSpec{ten, metered}, true, false, 40_000},
		{"dead", []pathSpec{ten, metered}, false, true, 50_000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, 1, tc.paths...)
			w.bond()
			p := w.paths[len(w.paths)-1]
			measured := day
			if tc.busy {
				measured = 20 * time.Minute
				down, up := newStream(w, 7), newStream(w, 8)
				w.atClient, w.atServer = down.receive, up.receive
				down.feed(w.sendDown, 0.5*mbit, 1452, 1, measured+time.Minute)
				up.feed(w.sendUp, 0.05*mbit, 200, 1, measured+time.Minute)
				var rekey func()
				rekey = func() {
					initiation, response := make([]byte, 148), make([]byte, 92)
					initiation[0], response[0] = wire.TypeWGInitiation, wire.TypeWGResponse
					w.sendUp([][]byte{initiation})
					w.sendDown([][]byte{response})
					down.index, down.next = down.index+2, 0
					up.index, up.next = up.index+2, 0
					w.after(2*time.Minute, rekey)
				}
				w.after(2*time.Minute, rekey)
			}
			if tc.dark {
				p.lose = dark
			}
			w.run(time.Minute) // the questions of a path that is new, or has just died
			n := chatter(p)
			w.run(measured)
			perDay := float64(*n) * float64(day) / float64(measured)
			t.Logf("%.0f bytes a day", perDay)
			within(t, "bytes a day", perDay, tc.least, mostADay)
			if st := w.client.Status(w.now); st.BondLost > 0 {
				t.Errorf("the bond was lost %d times", st.BondLost)
			}
		})
	}
}

// TestMeteredWakes: a metered backup that has rested for an hour takes over
// when the other path dies, although its NAT has forgotten it.
func TestMeteredWakes(t *testing.T) {
	metered := ten
	metered.cfg = PathConfig{Name: "metered", Metered: true, Backup: true}
	w := newWorld(t, 1, ten, metered)
	w.bond()
	w.run(time.Hour)
	f := newStream(w, 7)
	w.atClient = f.receive
	f.feed(w.sendDown, 2*mbit, 1452, 1, 8*time.Second)
	w.run(3 * time.Second)
	w.paths[1].addr = netip.MustParseAddrPort("192.0.2.1:4242")
	w.paths[0].lose = func(bool, []byte) bool { return true }
	w.run(6 * time.Second)
	// Half a second without a path is a queue to CoDel, which may drop one.
	dropped := int(w.server.Status(w.now + w.serverClock).Drops["codel"])
	within(t, "packets missing", float64(int(f.next)-len(f.arrived)), 0, 1)
	within(t, "packets lost on the way", float64(int(f.next)-len(f.arrived)-dropped), 0, 0)
	within(t, "longest gap, ms", float64(f.maxGap)/1e6, 0, 1200)
	if t.Failed() {
		report(t, w, f)
	}
}

// TestForgottenNAT: a metered path has rested for an hour behind a NAT that
// forgets after half a minute, and then there is more to carry than the other
// path can. It is asked first, and loses nothing.
func TestForgottenNAT(t *testing.T) {
	metered := ten
	metered.cfg = PathConfig{Name: "metered", Metered: true}
	for _, way := range []string{"down", "up"} {
		t.Run(way, func(t *testing.T) {
			w := newWorld(t, 1, ten, metered)
			rested := w.paths[1]
			rested.forgets = 30 * time.Second
			w.bond()
			w.run(time.Hour)
			f := newStream(w, 7)
			send, back, rate := w.sendDown, w.server, 15*mbit
			w.atClient = f.receive
			if way == "up" {
				w.atClient, w.atServer = nil, f.receive
				send, back, rate = w.sendUp, w.client, 8*mbit
			}
			f.feed(send, rate, 1452, 1, 5*time.Second)
			w.run(7 * time.Second)
			within(t, "packets missing", float64(int(f.next)-len(f.arrived)), 0, 0)
			within(t, "packets sent to a forgotten address", float64(rested.forgotten), 0, 0)
			within(t, "longest gap, ms", float64(f.maxGap)/1e6, 0, 100)
			p := back.Status(w.now + map[bool]time.Duration{true: w.serverClock}[back == w.server]).Paths[1]
			within(t, "bytes by the path that had rested", float64(p.Sent), 1e6, 1e9)
			if t.Failed() {
				report(t, w, f)
			}
		})
	}
}

// TestFlapping: a path that comes and goes every few seconds is used less and
// less; one that was out once is used at once.
func TestFlapping(t *testing.T) {
	w := newWorld(t, 1, ten, ten)
	w.bond()
	f := newStream(w, 7)
	w.atClient = f.receive
	f.feed(w.sendDown, 8*mbit, 1452, 1, 100*time.Second)
	var waits []time.Duration
	flap := w.paths[1]
	l := func() *link { return w.server.links[flap.id] }
	w.run(time.Second)
	for range 8 {
		flap.lose = func(bool, []byte) bool { return true }
		w.run(2 * time.Second)
		flap.lose = nil
		from := w.now
		for n := 0; !w.server.usable(l()) && n < 4000; n++ {
			w.run(10 * ms)
		}
		waits = append(waits, (w.now - from).Round(time.Second))
		w.run(3 * time.Second)
	}
	t.Logf("used again after %v", waits)
	within(t, "longest gap, ms", float64(f.maxGap)/1e6, 0, 400)
	// When the other dies, it is used whatever its past.
	flap.lose = func(bool, []byte) bool { return true }
	w.run(2 * time.Second)
	flap.lose = nil
	w.run(500 * ms)
	if !l().damped {
		t.Fatal("the path is not damped")
	}
	w.paths[0].lose = func(bool, []byte) bool { return true }
	w.run(time.Second)
	if !w.server.usable(l()) {
		t.Error("the only path left is not used")
	}
	if t.Failed() {
		report(t, w, f)
	}
}

func TestDamping(t *testing.T) {
	var d Damping
	now := time.Duration(0)
	for i, want := range []time.Duration{0, 0, 1, 2, 4, 8, 16, 30, 30} {
		d.Lost(now)
		if got := d.Hold(now); got != want*time.Second {
			t.Errorf("after %d losses: %v, want %d s", i+1, got, want)
		}
	}
	if got := d.Hold(now + 10*dampHalf); got != 0 {
		t.Errorf("after five minutes of peace: %v", got)
	}
}
