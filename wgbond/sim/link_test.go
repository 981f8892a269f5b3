package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

const (
	ms = time.Millisecond
	us = time.Microsecond
)

type push struct {
	at   time.Duration
	size int
}

// run pushes the packets at their times and returns when each arrives;
// -1 for one that was dropped. It asks Next and pops exactly then.
func run(t *testing.T, cfg LinkConfig, pushes []push) ([]time.Duration, Stats) {
	t.Helper()
	l, err := NewLink[int](cfg)
	if err != nil {
		t.Fatal(err)
	}
	arrivals := make([]time.Duration, len(pushes))
	pop := func(until time.Duration) {
		for l.Next() <= until && l.Next() != Never {
			at := l.Next()
			if _, _, early := l.Pop(at - 1); early {
				t.Errorf("a packet came before Next, at %v", at-1)
			}
			i, size, ok := l.Pop(at)
			if !ok || size != pushes[i].size {
				t.Fatalf("Pop(%v) at Next: packet %d, size %d, ok %v", at, i, size, ok)
			}
			arrivals[i] = at
		}
	}
	for i, p := range pushes {
		pop(p.at)
		arrivals[i] = -1
		if l.Push(p.at, p.size, i) {
			arrivals[i] = Never
		}
	}
	pop(Never)
	return arrivals, l.Stats()
}

func trace(t *testing.T, lines string) *Trace {
	t.Helper()
	tr, err := ParseTrace(strings.NewReader(strings.ReplaceAll(lines, " ", "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestLinkArrivals(t *testing.T) {
	// 12 Mbit/s carries 1500 bytes in exactly 1 ms.
	const mbit12 = 12e6
	for _, test := range []struct {
		name  string
		cfg   LinkConfig
		push  []push
		want  []time.Duration // -1: dropped
		drops Drops
	}{
		{
			name: "one packet: serialisation and delay",
			cfg:  LinkConfig{Rate: mbit12, Delay: 10 * ms},
			push: []push{{0, 1500}, {5 * ms, 750}},
			want: []time.Duration{11 * ms, 15*ms + 500*us},
		},
		{
			name: "a burst is spread out by the rate",
			cfg:  LinkConfig{Rate: mbit12},
			push: []push{{ms, 1500}, {ms, 1500}, {ms, 1500}, {3500 * us, 150}},
			want: []time.Duration{2 * ms, 3 * ms, 4 * ms, 4100 * us},
		},
		{
			name: "no limit of rate",
			cfg:  LinkConfig{Delay: 3 * ms},
			push: []push{{0, 1500}, {0, 1500}, {ms, 40}},
			want: []time.Duration{3 * ms, 3 * ms, 4 * ms},
		},
		{
			name: "thirds of a nanosecond add up without drift",
			// 1480 bytes at 3.6 Mbit/s: 3,288,888.88… ns; 9 of them are exactly 29.6 ms.
			cfg:  LinkConfig{Rate: 3.6e6},
			push: []push{{0, 1480}, {0, 1480}, {0, 1480}, {0, 1480}, {0, 1480}, {0, 1480}, {0, 1480}, {0, 1480}, {0, 1480}},
			want: []time.Duration{3288889, 6577778, 9866667, 13155556, 16444445, 19733334, 23022223, 26311112, 29600000},
		},
		{
			name:  "the queue excludes the packet on the wire",
			cfg:   LinkConfig{Rate: mbit12, Queue: 3000},
			push:  []push{{0, 1500}, {0, 1500}, {0, 1500}, {0, 1}, {ms - 1, 1}, {ms, 1500}},
			want:  []time.Duration{ms, 2 * ms, 3 * ms, -1, -1, 4 * ms},
			drops: Drops{Queue: 2},
		},
		{
			name: "a small packet fits where a large one does not",
			cfg:  LinkConfig{Rate: mbit12, Queue: 1600},
			push: []push{{0, 1500}, {0, 1500}, {0, 1500}, {0, 100}},
			want: []time.Duration{ms, 2 * ms, -1, 2*ms + 66667},

			drops: Drops{Queue: 1},
		},
		{
			name: "a rate change in mid-packet: the rest goes at the new rate",
			cfg:  LinkConfig{Rate: mbit12, Changes: []Change{{At: 1500 * us, Rate: new(6e6)}}},
			push: []push{{0, 1500}, {0, 1500}, {0, 1500}},
			want: []time.Duration{ms, 2500 * us, 4500 * us}, // ms 1–1.5: 750 bytes; the other 750 take 1 ms
		},
		{
			name: "several changes within one packet",
			cfg: LinkConfig{Rate: mbit12, Changes: []Change{
				{At: 750 * us, Rate: new(3e6)}, {At: 500 * us, Rate: new(6e6)}, // in any order
			}},
			push: []push{{0, 1500}},
			want: []time.Duration{750*us + 1500*us}, // 6000 bits + 1500 bits, the other 4500 at 3 Mbit/s
		},
		{
			name: "a packet that meets the change exactly at its end is not touched",
			cfg:  LinkConfig{Rate: mbit12, Changes: []Change{{At: ms, Rate: new(6e6)}}},
			push: []push{{0, 1500}, {0, 1500}},
			want: []time.Duration{ms, 3 * ms},
		},
		{
			name: "a fall of the delay does not reorder",
			cfg:  LinkConfig{Rate: mbit12, Delay: 50 * ms, Changes: []Change{{At: 1500 * us, Delay: new(10 * ms)}}},
			push: []push{{0, 1500}, {0, 1500}, {50 * ms, 1500}},
			want: []time.Duration{51 * ms, 51 * ms, 61 * ms},
		},
		{
			name: "unless the link may reorder",
			cfg:  LinkConfig{Rate: mbit12, Delay: 50 * ms, Reorder: true, Changes: []Change{{At: 1500 * us, Delay: new(10 * ms)}}},
			push: []push{{0, 1500}, {0, 1500}},
			want: []time.Duration{51 * ms, 12 * ms},
		},
		{
			name: "an outage holds the packet on the wire, not the one in the air",
			cfg:  LinkConfig{Rate: mbit12, Delay: 20 * ms, Outages: []Outage{{From: 1250 * us, To: 100 * ms}}},
			push: []push{{0, 1500}, {0, 1500}, {50 * ms, 1500}},
			want: []time.Duration{21 * ms, 120*ms + 750*us, 121*ms + 750*us},
		},
		{
			name:  "the queue fills in an outage",
			cfg:   LinkConfig{Rate: mbit12, Queue: 3000, Outages: []Outage{{From: ms, To: 100 * ms}}},
			push:  []push{{2 * ms, 1500}, {3 * ms, 1500}, {4 * ms, 1}, {100 * ms, 1500}},
			want:  []time.Duration{101 * ms, 102 * ms, -1, 103 * ms},
			drops: Drops{Outage: 1},
		},
		{
			name: "outages that overlap or touch are one; a change during them counts afterwards",
			cfg: LinkConfig{Rate: mbit12, Outages: []Outage{{20 * ms, 30 * ms}, {0, 10 * ms}, {5 * ms, 20 * ms}},
				Changes: []Change{{At: 7 * ms, Rate: new(6e6)}}},
			push: []push{{0, 1500}},
			want: []time.Duration{32 * ms},
		},
		{
			name: "an outage without end",
			cfg:  LinkConfig{Rate: mbit12, Delay: ms, Outages: []Outage{{From: 500 * us, To: Never}}},
			push: []push{{0, 150}, {0, 1500}, {9 * ms, 1500}},
			want: []time.Duration{1100 * us, Never, Never},
		},
		{
			name: "no limit of rate, but an outage",
			cfg:  LinkConfig{Outages: []Outage{{From: ms, To: 5 * ms}}},
			push: []push{{0, 1500}, {2 * ms, 1500}, {3 * ms, 1500}, {6 * ms, 1}},
			want: []time.Duration{0, 5 * ms, 5 * ms, 6 * ms},
		},
		{
			name:  "the queue's size may change",
			cfg:   LinkConfig{Rate: mbit12, Queue: 3000, Changes: []Change{{At: 100 * us, Queue: new(1000)}}},
			push:  []push{{0, 1500}, {0, 1500}, {100 * us, 1}, {ms, 1000}},
			want:  []time.Duration{ms, 2 * ms, -1, 2*ms + 666667},
			drops: Drops{Queue: 1},
		},
		{
			name: "loss begins when serialisation ends after the change",
			cfg:  LinkConfig{Rate: mbit12, Changes: []Change{{At: 2 * ms, Loss: new(1.0)}, {At: 4 * ms, Loss: new(0.0)}}},
			push: []push{{0, 1500}, {0, 1500}, {0, 1500}, {0, 1500}},
			want: []time.Duration{ms, -1, -1, 4 * ms}, // lost packets took their time

			drops: Drops{Loss: 2},
		},
		{
			name: "a trace: one 1500-byte packet per opportunity, and only if it was there before",
			cfg:  LinkConfig{Trace: trace(t, "5 6 6 20"), Delay: 10 * ms},
			push: []push{{0, 1500}, {0, 1500}, {6 * ms, 1500}, {6 * ms, 1500}},
			want: []time.Duration{15 * ms, 16 * ms, 30 * ms, 35 * ms}, // 25 = 20 + 5: it loops
		},
		{
			name: "small packets share an opportunity: 4 bytes of framing each",
			cfg:  LinkConfig{Trace: trace(t, "5 9 12")},
			push: []push{{0, 748}, {0, 748}, {0, 1}},
			want: []time.Duration{5 * ms, 5 * ms, 9 * ms},
		},
		{
			name: "a packet spans opportunities, and the rest of the last serves the next packet",
			cfg:  LinkConfig{Trace: trace(t, "5 9 12")},
			push: []push{{0, 1000}, {0, 1500}, {0, 500}, {0, 1}},
			// 1004 of 1504 | 500 + 1004 | 500 left: 504 does not fit | the rest of it, and the last
			want: []time.Duration{5 * ms, 9 * ms, 12 * ms, 12 * ms},
		},
		{
			name: "what an opportunity has left is lost for a later packet",
			cfg:  LinkConfig{Trace: trace(t, "5 9")},
			push: []push{{0, 100}, {5 * ms, 100}, {5*ms + 1, 100}},
			want: []time.Duration{5 * ms, 9 * ms, 9 * ms},
		},
		{
			name: "opportunities are lost in an outage",
			cfg:  LinkConfig{Trace: trace(t, "1 2 3 4 10"), Outages: []Outage{{From: 2 * ms, To: 4 * ms}}},
			push: []push{{0, 1500}, {0, 1500}, {0, 1500}},
			want: []time.Duration{ms, 4 * ms, 10 * ms},
		},
		{
			name: "a long idle time over many loops",
			cfg:  LinkConfig{Trace: trace(t, "3 10"), TraceStart: 5 * ms},
			push: []push{{1000*time.Second + 6*ms, 1500}, {1000*time.Second + 6*ms, 1500}},
			// the trace is at 5 ms + 1000.006 s: 11 ms into a loop, i.e. 1 ms after its start
			want: []time.Duration{1000*time.Second + 8*ms, 1000*time.Second + 15*ms},
		},
		{
			name: "from a rate to a trace and back in mid-packet",
			cfg: LinkConfig{Rate: mbit12, Changes: []Change{
				{At: 500 * us, Trace: trace(t, "1 9")}, {At: 2500 * us, Rate: new(6e6)},
			}},
			push: []push{{0, 1500}, {0, 2000}, {0, 750}},
			// 750 bytes before the trace; its opportunity at 1.5 ms takes the other 750 and 754 of the
			// second's 2004; the other 1250 take 1⅔ ms from 2.5 ms on.
			want: []time.Duration{1500 * us, 2500*us + 1666667, 2500*us + 2666667},
		},
		{
			name: "the queue before a trace holds what has had no opportunity",
			cfg:  LinkConfig{Trace: trace(t, "5 9 12"), Queue: 2000},
			push: []push{{0, 1000}, {0, 1000}, {0, 1}, {5 * ms, 1500}, {5 * ms, 500}},
			// both of the first two are begun at 5 ms (the second in part), so all 2000 bytes are free again
			want: []time.Duration{5 * ms, 9 * ms, -1, 12 * ms, 12 * ms},

			drops: Drops{Queue: 1},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, stats := run(t, test.cfg, test.push)
			if fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("arrivals\n got %v\nwant %v", got, test.want)
			}
			if stats.Dropped != test.drops {
				t.Errorf("drops: got %+v, want %+v", stats.Dropped, test.drops)
			}
		})
	}
}

// TestLinkMTU: what is too large is dropped before it takes anyone's time.
func TestLinkMTU(t *testing.T) {
	small := 1280
	cfg := LinkConfig{Rate: 8e6, Delay: 5 * ms, MTU: 1400, Changes: []Change{{At: 10 * ms, MTU: &small}}}
	got, stats := run(t, cfg, []push{{0, 1401}, {0, 1400}, {10*ms - 1, 1400}, {10 * ms, 1400}, {10 * ms, 1280}})
	want := []time.Duration{-1, 6400 * us, 16400*us - 1, -1, 17680*us - 1}
	if fmt.Sprint(got) != fmt.Sprint(want) || stats.Dropped != (Drops{MTU: 2}) {
		t.Errorf("arrivals %v, want %v; dropped %+v", got, want, stats.Dropped)
	}
}

func TestLinkCarriesItsRateForHours(t *testing.T) {
	// A million packets without a pause end exactly at bits/rate.
	l, err := NewLink[int](LinkConfig{Rate: 3.6e6, Queue: 3000})
	if err != nil {
		t.Fatal(err)
	}
	l.Push(0, 1480, 0)
	now := time.Duration(0)
	for n := 1; n < 1e6; n++ {
		l.Push(now, 1480, n)
		now = l.Next()
		l.Pop(now)
	}
	now = l.Next()
	const want = 3_288_888_888_889 * time.Nanosecond // 1e6·1480·8 bits at 3.6e6 bit/s, rounded up once
	if now != want {
		t.Errorf("a million packets took %v, want %v", now, want)
	}
	if got := l.Stats(); got.Pushed != 1e6 || got.MaxQueue != 1480 {
		t.Errorf("stats %+v", got)
	}
}

// slowLink is a naive model to compare with: it asks, bit by bit, whether the
// server may send.
func slowLink(rate int, outages []Outage, pushes []push) []time.Duration {
	// One bit takes 1/rate; at 1 Mbit/s and µs outages a step of 1 µs is one bit.
	if rate != 1e6 {
		panic("slowLink steps in µs")
	}
	var arrivals []time.Duration
	at := time.Duration(0)
	for _, p := range pushes {
		at = max(at, p.at)
		for sent := 0; sent < p.size*8; at += us {
			down := false
			for _, o := range outages {
				down = down || o.From <= at && at < o.To
			}
			if !down {
				sent++
			}
		}
		arrivals = append(arrivals, at)
	}
	return arrivals
}

func TestLinkAgainstNaiveModel(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var outages []Outage
		for range rng.IntN(4) {
			from := time.Duration(rng.IntN(20000)) * us
			outages = append(outages, Outage{from, from + time.Duration(1+rng.IntN(5000))*us})
		}
		var pushes []push
		at := time.Duration(0)
		for range 20 {
			at += time.Duration(rng.IntN(1500)) * us
			pushes = append(pushes, push{at, 1 + rng.IntN(200)})
		}
		got, _ := run(t, LinkConfig{Rate: 1e6, Outages: outages}, pushes)
		if want := slowLink(1e6, outages, pushes); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("seed %d, outages %v, pushes %v\n got %v\nwant %v", seed, outages, pushes, got, want)
		}
	}
}

func TestLinkLosesAsOftenAsItSays(t *testing.T) {
	const n = 100_000
	count := func(cfg LinkConfig) (lost int, pattern []bool) {
		l, err := NewLink[struct{}](cfg)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			kept := l.Push(time.Duration(i)*ms, 100, struct{}{})
			l.Pop(time.Duration(i) * ms)
			pattern = append(pattern, kept)
			if !kept {
				lost++
			}
		}
		drops := l.Stats().Dropped
		if uint64(lost) != drops.Loss+drops.Burst {
			t.Errorf("%d lost, counted %+v", lost, drops)
		}
		return lost, pattern
	}

	// The generator is seeded, so the counts are exact. Independent losses of
	// 1 %: 1000 ± 31.
	const wantLoss = 1013
	if lost, _ := count(LinkConfig{Loss: 0.01, Seed: 7}); lost != wantLoss {
		t.Errorf("random loss 1 %%: lost %d, want %d", lost, wantLoss)
	}

	// Bursts of 1/ToGood = 10 packets, 1 % of the time: 100 ± 10 bursts, 1000 ± 140 lost.
	const wantBurstLoss, wantBursts = 1044, 116
	burst := &GilbertElliott{ToBad: 0.001, ToGood: 0.1, LossBad: 1}
	lost, pattern := count(LinkConfig{Burst: burst, Seed: 7})
	bursts := 0
	for i := 1; i < n; i++ {
		if pattern[i-1] && !pattern[i] {
			bursts++
		}
	}
	if lost != wantBurstLoss || bursts != wantBursts {
		t.Errorf("burst loss: lost %d in %d bursts, want %d in %d", lost, bursts, wantBurstLoss, wantBursts)
	}

	_, again := count(LinkConfig{Burst: burst, Seed: 7})
	_, other := count(LinkConfig{Burst: burst, Seed: 8})
	if fmt.Sprint(pattern) != fmt.Sprint(again) {
		t.Error("the same seed lost other packets")
	}
	if fmt.Sprint(pattern) == fmt.Sprint(other) {
		t.Error("another seed lost the same packets")
	}
}

func TestLinkJitter(t *testing.T) {
	pushes := make([]push, 1000)
	for i := range pushes {
		pushes[i] = push{time.Duration(i) * ms, 100}
	}
	kept, _ := run(t, LinkConfig{Delay: 20 * ms, Jitter: 10 * ms, Seed: 1}, pushes)
	late := 0
	for i, at := range kept {
		if delay := at - pushes[i].at; delay < 20*ms || delay > 30*ms {
			t.Errorf("packet %d took %v, want 20 to 30 ms", i, delay)
		}
		if i > 0 && at < kept[i-1] {
			t.Errorf("packet %d overtook the one before it", i)
		}
	}
	mixed, _ := run(t, LinkConfig{Delay: 20 * ms, Jitter: 10 * ms, Reorder: true, Seed: 1}, pushes)
	for i := 1; i < len(mixed); i++ {
		if mixed[i] < mixed[i-1] {
			late++
		}
	}
	if late < 300 {
		t.Errorf("Reorder: only %d of 1000 packets were overtaken by the next", late)
	}
}

func TestLinkAllocatesNothing(t *testing.T) {
	tr := trace(t, "1 2 3 5 8")
	for name, cfg := range map[string]LinkConfig{
		"rate":    {Rate: 20e6, Delay: 10 * ms, Queue: 50_000, Loss: 0.01},
		"trace":   {Trace: tr, Delay: 10 * ms, Queue: 50_000, Jitter: ms},
		"reorder": {Rate: 20e6, Delay: 10 * ms, Queue: 50_000, Jitter: 5 * ms, Reorder: true},
		"burst":   {Rate: 20e6, Burst: &GilbertElliott{ToBad: 0.01, ToGood: 0.1, LossBad: 0.5}},
	} {
		l, err := NewLink[[]byte](cfg)
		if err != nil {
			t.Fatal(err)
		}
		now, packet := time.Duration(0), make([]byte, 1480)
		step := func() {
			now += 600 * us
			l.Push(now, len(packet), packet)
			for _, _, ok := l.Pop(now); ok; _, _, ok = l.Pop(now) {
			}
		}
		for range 2000 { // let the rings grow
			step()
		}
		if n := testing.AllocsPerRun(2000, step); n != 0 {
			t.Errorf("%s: %v allocations per packet, want none", name, n)
		}
	}
}

func TestLinkConfigErrors(t *testing.T) {
	tr := trace(t, "1 2")
	for _, test := range []struct {
		cfg  LinkConfig
		want string
	}{
		{LinkConfig{Rate: -1}, "link: Rate -1 bit/s: want 0 (no limit) or 1 to 1e15 bit/s"},
		{LinkConfig{Rate: math.NaN()}, "link: Rate NaN bit/s: want 0 (no limit) or 1 to 1e15 bit/s"},
		{LinkConfig{Rate: 1e6, Trace: tr}, "link: Rate 1e+06 bit/s and a Trace are both set: a trace brings its own rate, leave Rate 0"},
		{LinkConfig{TraceStart: ms}, "link: TraceStart 1ms: want 0 or more, and a Trace"},
		{LinkConfig{Delay: -ms}, "link: Delay -1ms: want 0 or more, and not Never; use an Outage for a link that is gone"},
		{LinkConfig{Jitter: -ms}, "link: Jitter -1ms: want 0 or more, and not Never; use an Outage for a link that is gone"},
		{LinkConfig{Loss: 5}, "link: Loss 5: want a ratio from 0 to 1; 1 % is 0.01"},
		{LinkConfig{Burst: &GilbertElliott{ToGood: -0.1}}, "link: Burst.ToGood -0.1: want a probability from 0 to 1"},
		{LinkConfig{Queue: -1}, "link: Queue -1 bytes: want 0 (no limit) or more"},
		{LinkConfig{Changes: []Change{{}, {At: -ms}}}, "link: Changes[1] at -1ms: a change cannot come before the start: want At 0 or more"},
		{LinkConfig{Changes: []Change{{At: ms, Rate: new(1e6), Trace: tr}}}, "link: Changes[0] at 1ms: Rate and Trace are both set: a trace brings its own rate, set one of them"},
		{LinkConfig{Changes: []Change{{At: ms, Loss: new(1.5)}}}, "link: Changes[0] at 1ms: Loss 1.5: want a ratio from 0 to 1; 1 % is 0.01"},
		{LinkConfig{Outages: []Outage{{From: 2 * ms, To: ms}}}, "link: Outages[0] from 2ms to 1ms: want 0 ≤ From < To"},
	} {
		if _, err := NewLink[int](test.cfg); err == nil || err.Error() != test.want {
			t.Errorf("got  %v\nwant %s", err, test.want)
		}
	}
}

func BenchmarkLink(b *testing.B) {
	l, err := NewLink[int](LinkConfig{Rate: 20e6, Delay: 10 * ms, Queue: 50_000})
	if err != nil {
		b.Fatal(err)
	}
	now := time.Duration(0)
	for i := 0; b.Loop(); i++ {
		now += 600 * us
		l.Push(now, 1480, i)
		l.Pop(now)
	}
}

// TestOvertaken: of an otherwise equal link the share that is asked for arrives
// late, by what is asked for, and everything else when it would.
func TestOvertaken(t *testing.T) {
	const packets = 1000
	arrivals := func(o *Overtaken) (at [packets]time.Duration) {
		l, err := NewLink[int](LinkConfig{Rate: 12e6, Delay: 20 * time.Millisecond, Overtaken: o, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		for i := range packets {
			l.Push(0, 1500, i)
		}
		for now := l.Next(); now != Never; now = l.Next() {
			i, _, _ := l.Pop(now)
			at[i] = now
		}
		return at
	}
	const late = 3500 * time.Microsecond // three packets of 1 ms each go by
	without, with := arrivals(nil), arrivals(&Overtaken{Share: 0.05, Late: late})
	n := 0
	for i := range with {
		switch with[i] - without[i] {
		case 0:
		case late:
			n++
		default:
			t.Fatalf("packet %d arrives at %v, without overtaking at %v", i, with[i], without[i])
		}
	}
	if n < 30 || n > 70 {
		t.Errorf("%d of %d packets are late, want about 50", n, packets)
	}
	for _, bad := range []Overtaken{{Share: 2}, {Share: -1}, {Late: -1}, {Late: Never}} {
		if _, err := NewLink[int](LinkConfig{Overtaken: &bad}); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

// TestDelayedTrace: a delayed link's trace is at its beginning when the link's
// time is, whether the delay is shorter than the trace or not.
func TestDelayedTrace(t *testing.T) {
	trace, err := ParseTrace(strings.NewReader("100\n110\n250\n400\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []time.Duration{0, 130 * time.Millisecond, 900 * time.Millisecond} {
		l, err := NewLink[int](LinkConfig{Trace: trace}.Delayed(d))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			l.Push(d, 1500, i)
		}
		for i, want := range []time.Duration{100, 110, 250, 400, 500} {
			at := l.Next()
			if _, _, ok := l.Pop(at); !ok || at != d+want*time.Millisecond {
				t.Errorf("delayed by %v, packet %d comes at %v, want %v", d, i, at, d+want*time.Millisecond)
			}
		}
	}
}
