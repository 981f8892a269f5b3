package dispatch

import (
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/earliest"
)

// The default scheduler's plan, followed packet by packet at the sum of the
// links' rates (20 Mbit/s, one-way 15 ms, and 5 Mbit/s, 60 ms): both links are
// filled, and packets arrive in order to within the time of a few packets.
func TestEarliestArrivesInOrder(t *testing.T) {
	const size, seconds = 1500, 10
	rate := []float64{20e6 / 8, 5e6 / 8}
	delay := []time.Duration{15 * ms, 60 * ms}
	transmit := func(id schedulers.PathID) time.Duration {
		return time.Duration(size / rate[id] * 1e9)
	}

	var e Executor
	s := schedulers.Snapshot{}
	for id := range rate {
		s.Paths = append(s.Paths, schedulers.Path{
			ID: schedulers.PathID(id), State: schedulers.Active, Rate: rate[id],
			MinRTT: 2 * delay[id], SRTT: 2 * delay[id], MinOWD: delay[id], OWD: delay[id],
		})
	}
	var free [2]time.Duration // when each link has sent what it was given
	var carried [2]int
	var newest, late time.Duration // latest arrival; by how much one came after it though sent before
	every, next := time.Duration(size/(rate[0]+rate[1])*1e9), time.Duration(0)
	for now := time.Duration(0); now < seconds*time.Second; now += every {
		if now >= next {
			var p schedulers.Plan
			s.Seq++
			earliest.New().Plan(&s, &p)
			e.SetPlan(now, &p)
			next = now + 25*ms
		}
		id, ok := e.Pick(now, schedulers.Bulk, size, 0)
		if !ok {
			t.Fatalf("no path at %v", now)
		}
		e.Charge(now, id, size)
		carried[id]++
		free[id] = max(free[id], now) + transmit(id)
		arrives := free[id] + delay[id]
		if now > time.Second { // once both links are filled
			late = max(late, newest-arrives)
		}
		newest = max(newest, arrives)
	}
	total := carried[0] + carried[1]
	if share := float64(carried[0]) / float64(total); share < 0.79 || share > 0.81 {
		t.Errorf("the fast link carried %v of the packets, want 0.8", share)
	}
	// A plan counts what waits before a packet, not the packet itself: 2.4 ms
	// on the slow link.
	if limit := transmit(1) + transmit(0); late > limit {
		t.Errorf("a packet arrived %v before one sent earlier, want at most %v", late, limit)
	}
	for id := range rate {
		if wait := free[id] - seconds*time.Second; wait > 60*ms {
			t.Errorf("link %d has a queue of %v", id, wait)
		}
	}
}
