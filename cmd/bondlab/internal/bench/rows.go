//go:build linux

package bench

import (
	"fmt"
	"slices"
	"strings"
)

// Aim is what a figure of a row shall be.
type Aim struct {
	Metric string // one of experiment.Result's
	What   string // the figure for people, with its unit
	AtMost bool   // the figure shall be Value at most; else at least
	Value  float64
}

func (a Aim) met(v float64) bool {
	if a.AtMost {
		return v <= a.Value
	}
	return v >= a.Value
}

// String is "≥ 0.96".
func (a Aim) String() string {
	if a.AtMost {
		return fmt.Sprintf("≤ %g", a.Value)
	}
	return fmt.Sprintf("≥ %g", a.Value)
}

// Row is one kind of traffic over one scenario, and what is aimed at.
type Row struct {
	Scenario   string
	Congestion string
	Upload     bool
	Aims       []Aim
}

func ab(v float64) Aim   { return Aim{Metric: "ab", What: "AB", Value: v} }
func best(v float64) Aim { return Aim{Metric: "speedup", What: "× best path", Value: v} }
func ping(v float64) Aim {
	return Aim{Metric: "ping_p50", What: "ping p50, ms", AtMost: true, Value: v}
}

// Rows are the table of the design, then what else must be shown. A download and
// an upload of the same name have the same aims.
var Rows = []Row{
	{"seed", "cubic", false, []Aim{best(1.92)}},
	{"seed", "bbr", false, []Aim{best(1.92)}},
	{"equal", "cubic", false, []Aim{ab(.96)}},
	{"equal", "bbr", false, []Aim{ab(.92)}},
	{"unequal", "cubic", false, []Aim{ab(.93), ping(100), fetch}},
	{"unequal", "bbr", false, []Aim{best(.97), ping(100), fetch}},
	{"equalised", "bbr", false, []Aim{ab(.80)}},
	{"lossy", "cubic", false, []Aim{ab(.85)}},
	{"lossy", "bbr", false, []Aim{best(.97)}},
	{"lossy-slow", "cubic", false, []Aim{ab(.85)}},
	{"lossy-little", "cubic", false, []Aim{ab(.90)}},
	{"extreme", "cubic", false, []Aim{best(.98), ping(30)}},
	{"four", "cubic", false, []Aim{ab(.90)}},
	{"four", "bbr", false, []Aim{ab(.90)}},
	{"cellular", "cubic", false, []Aim{ab(.85), late}},
	{"cellular", "bbr", false, []Aim{ab(.85), late}},
	{"bad-neighbour", "cubic", false, []Aim{best(.97)}},
	{"cold", "cubic", false, []Aim{cold}},
	{"cold", "bbr", false, []Aim{cold}},
	{"outage", "cubic", false, outage},
	{"outage", "bbr", false, outage},

	{"seed", "cubic", true, []Aim{best(1.92)}},
	{"unequal", "cubic", true, []Aim{ab(.93), ping(100)}},
	{"four", "cubic", true, []Aim{ab(.90)}},
	{"many1", "cubic", false, []Aim{best(.97)}},
	{"many2", "cubic", false, []Aim{ab(.96)}},
	{"many4", "cubic", false, []Aim{ab(.96)}},
	{"many8", "cubic", false, []Aim{ab(.96)}},
	{"reverse", "cubic", false, []Aim{{"of_reference", "× without the upload", false, .90}}},
	{"shared", "cubic", false, []Aim{best(.98)}},
	{"shuffled", "cubic", false, []Aim{{"ab_lost", "AB lost", true, .05}}},
	{"parallel", "cubic", false, []Aim{best(1)}},
	{"page", "cubic", false, []Aim{best(1)}},
	{"rekey", "cubic", false, []Aim{{"ping_gap", "longest time without a ping's answer, ms", true, 120}}},
}

var (
	fetch  = Aim{"fetch_p50", "10 kB beside it, s", true, .25}
	late   = Aim{"ping_p95", "ping p95, ms", true, 400}
	cold   = Aim{"time_bonded", "3 MB, s", true, 1.36}
	outage = []Aim{
		{"gap_max", "longest gap, ms", true, 300},
		{"ping_loss", "pings lost", true, 0},
		{"during_share", "× other path meanwhile", false, .95},
		{"after_share", "of the sum, from 1 s after the return", false, .95},
	}
)

// tooLong are the scenarios that cannot be made shorter: a quick bench measures
// them once.
var tooLong = []string{"rekey"}

// Choose picks the rows of these scenarios (none: all), for these directions
// ("down", "up", "both"; "": as the rows are) and congestion controls (none: as
// the rows are). Rows that the list does not have come without aims.
func Choose(scenarios []string, direction string, controls []string) (rows []Row) {
	names := scenarios
	if len(names) == 0 {
		for _, r := range Rows {
			if !slices.Contains(names, r.Scenario) {
				names = append(names, r.Scenario)
			}
		}
	}
	add := func(r Row) {
		if !slices.ContainsFunc(rows, r.same) {
			rows = append(rows, r)
		}
	}
	for _, name := range names {
		known := slices.DeleteFunc(slices.Clone(Rows), func(r Row) bool { return r.Scenario != name })
		if len(known) == 0 {
			known = []Row{{Scenario: name, Congestion: "cubic"}} // a file, or one without aims
		}
		for _, r := range known {
			for _, up := range ways(direction, r.Upload) {
				for _, cc := range orElse(controls, r.Congestion) {
					want := Row{Scenario: name, Congestion: cc, Upload: up}
					// A row of its own, or the same aims the other way.
					for _, u := range []bool{up, !up} {
						want.Upload = u
						if i := slices.IndexFunc(Rows, want.same); i >= 0 {
							want.Aims = Rows[i].Aims
							break
						}
					}
					want.Upload = up
					add(want)
				}
			}
		}
	}
	return rows
}

func (r Row) same(s Row) bool {
	return r.Scenario == s.Scenario && r.Congestion == s.Congestion && r.Upload == s.Upload
}

// Way is "down" or "up".
func (r Row) Way() string {
	if r.Upload {
		return "up"
	}
	return "down"
}

// Name is for files: "unequal-cubic-down".
func (r Row) Name() string {
	return strings.NewReplacer("/", "-", ".toml", "").Replace(r.Scenario) + "-" + r.Congestion + "-" + r.Way()
}

func ways(direction string, own bool) []bool {
	switch direction {
	case "down":
		return []bool{false}
	case "up":
		return []bool{true}
	case "both":
		return []bool{false, true}
	}
	return []bool{own}
}

func orElse(list []string, one string) []string {
	if len(list) > 0 {
		return list
	}
	return []string{one}
}
