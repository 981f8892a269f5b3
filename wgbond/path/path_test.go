package path

import (
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

const ms = time.Millisecond

// measure tells p of a round trip: sent at sent, owd later at the peer, whose
// clock is offset ahead, reported at once, back after back.
func measure(p *Path, sent, owd, back, offset time.Duration) (now time.Duration) {
	arrived := wire.ClockOf(sent + owd + offset)
	now = sent + owd + back
	p.Measured(now, sent, arrived, arrived)
	return now
}

func TestEstimates(t *testing.T) {
	p := New(0)
	if c := p.Expect(0); c != 0 {
		t.Errorf("expects %d before any measurement", c)
	}
	const offset = time.Hour
	now := measure(p, 1000*ms, 30*ms, 20*ms, offset)
	if rtt, dev := p.RTT(); rtt != 50*ms || dev != 25*ms {
		t.Errorf("first round trip: %v ± %v, want 50ms ± 25ms", rtt, dev)
	}
	now = measure(p, now, 38*ms, 20*ms, offset)
	// RFC 6298: var += (8-25)/4, srtt += 8/8; OWD += 8/4.
	if rtt, dev := p.RTT(); rtt != 51*ms || dev != 20750*time.Microsecond {
		t.Errorf("second round trip: %v ± %v, want 51ms ± 20.75ms", rtt, dev)
	}
	owd, lowest, ok := p.OWD()
	if !ok || owd != offset+32*ms || lowest != offset+30*ms {
		t.Errorf("one-way delay %v, lowest %v", owd-offset, lowest-offset)
	}
	if got, want := p.Expect(now), wire.ClockOf(now+30*ms+offset); got != want {
		t.Errorf("expects arrival at %d, want %d", got, want)
	}
	if rtt, age := p.MinRTT(now); rtt != 50*ms || age != now-1050*ms {
		t.Errorf("lowest round trip %v of %v ago", rtt, age)
	}
	p.Measured(now, now+ms, 0, 0)
	if rtt, _ := p.RTT(); rtt != 51*ms {
		t.Errorf("a report from the future changed the round trip to %v", rtt)
	}
}

// TestMinimumAges: a lower value stands for ten seconds (and one more for
// ProbeRTT to meet it again); then the lowest of the later ones takes over.
func TestMinimumAges(t *testing.T) {
	p := New(0)
	measure(p, 0, 10*ms, 10*ms, 0)
	for now := time.Second; now < 20*time.Second; now += 100 * ms {
		measure(p, now, 20*ms, 20*ms, 0)
		rtt, _ := p.MinRTT(now)
		want := 20 * ms
		if now+40*ms > 11*time.Second+20*ms {
			want = 40 * ms
		}
		if rtt != want {
			t.Fatalf("at %v the lowest round trip is %v, want %v", now, rtt, want)
		}
	}
}

// TestMinimaAgeBesideAnyOffset: that of the one-way delay, too, which holds the
// difference of the clocks.
func TestMinimaAgeBesideAnyOffset(t *testing.T) {
	const offset = 1000 * time.Hour
	p := New(0)
	measure(p, 0, 10*ms, 10*ms, offset)
	for now := time.Second; now < 20*time.Second; now += 100 * ms {
		measure(p, now, 20*ms, 20*ms, offset)
	}
	if _, lowest, _ := p.OWD(); lowest != offset+20*ms {
		t.Errorf("after 20 s the lowest one-way delay is %v, want 20ms", lowest-offset)
	}
}

// TestLate: reports that are late are not the path's own queue.
func TestLate(t *testing.T) {
	const offset = time.Hour
	p := New(0)
	if p.Late() != 0 || p.Forward(0, wire.ClockOf(time.Second)) != 0 {
		t.Error("a path that was never measured has late reports")
	}
	now := measure(p, 0, 30*ms, 20*ms, offset)
	for range 50 {
		now = measure(p, now, 30*ms, 65*ms, offset)
	}
	if late := p.Late(); late < 44*ms || late > 45*ms {
		t.Errorf("reports that take 45 ms longer are late by %v", late)
	}
	if got := p.Forward(now, wire.ClockOf(now+offset+37*ms)); got != 57*ms {
		t.Errorf("a round trip of 50 ms and 7 ms of queue on the way is %v", got)
	}
	if age := p.Empty(now); age > 100*ms {
		t.Errorf("an empty path was empty %v ago", age)
	}
	for range 50 { // and the path's own queue is no late report
		now = measure(p, now, 90*ms, 20*ms, offset)
	}
	if p.Late() > ms {
		t.Errorf("reports that are not late are late by %v", p.Late())
	}
	if age := p.Empty(now); age < 50*90*ms {
		t.Errorf("a path that queues was empty %v ago", age)
	}
}

func TestLife(t *testing.T) {
	const fb = 10 * ms
	p := New(0)
	at := func(want schedulers.PathState, now time.Duration) {
		t.Helper()
		if p.State() != want {
			t.Fatalf("at %v the path is %v, want %v", now, p.State(), want)
		}
	}
	at(schedulers.Probing, 0)
	p.Ping(0, true)
	if p.NextPing() != pingSuspect {
		t.Errorf("a probed path is pinged again at %v", p.NextPing())
	}
	now := measure(p, 0, 30*ms, 30*ms, 0)
	if !p.Confirmed(now, -1) {
		t.Error("the first answer did not bring the path to life")
	}
	at(schedulers.Active, now)
	if _, ok := p.NextCheck(fb, now); ok {
		t.Error("nothing is waited for, yet a check is due")
	}

	// Silence: 60 + 2·30 + 2·10 + 10 = 150 ms after something was sent comes a
	// ping, and when that is unanswered as long the path is suspect.
	p.Sent(now)
	due, ok := p.NextCheck(fb, now)
	if !ok || due != now+150*ms {
		t.Fatalf("asked after %v, want 150ms", due-now)
	}
	if p.Check(due, fb, due) || p.NextPing() != due {
		t.Fatalf("the ping is due at %v, want %v; state %v", p.NextPing(), due, p.State())
	}
	p.Ping(due, false)
	due, ok = p.NextCheck(fb, due)
	if !ok || due != now+300*ms {
		t.Fatalf("suspect after %v, want 300ms", due-now)
	}
	if p.Check(due-1, fb, due) {
		t.Error("suspect too early")
	}
	if !p.Check(due, fb, due) {
		t.Error("not suspect when due")
	}
	at(schedulers.Suspect, due)
	if p.NextPing() != due {
		t.Errorf("a suspect is pinged at %v, not at once", p.NextPing())
	}
	p.Check(due+deadAfter, fb, due)
	at(schedulers.Dead, due+deadAfter)
	if !p.Confirmed(due+4*time.Second, -1) {
		t.Error("an answer did not bring the dead path back")
	}
	at(schedulers.Active, due+4*time.Second)
	if !p.Down(due+5*time.Second) || p.Down(due+5*time.Second) {
		t.Error("down counts once")
	}
	at(schedulers.Suspect, due+5*time.Second)
}

// TestProgressRestartsWait: while packets are in flight, each report gives the
// path new time.
func TestProgressRestartsWait(t *testing.T) {
	p := New(0)
	now := measure(p, 0, 30*ms, 30*ms, 0)
	p.Confirmed(now, -1)
	p.Sent(now)
	p.Confirmed(now+200*ms, now+10*ms)
	p.Sent(now + 205*ms) // together with what waits: as likely lost by one loss
	p.Sent(now + 210*ms)
	due, _ := p.NextCheck(10*ms, now+200*ms)
	if want := now + 200*ms + p.SuspectAfter(10*ms); due != want {
		t.Errorf("suspect at %v, want %v", due, want)
	}
}

// TestReportsMissing: what tells of the path may be lost on another. While the
// path is heard and nothing at all is reported, it is not suspect.
func TestReportsMissing(t *testing.T) {
	const fb = 10 * ms
	p := New(0)
	now := measure(p, 0, 30*ms, 30*ms, 0)
	p.Confirmed(now, -1)
	p.Sent(now)
	p.Sent(now + 20*ms)
	plain := now + p.SuspectAfter(fb)
	p.Heard(plain - 10*ms)
	if at, _ := p.NextCheck(fb, now-ms); at != plain-10*ms+heardLately {
		t.Errorf("without reports suspect at %v, want %v after it was heard", at, heardLately)
	}
	p.Heard(plain - 30*ms)
	if at, _ := p.NextCheck(fb, now-ms); at != plain+reportsMissing {
		t.Errorf("without reports suspect at %v, want %v", at, plain+reportsMissing)
	}
	if at, _ := p.NextCheck(fb, now+ms); at != plain {
		t.Errorf("with reports of others suspect at %v, want %v", at, plain)
	}
	p.Grace(70 * ms)
	if at, _ := p.NextCheck(fb, now+80*ms); at != plain+70*ms {
		t.Errorf("after 70 ms of nobody being there suspect at %v, want %v", at, plain+70*ms)
	}
}
