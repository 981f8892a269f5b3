package judge

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/trace"
)

// TestRecord: a trace changes nothing, is the same every time, and adds up to
// what the session itself counted.
func TestRecord(t *testing.T) {
	s := bonded(Lossy(0.01, 0))
	s.Time, s.Warmup = 5*time.Second, 0
	plain := mustRun(t, s)
	var traces [2][2]bytes.Buffer
	var r *Report
	for i := range traces {
		s.Record = func(role wgbond.Role) io.Writer { return &traces[i][role] }
		r = mustRun(t, s)
		if got, want := r.String(), plain.String(); got != want {
			t.Fatalf("with a trace\n%s\nwithout\n%s", got, want)
		}
	}
	for role := range traces[0] {
		if !bytes.Equal(traces[0][role].Bytes(), traces[1][role].Bytes()) {
			t.Errorf("role %d: two traces of the same scenario differ", role)
		}
	}
	client, server := r.Client, r.Server
	for _, end := range []struct {
		role string
		in   *bytes.Buffer
		st   wgbond.Status
	}{{"client", &traces[0][wgbond.Client], client}, {"server", &traces[0][wgbond.Server], server}} {
		h, entries, err := trace.Read(end.in)
		if err != nil {
			t.Fatal(err)
		}
		if h.Role != end.role || h.Scenario != s.Name || h.Seed != s.Seed || len(h.Paths) != 2 {
			t.Errorf("header %+v", h)
		}
		var got, disorder, repairs, repaired uint64
		var lost [2]uint64
		var last time.Duration
		for e, err := range entries {
			if err != nil {
				t.Fatal(err)
			}
			if e.T < last {
				t.Fatalf("line %d: time goes back from %v to %v", e.Line, last, e.T)
			}
			last = e.T
			switch e := e.Event.(type) {
			case *trace.Got:
				got++
			case *trace.Disorder:
				disorder += e.Packets
			case *trace.Sent:
				if e.Tx > 1 {
					repairs++
				}
			case *trace.Repair:
				repaired++
			case *trace.Lost:
				lost[e.Path]++
			case *trace.Late:
				t.Errorf("%s: called %v late, in virtual time", end.role, e.By.Duration())
			case *trace.Unknown:
				t.Errorf("an event without a struct: %s", e.Line)
			}
		}
		if got != end.st.Got || repairs != end.st.RepairsSent || disorder != end.st.OutOfOrder || repaired < repairs ||
			lost[0] != end.st.Paths[0].LostPackets || lost[1] != end.st.Paths[1].LostPackets {
			t.Errorf("%s: trace: got %d, sent again %d, out of order %d, lost %v; status %+v",
				end.role, got, repairs, disorder, lost, end.st)
		}
	}
}

var recordTo = flag.String("record", "", "directory for the traces of BenchmarkSim, for bondlab replay")

// recorded is s with its traces going to files of the directory that -record
// names, called by the scenario, name and the end.
func recorded(b *testing.B, s Scenario, name string) Scenario {
	if *recordTo == "" {
		return s
	}
	s.Record = func(r wgbond.Role) io.Writer {
		f, err := os.Create(filepath.Join(*recordTo, s.Name+"-"+name+[]string{"-client", "-server"}[r]+".jsonl"))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { f.Close() })
		return f
	}
	return s
}
