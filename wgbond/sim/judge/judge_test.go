package judge

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/earliest"
	"github.com/wg-bond/wg-bond/wgbond/sim"
	"github.com/wg-bond/wg-bond/wgbond/sim/tcp"
)

func mustRun(t testing.TB, s Scenario) *Report {
	t.Helper()
	r, err := Run(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func bonded(s Scenario) Scenario {
	s.Scheduler = func() schedulers.Scheduler { return earliest.New() }
	return s
}

func TestBenefit(t *testing.T) {
	for _, test := range []struct {
		g    float64
		cs   []float64
		want float64
	}{
		{10, []float64{10, 5}, 0}, {15, []float64{10, 5}, 1}, {12.5, []float64{5, 10}, 0.5},
		{5, []float64{10, 5}, -0.5}, {0, []float64{10, 5}, -1}, {5, []float64{5}, 0},
	} {
		if got := Benefit(test.g, test.cs...); got != test.want {
			t.Errorf("Benefit(%v, %v) = %v, want %v", test.g, test.cs, got, test.want)
		}
	}
}

// Stock WireGuard over one path is plain TCP over a link: the same exact times
// as without a tunnel (tcp.TestDownload), but for the padding of small packets,
// pings and fetches. The pings that are lost are under way at the end.
func TestStock(t *testing.T) {
	for _, test := range []struct {
		s    Scenario
		want string
	}{
		{Seed().Stock(0), "7.368586669s"},
		{Seed().Stock(1), "7.372998189s"}, // 1 ms more of RTT
		{Equal().Stock(0), "3.3160 Mbit/s, ping p50 181.058ms, 2 lost"},
		{Unequal().Stock(0), "18.4379 Mbit/s, ping p50 153.603ms, 2 lost"},
		{Unequal().Stock(1), "4.5730 Mbit/s, ping p50 229.363ms, 3 lost"},
	} {
		r := mustRun(t, test.s)
		got := fmt.Sprintf("%.4f Mbit/s, ping p50 %v, %d lost", r.Goodput/1e6, r.Ping.P50.Round(time.Microsecond), r.Lost)
		if r.Done != sim.Never {
			got = r.Done.String()
		}
		if got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", r.Name, got, test.want)
		}
	}
}

// TestUpload mirrors a download over a symmetrical path.
func TestUpload(t *testing.T) {
	down := mustRun(t, Equal().Stock(0))
	s := Equal().Stock(0)
	s.Upload = true
	up := mustRun(t, s)
	// Pings share the queue with the data either way; only the half round trip
	// at the start differs.
	if d := up.Goodput/down.Goodput - 1; d < -0.002 || d > 0.002 {
		t.Errorf("up %v, down %v", up, down)
	}
}

// TestRepeats: the same scenario, the same report, engine and all.
func TestRepeats(t *testing.T) {
	s := bonded(Lossy(0.01, 0))
	s.Time = 15 * time.Second
	s.Rekey = 4 * time.Second
	one, two := mustRun(t, s), mustRun(t, s)
	if one.String() != two.String() {
		t.Errorf("first\n%v\nsecond\n%v", one, two)
	}
	s.Seed++
	if other := mustRun(t, s); other.String() == one.String() {
		t.Error("another seed makes no difference")
	}
}

func TestErrorsNameThePath(t *testing.T) {
	s := Equal()
	s.Paths[1] = s.Paths[1].With(func(c *sim.LinkConfig) { c.Loss = 2 })
	_, err := Run(s)
	if want := "judge: equal: path 1 (b): link: Loss 2: want a ratio from 0 to 1; 1 % is 0.01"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// BenchmarkSim is the table of scenarios: aggregation benefit, factor over the
// best path, ping, the longest gap in delivery.
//
//	make bench-sim
//	go test ./wgbond/sim/judge -run - -bench Sim/outage/cubic -record /tmp && bondlab replay /tmp/outage-cubic-server.jsonl
func BenchmarkSim(b *testing.B) {
	controls := []struct {
		name string
		make func(int) tcp.Control
	}{{"cubic", tcp.NewCubic}, {"bbr", tcp.NewBBR}}
	for _, s := range []Scenario{
		Seed(), Equal(), Unequal(), Lossy(0.01, 0), Lossy(0.01, 1), Lossy(0.001, 0), Extreme(), Four(), Cold(), Remembered(Cold(), 1), ColdFour(), Remembered(ColdFour(), 1), Outage(),
		Modelled(1), Modelled(2), BadNeighbour(1), BadNeighbour(2),
	} {
		for _, c := range controls {
			b.Run(s.Name+"/"+c.name, func(b *testing.B) {
				s := recorded(b, bonded(s), c.name)
				s.TCP = c.make
				for b.Loop() { // once: it is the same every time
					v, err := Judge(s, Lossless)
					if err != nil {
						b.Fatal(err)
					}
					r := v.Bond
					b.ReportMetric(v.AB, "AB")
					b.ReportMetric(v.Factor, "×best")
					b.ReportMetric(r.Goodput/1e6, "Mbit/s")
					b.ReportMetric(r.Gap.Seconds()*1e3, "gap-ms")
					if r.Pings > 0 {
						b.ReportMetric(r.Ping.P50.Seconds()*1e3, "ping50-ms")
						b.ReportMetric(r.Ping.P95.Seconds()*1e3, "ping95-ms")
					}
					if r.Done != sim.Never {
						b.ReportMetric(r.Done.Seconds(), "s")
					}
					if testing.Verbose() {
						b.Logf("%v", r)
					}
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// TestBehind: two paths behind one link get one link's worth.
func TestBehind(t *testing.T) {
	s := Shared()
	s.Time, s.Warmup = 5*time.Second, time.Second
	for i := range s.Paths { // alone, either is all of it
		if r := mustRun(t, s.Stock(i)); r.Goodput < 8.5*mbit {
			t.Errorf("%s: %.2f Mbit/s, want 8.5 or more of 9.24", r.Name, r.Goodput/mbit)
		}
	}
	if r := mustRun(t, bonded(s)); r.Goodput > 9.25*1.03*mbit || /* Warmup's end may release some at once */ r.Links[0].Down != r.Links[1].Down {
		t.Errorf("together more than there is: %v", r)
	}
	for _, change := range []func(*Path){
		func(p *Path) { p.Behind = "nobody" },
		func(p *Path) { p.Behind = "same" },
		func(p *Path) { p.Down = s.Paths[0].Down },
	} {
		bad := Shared()
		change(&bad.Paths[1])
		if _, err := Run(bad); err == nil || !strings.Contains(err.Error(), "want the name of an earlier path") {
			t.Errorf("%+v: %v", bad.Paths[1], err)
		}
	}
}
