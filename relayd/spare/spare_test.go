package spare

import (
	"testing"
	"time"
)

// link is a link of a capacity, and what two want of it. The owner gets what it
// wants as far as the borrower's ceiling leaves it.
type link struct {
	t           *testing.T
	m           Meter
	now         time.Duration
	total, lent uint64
	ceiling     uint64
}

const (
	capacity = 1_000_000 // bytes per second
	trickle  = 6_000     // what a borrower sends at a ceiling of 0
)

// run lets the owner want so many bytes per second, and the borrower all it may
// have, for a time; it returns what each had.
func (l *link) run(owner float64, d time.Duration) (own, lent float64) {
	l.t.Helper()
	begun, lentBefore, ownBefore := l.now, l.lent, l.total-l.lent
	for end := l.now + d; l.now < end; l.now += Interval {
		may := float64(capacity)
		if l.ceiling != None {
			may = max(float64(l.ceiling), trickle)
		}
		borrows := min(may, capacity-min(owner, capacity/2)) // two who push share
		if owner+borrows <= capacity {
			borrows = min(may, capacity-owner)
		}
		owns := min(owner, capacity-borrows)
		l.total += uint64((owns + borrows) * Interval.Seconds())
		l.lent += uint64(borrows * Interval.Seconds())
		l.ceiling = l.m.Read(l.now, l.total, l.lent)
	}
	s := (l.now - begun).Seconds()
	return float64(l.total-l.lent-ownBefore) / s, float64(l.lent-lentBefore) / s
}

func TestMeter(t *testing.T) {
	l := &link{t: t, ceiling: None}
	l.run(0, 3*time.Second)
	if l.ceiling != None {
		t.Errorf("an idle owner leaves %d bytes/s, want no ceiling", l.ceiling)
	}
	// One who wants half keeps it, and nearly all the rest is lent.
	l.run(capacity/2, 5*time.Second)
	own, lent := l.run(capacity/2, 10*time.Second)
	if own < 0.49*capacity || lent < 0.45*capacity {
		t.Errorf("an owner of half had %.0f bytes/s, the borrower %.0f, of %d", own, lent, capacity)
	}
	// One who wants all gets it soon.
	l.run(capacity, 3*time.Second)
	own, lent = l.run(capacity, 20*time.Second)
	if own < 0.95*capacity || lent > 0.05*capacity {
		t.Errorf("an owner of all had %.0f bytes/s, the borrower %.0f, of %d", own, lent, capacity)
	}
	// What a second carries more than others is not lent for thirty.
	l.now += Interval
	for range 100 {
		l.total += uint64(0.97 * capacity * Interval.Seconds())
		l.ceiling = l.m.Read(l.now, l.total, l.lent)
		l.now += Interval
	}
	if l.ceiling > 0 {
		t.Errorf("beside an owner who has .97 of what was seen once, %d bytes/s are lent", l.ceiling)
	}
	// And leaves it again.
	l.run(0, time.Second)
	if l.ceiling != None {
		t.Errorf("a second after the owner has ended the ceiling is %d bytes/s, want none", l.ceiling)
	}
}

// TestMeterPauses: an owner's BBR sends a tenth for 0.3 s every ten seconds
// (ProbeRTT). That is no end of it, and when it makes up for that at once, no
// rise.
func TestMeterPauses(t *testing.T) {
	for _, want := range []float64{0.97 * capacity, capacity / 2} {
		l := &link{t: t, ceiling: None}
		l.run(0, 3*time.Second)
		l.run(want, 20*time.Second) // no push is due
		was := l.ceiling
		pass := func(owner float64, intervals int) {
			for range intervals {
				l.total += uint64(owner * Interval.Seconds())
				l.lent += uint64(min(float64(l.ceiling), capacity-want) * Interval.Seconds())
				l.total += uint64(min(float64(l.ceiling), capacity-want) * Interval.Seconds())
				l.ceiling = l.m.Read(l.now, l.total, l.lent)
				l.now += Interval
				if low := min(was, 0.4*capacity); l.ceiling < low || l.ceiling > was+0.05*capacity {
					t.Errorf("an owner of %.0f bytes/s that pauses leaves %d after it left %d", want, l.ceiling, was)
				}
			}
		}
		pass(want/10, 3)
		pass(min(want*3.7, 1.2*capacity), 1)
		pass(want, 20)
	}
}

// TestMeterSlips: what the device has counted and the forwarder not yet when the
// two are read is no use of the owner's; an owner's use beside it is.
func TestMeterSlips(t *testing.T) {
	const rate, packet = 450_000, 1494 // 3.6 Mbit/s, all of it lent
	var m Meter
	now, total, lent := time.Duration(0), uint64(0), uint64(0)
	read := func(i int, owner uint64) uint64 {
		now += Interval
		lent += rate / 10
		total += rate/10 + owner
		between := uint64(0)
		if i%7 == 3 || i%11 == 5 {
			between = packet * uint64(1+i%2)
		}
		return m.Read(now, total+between, lent)
	}
	for i := range 300 {
		if got := read(i, 0); got != None {
			t.Fatalf("after %v an idle owner leaves %d bytes/s, want no ceiling", now, got)
		}
	}
	for i := range 3 {
		if got := read(i, rate/50); i == 2 && got == None { // a fifth
			t.Errorf("an owner who has used a fifth of the link for %v is not heeded", 3*Interval)
		}
	}
}

// TestMeterPushes: the owner was there first, so that the capacity was never
// seen.
func TestMeterPushes(t *testing.T) {
	l := &link{t: t, ceiling: 0}
	for range 50 {
		l.now += Interval
		l.total += 30_000
		l.ceiling = l.m.Read(l.now, l.total, l.lent)
	}
	if l.ceiling > 0.1*capacity {
		t.Fatalf("nothing was seen beyond the owner's use, and yet %d bytes/s are lent", l.ceiling)
	}
	l.now += Interval
	l.run(0.3*capacity, 45*time.Second)
	own, lent := l.run(0.3*capacity, 10*time.Second)
	if own < 0.29*capacity || lent < 0.6*capacity {
		t.Errorf("the owner had %.0f bytes/s, the borrower %.0f, of %d", own, lent, capacity)
	}
}

// TestMeterCounterRestart: a device that came back counts from zero.
func TestMeterCounterRestart(t *testing.T) {
	l := &link{t: t, ceiling: None}
	l.run(capacity/2, 3*time.Second)
	l.total, l.lent = 0, 0
	if got := l.m.Read(l.now, 0, 0); got != None {
		t.Errorf("a counter that began anew gives %d", got)
	}
	l.now += Interval
	if got := l.m.Own(); got > capacity {
		t.Errorf("the owner is taken to use %.0f bytes/s of %d", got, capacity)
	}
}

func TestMeterAllocates(t *testing.T) {
	var m Meter
	now, total := time.Duration(0), uint64(0)
	if n := testing.AllocsPerRun(100, func() {
		now += Interval
		total += 1000
		m.Read(now, total, 0)
	}); n != 0 {
		t.Errorf("%v allocations a reading", n)
	}
}
