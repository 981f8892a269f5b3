package main

import (
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
	"github.com/wg-bond/wg-bond/schedulers/schedtest"
)

func make5GB() *scheduler {
	inner, _ := builtin.New("")
	return &scheduler{config: config{metered: 5e9, byName: map[string]float64{"lte": 1e9}}, inner: inner}
}

func TestConformance(t *testing.T) {
	schedtest.Run(t, func(testing.TB) schedulers.Scheduler { return make5GB() })
}

func snapshot() schedulers.Snapshot {
	s := schedulers.Snapshot{Seq: 1, Now: time.Hour, FeedbackInterval: 10e6}
	for id, name := range []string{"dsl", "lte"} {
		s.Paths = append(s.Paths, schedulers.Path{
			ID: schedulers.PathID(id), Name: name, State: schedulers.Active, Rate: 1e6, MinRTT: 40e6, SRTT: 40e6, Weight: 1, MTU: 1420,
		})
	}
	return s
}

// The free path is cheaper until it queues for as long as spill.
func TestPrefersFree(t *testing.T) {
	s, sched := snapshot(), make5GB()
	var p schedulers.Plan
	sched.Plan(&s, &p)
	free, dear := p.Classes[schedulers.Bulk].Paths[0], p.Classes[schedulers.Bulk].Paths[1]
	if !free.Use || !dear.Use {
		t.Fatalf("plan %+v", p.Classes[schedulers.Bulk])
	}
	if got := dear.Base - free.Base; got != spill {
		t.Errorf("the metered path is dearer by %v ns", got)
	}
	if atCap := free.Base + free.PerByte*float64(free.Cap); atCap < dear.Base {
		t.Errorf("the free path is full at a cost of %v ns, before the metered one's %v is worth it", atCap, dear.Base)
	}
	if err := schedulers.Validate(&p, &s); err != nil {
		t.Error(err)
	}
}

// A month's traffic by the metered path costs no more than the budget.
func TestBudget(t *testing.T) {
	s, sched := snapshot(), make5GB()
	const step = time.Minute
	for at := time.Duration(0); at < month; at += step {
		s.Seq++
		s.Now += step
		var p schedulers.Plan
		sched.Plan(&s, &p)
		if p.Classes[schedulers.Bulk].Paths[1].Use {
			s.Paths[1].Sent += 500_000 // as much as goes, in 5 of 6 minutes
			s.Paths[1].Received += 100_000
		}
	}
	spent := float64(s.Paths[1].Sent + s.Paths[1].Received)
	if spent > 1e9*1.01 || spent < 1e9*.95 {
		t.Errorf("%.0f MB spent of 1000", spent/1e6)
	}
}

// Without the other path, an empty purse does not matter.
func TestOnlyPath(t *testing.T) {
	s, sched := snapshot(), make5GB()
	sched.accounts[1] = account{open: true, at: s.Now, left: -1e9}
	s.Paths[0].State = schedulers.Dead
	var p schedulers.Plan
	sched.Plan(&s, &p)
	if !p.Classes[schedulers.Bulk].Paths[1].Use {
		t.Error("nothing is sent while the only path that works has spent its budget")
	}
}
