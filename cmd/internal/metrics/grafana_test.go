package metrics

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wg-bond/wg-bond/relayd"
)

// exported has the names of all metrics, each with its labels.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		new(Bond).Describe(descs)
		Relayd(nil).Describe(descs)
	}()
	shape := regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)
	for d := range descs {
		m := shape.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("what is %s?", d)
		}
		all[m[1]] = strings.Split(m[2], ",")
	}
	return all
}

// TestGrafana: the dashboard asks only for metrics that there are, by labels
// that they have.
func TestGrafana(t *testing.T) {
	text, err := os.ReadFile("grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
		Templating struct {
			List []struct {
				Name  string
				Query any
			}
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	names := exported(t)
	name := regexp.MustCompile(`\b((?:wgbond|process|go)_[a-z_0-9]+)(?:\{([^}]*)\})?`)
	label := regexp.MustCompile(`([a-z_]+)(?:=|!)`)
	queries := 0
	check := func(where, query string) {
		found := name.FindAllStringSubmatch(query, -1)
		if len(found) == 0 {
			t.Errorf("%s: no metric of ours in %s", where, query)
		}
		queries++
		for _, m := range found {
			labels, ok := names[m[1]]
			if !ok && m[1] != "process_cpu_seconds_total" {
				t.Errorf("%s: there is no metric %s", where, m[1])
			}
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if ok && !strings.Contains(","+strings.Join(labels, ",")+",", ","+l[1]+",") {
					t.Errorf("%s: %s has no label %s, but %v", where, m[1], l[1], labels)
				}
			}
		}
	}
	for _, p := range dashboard.Panels {
		for _, q := range p.Targets {
			check(p.Title, q.Expr)
		}
	}
	for _, v := range dashboard.Templating.List {
		if q, ok := v.Query.(map[string]any); ok {
			check("the variable "+v.Name, q["query"].(string))
		}
	}
	if queries < 20 {
		t.Errorf("%d queries: is this the whole dashboard?", queries)
	}
}

// TestDocumented: docs/metrics.md lists every metric, and no others.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	names := exported(t)
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("`(wgbond_[a-z_]+)`").FindAllStringSubmatch(string(text), -1) {
		listed[m[1]] = true
		if _, ok := names[m[1]]; !ok {
			t.Errorf("docs/metrics.md has %s, which there is not", m[1])
		}
	}
	for n := range names {
		if !listed[n] {
			t.Errorf("docs/metrics.md lacks %s", n)
		}
	}
}

func TestRelayd(t *testing.T) {
	got := scrape(t, Relayd(func() relayd.Stats {
		s := relayd.Stats{Leases: 1, Refused: 2, ToTarget: relayd.Traffic{Packets: 3, Bytes: 4}}
		s.Drops[relayd.DropNoLease] = 5
		return s
	}))
	for _, want := range []string{
		"wgbond_relayd_leases 1\n", "wgbond_relayd_refused_total 2\n", `wgbond_relayd_forwarded_packets_total{direction="to-target"} 3`,
		`wgbond_relayd_forwarded_bytes_total{direction="to-target"} 4`, `wgbond_relayd_dropped_datagrams_total{reason="no-lease"} 5`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}
