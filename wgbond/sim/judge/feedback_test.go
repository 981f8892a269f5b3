package judge

import (
	"bytes"
	"io"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/sim"
	"github.com/wg-bond/wg-bond/wgbond/trace"
)

// TestFeedbackIsLittle: with receipts on, feedback is in every second at most 2 %
// of the traffic that it is about, or a message in 10 ms, whichever is larger (but
// for the 300 ms in which a path that falls silent may have died with what it was
// given: then it goes by two); and it goes neither by a path that is much later than another nor by one that has
// been dark for half a second. Reached: 100 messages with 31 kB for 4.7 MB, 99
// with 15 kB for 180 kB.
func TestFeedbackIsLittle(t *testing.T) {
	const long = 10 * time.Second
	dark := sim.Outage{From: 4 * time.Second, To: 8 * time.Second}
	for _, test := range []struct {
		s        Scenario
		not      int // a path that feedback does not go by …
		from, to time.Duration
		twice    int // messages by a second path, in a second
	}{
		{s: bulk("slow", steady("a", 0.5, 60*ms), steady("b", 1, 100*ms)), not: -1, to: long},
		{s: Four(), not: -1, to: long},
		{s: Extreme(), not: 1, to: long},
		{
			s: bulk("outage", steady("stays", 10, 40*ms), steady("goes", 10, 40*ms).With(func(c *sim.LinkConfig) {
				c.Outages = []sim.Outage{dark}
			})),
			not: 1, from: dark.From + 500*ms, to: dark.To, twice: 30,
		},
	} {
		t.Run(test.s.Name, func(t *testing.T) {
			t.Parallel()
			s := bonded(test.s)
			s.Fetch, s.Time = nil, long
			for i := range s.Paths {
				s.Paths[i].Config.Lent = true
			}
			var seconds [14]struct{ messages, bytes, traffic int }
			asked, astray, receipts := 0, 0, 0
			for e := range events(t, s, wgbond.Client) { // who receives
				x := &seconds[e.T/time.Second]
				switch v := e.Event.(type) {
				case *trace.Got:
					x.traffic += v.Size
				case *trace.ControlSent:
					if has(v, "receipt") {
						receipts++
					}
					if !has(v, "feedback") {
						continue
					}
					x.messages++
					x.bytes += v.Size + overhead
					if at := e.T - s.settle(); at >= test.from && at < test.to {
						asked++
						if int(v.Path) == test.not {
							astray++
						}
					}
				}
			}
			if asked == 0 || receipts == 0 {
				t.Fatalf("%d feedbacks, %d messages with receipts", asked, receipts)
			}
			for at, x := range seconds {
				if x.messages > 101+test.twice && x.bytes > x.traffic/50 {
					t.Errorf("%d feedbacks with %d bytes in second %d, for %d bytes", x.messages, x.bytes, at, x.traffic)
				}
			}
			if astray > 0 {
				t.Errorf("%d of %d feedbacks went by path %d", astray, asked, test.not)
			}
		})
	}
}

// TestFeedbackYields: what a sender says of the acknowledgements that come back is
// little beside what it sends. Reached: .6 % of two links of 3.6 Mbit/s; 1.5 % when
// they were reported as often as data.
func TestFeedbackYields(t *testing.T) {
	s := bonded(Equal())
	s.Time = 10 * time.Second
	sent, reports := 0, 0
	for e := range events(t, s, wgbond.Server) { // who sends
		switch v := e.Event.(type) {
		case *trace.Sent:
			sent += v.Size
		case *trace.ControlSent:
			if has(v, "feedback") {
				reports += v.Size + overhead
			}
		}
	}
	if reports == 0 || reports > sent/100 {
		t.Errorf("%d bytes of feedback beside %d of data, want 1 %% at most", reports, sent)
	}
}

// events runs s and gives what one end's trace says.
func events(t *testing.T, s Scenario, of wgbond.Role) iter.Seq[trace.Entry] {
	t.Helper()
	var b bytes.Buffer
	s.Record = func(r wgbond.Role) io.Writer {
		if r == of {
			return &b
		}
		return nil
	}
	mustRun(t, s)
	_, entries, err := trace.Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(trace.Entry) bool) {
		for e, err := range entries {
			if err != nil {
				t.Fatal(err)
			}
			if !yield(e) {
				return
			}
		}
	}
}

func has(m *trace.ControlSent, kind string) bool {
	return slices.ContainsFunc(m.Frames, func(f trace.Frame) bool { return f.Kind == kind })
}
