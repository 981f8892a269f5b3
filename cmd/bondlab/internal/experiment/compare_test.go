//go:build linux

package experiment

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// TestComparison: each is compared with the first that has its congestion
// control.
func TestComparison(t *testing.T) {
	c := &Comparison{Scenario: "test", Subjects: []Compared{
		{"earliest", "cubic", readings(2, 4, 3)},
		{"plugin:earliest", "cubic", readings(6, 6, 6)},
		{"earliest", "bbr", readings(4, 4, 4)},
		{"plugin:earliest", "bbr", readings(5, 2, 3)},
	}}
	var table, text bytes.Buffer
	if err := c.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(table.String()), "\n")
	for i, want := range []string{
		"test, bonded, medians goodput Mbit/s time s ping_p50 ms ping_p95 ms ping_lost packets ping_gap ms gap ms of the first goodput min to max",
		"earliest, cubic 3.00 8.00 20.0 40.0 1.00 0.00 20.0 1.000 2.00 to 4.00",
		"plugin:earliest, cubic 6.00 4.00 20.0 40.0 1.00 0.00 20.0 2.000 6.00 to 6.00",
		"earliest, bbr 4.00 6.00 20.0 40.0 1.00 0.00 20.0 1.000 4.00 to 4.00",
		"plugin:earliest, bbr 3.00 8.00 20.0 40.0 1.00 0.00 20.0 0.750 2.00 to 5.00",
	} {
		if got := strings.Join(strings.Fields(lines[i]), " "); got != want {
			t.Errorf("line %d\n got %s\nwant %s", i+1, got, want)
		}
	}
	if err := c.WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Subjects []struct {
			Scheduler, Congestion string
			Metrics               map[string]Metric
		}
	}
	if err := json.Unmarshal(text.Bytes(), &got); err != nil || len(got.Subjects) != 4 {
		t.Fatalf("%v: %s", err, &text)
	}
	if s := got.Subjects[3]; s.Scheduler != "plugin:earliest" || s.Congestion != "bbr" || s.Metrics["goodput"].Median != 3 || s.Metrics["gap"].Unit != "ms" {
		t.Errorf("got %+v", s)
	}
}
