package sim

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// ticker is a node that acts every period, n times.
type ticker struct {
	name   string
	next   time.Duration
	period time.Duration
	left   int
	log    *[]string
}

func (t *ticker) Next() time.Duration {
	if t.left == 0 {
		return Never
	}
	return t.next
}

func (t *ticker) Step(now time.Duration) {
	*t.log = append(*t.log, fmt.Sprint(t.name, now.Milliseconds()))
	t.next, t.left = t.next+t.period, t.left-1
}

func TestLoopOrder(t *testing.T) {
	var log []string
	note := func(s string) func() { return func() { log = append(log, s) } }
	var l Loop
	l.Add(&ticker{"a", 3 * ms, 3 * ms, 3, &log}, &ticker{"b", 2 * ms, 2 * ms, 4, &log})
	l.At(6*ms, note("x"))
	l.At(6*ms, note("y"))
	l.At(0, func() { l.At(0, note("nested")) })
	l.Run(Never, nil)
	got := strings.Join(log, " ")
	if want := "nested b2 a3 b4 x y a6 b6 b8 a9"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if l.Now() != 9*ms {
		t.Errorf("the time is %v, want that of the last step, 9ms", l.Now())
	}
	l.Run(20*ms, nil)
	if l.Now() != 20*ms {
		t.Errorf("the time is %v, want 20ms", l.Now())
	}
}

func TestLoopStops(t *testing.T) {
	var log []string
	var l Loop
	l.Add(&ticker{"a", 0, ms, 100, &log})
	l.Run(Never, func() bool { return len(log) == 3 })
	if l.Now() != 2*ms || len(log) != 3 {
		t.Errorf("stopped at %v after %v", l.Now(), log)
	}
	l.Run(5*ms, nil)
	if got := strings.Join(log, " "); got != "a0 a1 a2 a3 a4 a5" {
		t.Errorf("went on with %s", got)
	}
}

func TestLoopSaysWhoIsStuck(t *testing.T) {
	defer func() {
		if got := fmt.Sprint(recover()); !strings.Contains(got, "*sim.ticker is due again and again") {
			t.Errorf("panic %q does not name the node", got)
		}
	}()
	var log []string
	var l Loop
	l.Add(&ticker{"a", ms, 0, -1, &log})
	l.Run(Never, nil)
}

func TestHop(t *testing.T) {
	link, err := NewLink[string](LinkConfig{Rate: 12e6, Delay: ms})
	if err != nil {
		t.Fatal(err)
	}
	var log []string
	var l Loop
	l.Add(Hop[string]{link, func(now time.Duration, size int, p string) {
		log = append(log, fmt.Sprint(p, " ", size, " ", now))
	}})
	l.At(5*ms, func() { link.Push(l.Now(), 1500, "a"); link.Push(l.Now(), 750, "b") })
	l.Run(Never, nil)
	if got, want := strings.Join(log, ", "), "a 1500 7ms, b 750 7.5ms"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
