package codel

import (
	"math"
	"testing"
	"time"
)

const ms = time.Millisecond

// TestLaw walks through a queue that stands at 60 ms, one packet a
// millisecond, and asserts when each drop falls.
func TestLaw(t *testing.T) {
	c := CoDel{Target: 50 * ms, Interval: 100 * ms}
	var drops []time.Duration
	for now := ms; now <= 500*ms; now += ms {
		if c.Drop(now, 60*ms, 10_000) {
			drops = append(drops, now)
		}
	}
	// Above target since 1 ms, so the first drop is an interval later; the second
	// an interval and the 60 ms twice; then interval/√n apart: 70.7, 57.7, 50,
	// 44.7 …, each met by the first packet at or after its time.
	want := []time.Duration{101 * ms, 321 * ms, 392 * ms, 450 * ms, 500 * ms}
	at := 101.0 + 2*60
	for n := 1; n < len(want); n++ {
		at += 100 / math.Sqrt(float64(n))
		if got := time.Duration(math.Ceil(at)) * ms; got != want[n] {
			t.Fatalf("the table is off: drop %d at %v, not %v", n, got, want[n])
		}
	}
	if len(drops) != len(want) {
		t.Fatalf("drops at %v, want %v", drops, want)
	}
	for i := range want {
		if drops[i] != want[i] {
			t.Errorf("drop %d at %v, want %v", i, drops[i], want[i])
		}
	}
}

func TestNoDrop(t *testing.T) {
	for _, tc := range []struct {
		name    string
		sojourn func(now time.Duration) time.Duration
		backlog int
	}{
		{"below target", func(time.Duration) time.Duration { return 49 * ms }, 10_000},
		{"one packet only", func(time.Duration) time.Duration { return time.Second }, 1500},
		{"a dip below target once an interval", func(now time.Duration) time.Duration {
			if now%(100*ms) == 0 {
				return 40 * ms
			}
			return 200 * ms
		}, 10_000},
	} {
		c := CoDel{Target: 50 * ms, Interval: 100 * ms}
		for now := ms; now < time.Second; now += ms {
			if c.Drop(now, tc.sojourn(now), tc.backlog) {
				t.Errorf("%s: dropped at %v", tc.name, now)
				break
			}
		}
	}
}

// TestResume: a queue that stands again soon after is dropped from at the rate
// that controlled it before.
func TestResume(t *testing.T) {
	c := CoDel{Target: 50 * ms, Interval: 100 * ms}
	now := ms
	for ; now < 600*ms; now += ms {
		c.Drop(now, 60*ms, 10_000)
	}
	learned := c.count
	if learned < 5 {
		t.Fatalf("only %d drops in 600 ms", learned)
	}
	c.Drop(now, 10*ms, 10_000)
	for end := now + 150*ms; now < end; now += ms {
		c.Drop(now, 60*ms, 10_000)
	}
	if c.count < learned-1 {
		t.Errorf("began again at %d drops, had learned %d", c.count, learned)
	}
}

// TestFloor: a backlog below Floor is left alone until it has waited for Patience.
func TestFloor(t *testing.T) {
	for _, x := range []struct {
		name    string
		sojourn time.Duration
		backlog int
		drops   bool
	}{
		{"below the floor", 60 * ms, 10_000, false},
		{"above it", 60 * ms, 10_001, true},
		{"below it for too long", 200 * ms, 10_000, true},
	} {
		c := CoDel{Target: 50 * ms, Interval: 100 * ms, Floor: 10_000, Patience: 200 * ms}
		dropped := false
		for now := ms; now <= 500*ms; now += ms {
			dropped = c.Drop(now, x.sojourn, x.backlog) || dropped
		}
		if dropped != x.drops {
			t.Errorf("%s: dropped %v, want %v", x.name, dropped, x.drops)
		}
	}
}
