package judge

import (
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim/tcp"
)

// TestHostileRelay: a relay that harms a tenth of what it carries costs the
// bond no more than itself: the goodput stays at .95 of what the other path
// carries, or above, after the first five seconds.
func TestHostileRelay(t *testing.T) {
	for _, test := range []struct {
		name  string
		does  Hostile
		named bool
	}{
		{"alters", Hostile{Alter: .1}, true},
		{"forges", Hostile{Forge: .1}, true},
		{"drops", Hostile{Drop: .1}, true},
		{"duplicates", Hostile{Duplicate: .1}, false},
		{"reorders", Hostile{Reorder: .1}, false},
		{"delays", Hostile{Delay: .1, Late: 200 * time.Millisecond}, true},
	} {
		for name, control := range map[string]func(int) tcp.Control{"cubic": tcp.NewCubic, "bbr": tcp.NewBBR} {
			for _, upload := range []bool{false, true} {
				if upload && test.does.Alter+test.does.Forge == 0 {
					continue // the engine's halves are the same; these two need the peer's verdict
				}
				way := "down"
				if upload {
					way = "up"
				}
				t.Run(test.name+"/"+name+"/"+way, func(t *testing.T) {
					t.Parallel()
					s := bulk("hostile-"+test.name, steady("own", 10, 40*ms), steady("lent", 10, 60*ms))
					s.TCP, s.Upload, s.Warmup, s.Time = control, upload, 5*time.Second, 60*time.Second
					own := mustRun(t, s.Stock(0))
					s.Paths[1].Hostile, s.Paths[1].Config.Lent = &test.does, true
					r := mustRun(t, bonded(s))
					lent, seen := r.Client.Paths[1], r.Server.Paths[1]
					t.Logf("%.2f Mbit/s, own path alone %.2f; ping p50 %v; the client says %q, the server %q", r.Goodput/mbit, own.Goodput/mbit, r.Ping.P50, lent.Charge, seen.Charge)
					if named := lent.Charge != "" && seen.Charge != ""; named != test.named {
						t.Errorf("the client says %q of it, the server %q", lent.Charge, seen.Charge)
					}
					if r.Client.Paths[0].Charge != "" || r.Server.Paths[0].Charge != "" {
						t.Errorf("the honest path is accused: %q, %q", r.Client.Paths[0].Charge, r.Server.Paths[0].Charge)
					}
					if r.Goodput < .95*own.Goodput {
						t.Errorf("%.2f Mbit/s, the path of our own alone carries %.2f", r.Goodput/mbit, own.Goodput/mbit)
					}
				})
			}
		}
	}
}
