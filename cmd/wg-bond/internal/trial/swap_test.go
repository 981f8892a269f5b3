package trial

import (
	"fmt"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/plugins/choice"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/sim/judge"
)

// TestSwaps: 50 changes of the scheduler during one bulk download, in virtual
// time. Between schedulers of one kind, in this process and in another, nothing
// at all can be seen of them; between two kinds no packet is lost, and there is
// never a time of 50 ms without one.
func TestSwaps(t *testing.T) {
	if testing.Short() {
		t.Skip("a minute of virtual time, slow under the race detector")
	}
	const swaps = 50
	plugin := builtinPlugins(t)
	earliest, minrtt := here(t, "earliest"), here(t, "minrtt")
	run := func(swaps int, makers ...func() schedulers.Scheduler) *judge.Report {
		s := judge.Unequal()
		s.Time, s.Fetch = 20*time.Second, nil
		option := func(i int) *choice.Option { return &choice.Option{New: makers[i%len(makers)]} }
		c := choice.New(option(0))
		s.Scheduler = c.NewScheduler
		for i := range swaps {
			// At other times of a plan period each.
			at := s.Warmup + time.Duration(i)*283*time.Millisecond
			s.Script = append(s.Script, judge.Event{At: at, Do: func(time.Duration, *judge.World) { c.Use(option(i + 1)) }})
		}
		r, err := judge.Run(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Status().Swaps; got != uint64(swaps) {
			t.Fatalf("%d swaps, want %d", got, swaps)
		}
		return r
	}
	figures := func(r *judge.Report) string {
		return fmt.Sprintf("goodput %v, ping %v, gaps %v and %v, sender %+v, tunnel %+v, drops %v, bins %v",
			r.Goodput, r.Ping, r.Gap, r.PacketGap, r.Sender, r.Tunnel, r.Server.Drops, r.Bins)
	}
	alone := run(0, earliest)
	if got, want := figures(run(swaps, earliest, plugin("earliest"))), figures(alone); got != want {
		t.Errorf("with %d swaps of earliest for itself:\n%s\nwithout:\n%s", swaps, got, want)
	}
	r := run(swaps, earliest, minrtt, earliest, plugin("minrtt"))
	if r.PacketGap >= 50*time.Millisecond {
		t.Errorf("with %d swaps %v without a packet; without, %v", swaps, r.PacketGap, alone.PacketGap)
	}
	// What comes twice are copies, by which far paths are tried.
	n, twice := r.Server.Drops["codel"], r.Tunnel.Duplicates
	if r.Sender.Retransmits != n || r.Tunnel.Late > 0 || r.Client.OutOfOrder > twice || twice > 200 {
		t.Errorf("TCP sent %d segments again, where CoDel dropped %d packets to slow it down; %d out of order; %+v", r.Sender.Retransmits, n, r.Client.OutOfOrder, r.Tunnel)
	}
	if r.Goodput < .97*alone.Goodput {
		t.Errorf("%.2f Mbit/s with %d swaps, %.2f without", r.Goodput/1e6, swaps, alone.Goodput/1e6)
	}
}
