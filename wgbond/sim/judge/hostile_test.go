package judge

import (
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim/tcp"
)

// TestHostileRelay: a relay that harms a tenth of what it carries costs the
// bond no more than itself: the goodput stays at .95 of what the other path
// carries, or above, from the first moment on.
func TestHostileRelay(t *testing.T) {
	for _, test := range []struct {
		name string
		does Hostile
	}{
		{"alters", Hostile{Alter: .1}},
		{"forges", Hostile{Forge: .1}},
		{"drops", Hostile{Drop: .1}},
		{"duplicates", Hostile{Duplicate: .1}},
		{"reorders", Hostile{Reorder: .1}},
		{"delays", Hostile{Delay: .1, Late: 200 * time.Millisecond}},
	} {
		for name, control := range map[string]func(int) tcp.Control{"cubic": tcp.NewCubic, "bbr": tcp.NewBBR} {
			for _, upload := range []bool{false, true} {
				way := "down"
				if upload {
					way = "up"
				}
				t.Run(test.name+"/"+name+"/"+way, func(t *testing.T) {
					t.Parallel()
					s := bulk("hostile-"+test.name, steady("own", 10, 40*ms), steady("lent", 10, 60*ms))
					s.TCP, s.Upload, s.Warmup, s.Time = control, upload, 0, 40*time.Second
					own := mustRun(t, s.Stock(0))
					s.Paths[1].Hostile = &test.does
					r := mustRun(t, bonded(s))
					lent := r.Client.Paths[1]
					t.Logf("%.2f Mbit/s, own path alone %.2f; ping p50 %v; the client says %+v", r.Goodput/mbit, own.Goodput/mbit, r.Ping.P50, lent.State)
					if r.Goodput < .95*own.Goodput {
						t.Errorf("%.2f Mbit/s, the path of our own alone carries %.2f", r.Goodput/mbit, own.Goodput/mbit)
					}
				})
			}
		}
	}
}
