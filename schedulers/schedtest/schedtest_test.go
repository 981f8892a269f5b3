package schedtest

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

// plain uses all usable paths alike.
func plain(s *schedulers.Snapshot, p *schedulers.Plan) {
	p.Seq, p.Valid = s.Seq, time.Second
	for id := range schedulers.MaxPaths {
		for c := range p.Classes {
			p.Classes[c].Paths[id].Use = schedulers.Usable(s)>>id&1 != 0
		}
	}
}

func TestPlainPasses(t *testing.T) {
	Run(t, func(testing.TB) schedulers.Scheduler { return schedulers.Func(plain) })
}

// The suite must find what is wrong.
func TestFindsFaults(t *testing.T) {
	for _, c := range []struct {
		name, want string
		make       func() schedulers.Scheduler
	}{
		{"no answer", "answers snapshot 0", func() schedulers.Scheduler {
			return schedulers.Func(func(*schedulers.Snapshot, *schedulers.Plan) {})
		}},
		{"no path for a class", "class small", func() schedulers.Scheduler {
			return schedulers.Func(func(s *schedulers.Snapshot, p *schedulers.Plan) {
				plain(s, p)
				p.Classes[schedulers.Small] = schedulers.ClassPlan{}
			})
		}},
		{"gives up when nothing is active", "class small uses no path", func() schedulers.Scheduler {
			return schedulers.Func(func(s *schedulers.Snapshot, p *schedulers.Plan) {
				plain(s, p)
				for _, path := range s.Paths {
					if path.State == schedulers.Active {
						return
					}
				}
				p.Classes[schedulers.Small] = schedulers.ClassPlan{}
			})
		}},
		{"uses every path", "dead, or backups not needed", func() schedulers.Scheduler {
			return schedulers.Func(func(s *schedulers.Snapshot, p *schedulers.Plan) {
				plain(s, p)
				for _, path := range s.Paths {
					p.Classes[schedulers.Bulk].Copies |= 1 << path.ID
				}
			})
		}},
		{"divides by zero", "NaN", func() schedulers.Scheduler {
			return schedulers.Func(func(s *schedulers.Snapshot, p *schedulers.Plan) {
				plain(s, p)
				for _, path := range s.Paths {
					if path.Rate == 0 {
						p.Classes[schedulers.Bulk].Paths[path.ID].Base = math.NaN()
					}
				}
			})
		}},
		{"writes to the snapshot", "changed the snapshot to", func() schedulers.Scheduler {
			return schedulers.Func(func(s *schedulers.Snapshot, p *schedulers.Plan) {
				plain(s, p)
				for i := range s.Paths {
					s.Paths[i].Rate++
				}
			})
		}},
		{"keeps the snapshot's paths", "-1", func() schedulers.Scheduler {
			var kept []schedulers.Path
			return schedulers.Func(func(s *schedulers.Snapshot, p *schedulers.Plan) {
				plain(s, p)
				if len(kept) > 0 {
					p.Drain[0] = float64(kept[0].MinRTT)
				}
				kept = s.Paths
			})
		}},
		{"depends on more than it is shown", "differ", func() func() schedulers.Scheduler {
			calls := 0.0
			return func() schedulers.Scheduler {
				return schedulers.Func(func(s *schedulers.Snapshot, p *schedulers.Plan) {
					plain(s, p)
					calls++
					p.Drain[0] = calls
				})
			}
		}()},
	} {
		err := Check(c.make(), c.make(), Session(1, 200))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the suite says %v, want %q", c.name, err, c.want)
		}
	}
}
