package tcp

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim"
)

// TestDownload is the seed experiment's single link: 3 MB over 3.6 Mbit/s and
// 60 ms.
func TestDownload(t *testing.T) {
	r := download(t, 3_000_000, NewCubic,
		sim.LinkConfig{Rate: 3.6e6, Delay: 30 * ms, Queue: 67_500}, sim.LinkConfig{Rate: 3.6e6, Delay: 30 * ms})
	r.Run(sim.Never, nil)
	st := r.client.Stats()
	// SYN and the request take two round trips; then 2193 segments of 1480
	// bytes need 7.211 s, and the first ten leave the link idle for a good
	// 25 ms. Only the very last retransmissions may come on top.
	const want = 7_368_471_114 * time.Nanosecond
	if st.LastByteAt != want || st.Received != 3_000_000 {
		t.Errorf("%d bytes by %v, want 3000000 by %v", st.Received, st.LastByteAt, want)
	}
	// One round trip and 120 bytes each way, 266,667 ns.
	if opened := 60*ms + 2*266_667; st.OpenedAt != opened {
		t.Errorf("opened at %v, want %v", st.OpenedAt, opened)
	}
}

// TestBulk runs 60 s over 20 Mbit/s, 60 ms and 150 ms of queue, with one thing
// wrong in each row. The link carries 20 Mbit/s · 1368/1480 = 18.486 Mbit/s,
// less two round trips and a slow start.
func TestBulk(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		name    string
		change  func(*sim.LinkConfig)
		control func(int) Control
		// Mbit/s; retransmitted, of these not needed; timeouts, recoveries undone
		want string
	}{
		{"clean", nil, NewCubic, "18.401; 31 0; 0 0"},
		// BBR drains the pipe for 200 ms of every 10 s and keeps 1 % below its estimate.
		{"clean, BBR", nil, NewBBR, "17.931; 0 0; 0 0"},

		// Reno's 1.22·MSS/(RTT·√p) (Mathis et al. 1997) is 1.31·MSS/(RTT·√p) for
		// independent losses, and several in one round trip count once: 2.3 to
		// 2.6 Mbit/s for 1 %, 7.4 for 0.1 %, where CUBIC also grows faster
		// than Reno.
		{"1 % loss", func(c *sim.LinkConfig) { c.Loss = 0.01 }, NewCubic, "2.579; 144 0; 0 0"},
		{"0.1 % loss", func(c *sim.LinkConfig) { c.Loss = 0.001 }, NewCubic, "8.747; 48 0; 0 0"},
		{"1 % loss, BBR", func(c *sim.LinkConfig) { c.Loss = 0.01 }, NewBBR, "18.071; 1014 0; 0 0"},

		// RACK's reordering window starts at a quarter of the RTT, 15 ms, and
		// DSACKs widen it.
		{"reordered by 5 ms", func(c *sim.LinkConfig) { c.Jitter, c.Reorder = 5*ms, true }, NewCubic, "18.398; 70 0; 0 0"},
		{"reordered by 60 ms", func(c *sim.LinkConfig) { c.Jitter, c.Reorder = 60*ms, true }, NewCubic, "17.270; 115 30; 0 12"},

		// The RTO strikes, the originals come: Eifel takes it back.
		{"delay +1.5 s for 1 s", func(c *sim.LinkConfig) {
			c.Changes = []sim.Change{{At: 10 * s, Delay: new(1530 * ms)}, {At: 11 * s, Delay: new(30 * ms)}}
		}, NewCubic, "17.779; 43 2; 2 1"},
		// 50 s of 60: the queue's head start lets it begin again at once.
		{"dark for 10 s", func(c *sim.LinkConfig) { c.Outages = []sim.Outage{{From: 10 * s, To: 20 * s}} }, NewCubic, "15.320; 34 0; 4 1"},
		{"dark for 10 s, BBR", func(c *sim.LinkConfig) { c.Outages = []sim.Outage{{From: 10 * s, To: 20 * s}} }, NewBBR, "14.942; 5 5; 5 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			down := sim.LinkConfig{Rate: 20e6, Delay: 30 * ms, Queue: 375_000, Seed: 1}
			if test.change != nil {
				test.change(&down)
			}
			run := func() string {
				r := download(t, Unlimited, test.control, down, sim.LinkConfig{Rate: 20e6, Delay: 30 * ms})
				r.Run(60*s, nil)
				c, v := r.client.Stats(), r.server.Stats()
				return fmt.Sprintf("%.3f; %d %d; %d %d", float64(c.Received)*8/60e6, v.Retransmits, c.Duplicates, v.Timeouts, v.Undone)
			}
			got := run()
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if again := run(); again != got {
				t.Errorf("the second run gave %s, the first %s", again, got)
			}
		})
	}
}

// A lost last segment is repaired by the loss probe, in place of an RTO. Its
// predecessor's acknowledgement is delayed by 40 ms and tells 30 ms later; the
// probe leaves an RTO (an srtt of 67 ms and 200 ms) after that.
func TestTailLoss(t *testing.T) {
	// 20 segments of 0.6 ms; the last enters the wire after 150 ms.
	down := sim.LinkConfig{Rate: 20e6, Delay: 30 * ms}
	done := func(down sim.LinkConfig) (time.Duration, Stats) {
		r := download(t, 20*1368, NewCubic, down, sim.LinkConfig{Rate: 20e6, Delay: 30 * ms})
		r.Run(sim.Never, nil)
		return r.client.Stats().LastByteAt, r.server.Stats()
	}
	clean, _ := done(down)
	last := clean - down.Delay // when the last segment's serialisation ends
	down.Changes = []sim.Change{{At: last, Loss: new(1.0)}, {At: last + 1, Loss: new(0.0)}}
	repaired, st := done(down)
	if st.Probes != 1 || st.Retransmits != 1 || st.Timeouts != 0 {
		t.Errorf("want one probe and no timeout: %+v", st)
	}
	if want := 367_348_728 * time.Nanosecond; repaired-clean != want {
		t.Errorf("repaired %v later, want %v", repaired-clean, want)
	}
}

// A lost SYN costs the initial RTO of 1 s, a lost SYN|ACK too.
func TestLostSYN(t *testing.T) {
	clean := sim.LinkConfig{Delay: 30 * ms}
	lossy := clean
	lossy.Changes = []sim.Change{{At: 0, Loss: new(1.0)}, {At: 50 * ms, Loss: new(0.0)}}
	for name, links := range map[string][2]sim.LinkConfig{"SYN": {clean, lossy}, "SYN|ACK": {lossy, clean}} {
		r := download(t, 1000, NewCubic, links[0], links[1])
		r.Run(sim.Never, nil)
		if got, want := r.client.Stats().LastByteAt, time.Second+120*ms; got != want {
			t.Errorf("%s lost: the answer came at %v, want %v", name, got, want)
		}
	}
}

// TestScoreboard compares the counts that the sender keeps with a recount, at
// every step of a connection over a link that loses, reorders and stalls.
func TestScoreboard(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 2))
		down := sim.LinkConfig{
			Rate: 10e6, Delay: 20 * ms, Queue: 30_000, Seed: seed,
			Loss: rng.Float64() * 0.1, Jitter: time.Duration(rng.IntN(40)) * ms, Reorder: rng.IntN(2) == 0,
			Outages: []sim.Outage{{From: time.Second, To: time.Second + time.Duration(1+rng.IntN(1000))*ms}},
			Changes: []sim.Change{{At: 2 * time.Second, Delay: new(time.Duration(rng.IntN(500)) * ms)}},
		}
		up := sim.LinkConfig{Rate: 10e6, Delay: 20 * ms, Seed: seed, Loss: rng.Float64() * 0.1, Jitter: 30 * ms, Reorder: true}
		control := NewCubic
		if seed%2 == 1 {
			control = NewBBR
		}
		const size = 2_000_000
		r := download(t, size, control, down, up)
		s := &r.server.sender
		r.Run(10*time.Minute, func() bool {
			var sacked, lost, retrans int
			for n := s.una; n < s.nxt; n++ {
				rec := s.record(n)
				if rec.sacked {
					sacked++
				}
				if rec.lost {
					lost++
				}
				if rec.copyOut {
					retrans++
				}
			}
			if got, want := fmt.Sprint(s.sacked, s.lost, s.retrans), fmt.Sprint(sacked, lost, retrans); got != want {
				t.Fatalf("seed %d at %v: sacked, lost, retransmitted: kept %s, counted %s", seed, r.Now(), got, want)
			}
			if s.records.len() > 0 && s.rtoAt == sim.Never {
				t.Fatalf("seed %d at %v: data outstanding and no timer", seed, r.Now())
			}
			return r.server.Stats().AckedAt != sim.Never
		})
		if got := r.client.Stats().Received; got != size {
			t.Errorf("seed %d: %d bytes of %d arrived by %v; server %+v", seed, got, size, r.Now(), r.server.Stats())
		}
	}
}

func TestReceiver(t *testing.T) {
	c, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	c.opened = true
	const mss = 1000
	for _, step := range []struct {
		at   time.Duration
		data int    // segment number
		ack  string // acknowledged and blocks, in segments; empty: none yet
		due  time.Duration
	}{
		{0, 0, "", 40 * ms},       // the first of two waits
		{1 * ms, 1, "2 []", 0},    // the second does not
		{2 * ms, 2, "", 42 * ms},  //
		{3 * ms, 4, "3 [4-5]", 0}, // a hole: at once
		{4 * ms, 6, "3 [6-7 4-5]", 0},
		{5 * ms, 8, "3 [8-9 6-7 4-5]", 0},
		{6 * ms, 10, "3 [10-11 8-9 6-7]", 0}, // three fit
		{7 * ms, 5, "3 [4-7 10-11 8-9]", 0},  // joined, and first
		{8 * ms, 5, "3 [D5-6 4-7 10-11]", 0}, // came before: DSACK
		{9 * ms, 3, "7 [10-11 8-9]", 0},      // fills the hole
		{10 * ms, 1, "7 [D1-2 10-11 8-9]", 0},
		{11 * ms, 7, "9 [10-11]", 0},
		{12 * ms, 9, "11 []", 0},
		{13 * ms, 11, "", 53 * ms},
	} {
		c.Handle(step.at, &Segment{Seq: uint64(step.data) * mss, Len: mss})
		got := ""
		for _, s := range c.Output(step.at, nil) {
			var blocks []string
			for i, b := range s.SACK[:s.Blocks] {
				d := ""
				if i == 0 && s.Flags&DSACK != 0 {
					d = "D"
				}
				blocks = append(blocks, fmt.Sprintf("%s%d-%d", d, b.From/mss, b.To/mss))
			}
			got += fmt.Sprint(s.Ack/mss, " ", blocks)
		}
		if got != step.ack {
			t.Errorf("segment %d at %v: acknowledged %q, want %q", step.data, step.at, got, step.ack)
		}
		if next := c.Next(); got == "" && next != step.due {
			t.Errorf("segment %d at %v: the acknowledgement is due at %v, want %v", step.data, step.at, next, step.due)
		}
	}
	if st := c.Stats(); st.Duplicates != 2 || st.OutOfOrder != 4 || st.Received != 12*mss {
		t.Errorf("stats %+v", st)
	}
}
