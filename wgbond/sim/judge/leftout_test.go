package judge

import (
	"fmt"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim"
)

// TestLeftOutPathImproves: a far path that was too slow to be worth its delay, and
// so carries nothing, is used within so many seconds of having become fast.
func TestLeftOutPathImproves(t *testing.T) {
	for _, lent := range []bool{false, true} {
		t.Run(fmt.Sprintf("lent=%v", lent), func(t *testing.T) {
			t.Parallel()
			far := steady("far", 1, 120*ms).With(func(c *sim.LinkConfig) {
				to, queue := 10*mbit, 187_500
				c.Changes = []sim.Change{{At: 10 * time.Second, Rate: &to, Queue: &queue}}
			})
			far.Config.Lent = lent
			s := bonded(bulk("improves", steady("near", 20, 30*ms), far))
			s.Time = 45 * time.Second
			r := mustRun(t, s)
			before, after := r.Rate(5*time.Second, 10*time.Second)/mbit, r.Rate(30*time.Second, 45*time.Second)/mbit
			t.Logf("%.2f Mbit/s before, %.2f after", before, after)
			if before < 17.5 || after < 24 {
				t.Errorf("%.2f Mbit/s, then %.2f, want 17.5 and 24 of the 27.7 that both carry", before, after)
			}
		})
	}
}

// TestLossyLent: a lent path that loses some by chance adds nearly all that it
// has. The first run on the real kernel had .3 of it: every lost packet was taken
// for its owner's.
func TestLossyLent(t *testing.T) {
	for _, loss := range []float64{0.01, 0.02} {
		t.Run(fmt.Sprint(loss), func(t *testing.T) {
			t.Parallel()
			s := short(bonded(Lossy(loss, 1)))
			s.Paths[1].Config.Lent = true
			got, alone := goodput(t, s), goodput(t, s.Stock(0))
			ab := (got/alone - 1) * 20 / 5
			t.Logf("AB %.2f", ab)
			if ab < 0.8 {
				t.Errorf("AB %.2f over 20 and 5 Mbit/s with %v of loss on the lent one, want .8", ab, loss)
			}
		})
	}
}
