package decide

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/wg-bond/wg-bond/cmd/internal/bondconf"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/plugins/choice"
	"github.com/wg-bond/wg-bond/plugins/host"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
)

// Show is what `wg-bond scheduler show` tells. Times are seconds.
type Show struct {
	Charge   Scheduler  `json:"charge"`
	Shadow   *Scheduler `json:"shadow,omitempty"`
	For      float64    `json:"for"` // in charge
	Swaps    uint64     `json:"swaps"`
	Sessions int        `json:"sessions"`
	Score    *Score     `json:"score,omitempty"` // with a shadow
}

// Scheduler is one that is at work.
type Scheduler struct {
	Name   string  `json:"name"`
	Plugin *Plugin `json:"plugin,omitempty"` // absent: built in
}

// Plugin is the condition of a scheduler's process.
type Plugin struct {
	Running    bool        `json:"running"`
	Pid        string      `json:"pid,omitempty"`
	Does       string      `json:"does,omitempty"`
	Version    string      `json:"version,omitempty"`
	Restarts   uint64      `json:"restarts"`
	Reason     string      `json:"reason,omitempty"` // of its last trouble
	ReasonAgo  float64     `json:"reason_ago,omitempty"`
	Missed     string      `json:"missed,omitempty"` // why its plans were not in time
	MissedAgo  float64     `json:"missed_ago,omitempty"`
	Plans      host.Counts `json:"plans"`
	LatencyP50 float64     `json:"latency_p50"`
	LatencyP99 float64     `json:"latency_p99"`
}

// Score compares the shadow with the one in charge; see choice.Score.
type Score struct {
	Plans       uint64   `json:"plans"`
	Unanswered  uint64   `json:"unanswered"`
	Differs     uint64   `json:"differs"`
	ChargeDelay float64  `json:"charge_delay"`
	ShadowDelay float64  `json:"shadow_delay"`
	ChargeError *float64 `json:"charge_error,omitempty"`
	ShadowError *float64 `json:"shadow_error,omitempty"`
	Shares      []Share  `json:"shares"`
}

// Share is a path's part of what each would send, 0 to 1.
type Share struct {
	Path   string  `json:"path"`
	Charge float64 `json:"charge"`
	Shadow float64 `json:"shadow"`
}

// show is an operation of the control socket.
func (d *Decider) show([]string) (any, error) {
	st := d.it.Status()
	s := &Show{
		Charge: Scheduler{st.Charge, plugin(st.ChargePlugin)}, For: time.Since(st.Since).Seconds(),
		Swaps: st.Swaps, Sessions: st.Sessions,
	}
	if st.Shadow != "" {
		s.Shadow = &Scheduler{st.Shadow, plugin(st.ShadowPlugin)}
	}
	if c := st.Score; c != nil {
		s.Score = &Score{
			Plans: c.Plans, Unanswered: c.Unanswered, Differs: c.Differs,
			ChargeDelay: c.ChargeDelay.Seconds(), ShadowDelay: c.ShadowDelay.Seconds(),
			ChargeError: known(c.ChargeError), ShadowError: known(c.ShadowError), Shares: []Share{},
		}
		for _, share := range c.Shares {
			s.Score.Shares = append(s.Score.Shares, Share(share))
		}
	}
	return s, nil
}

func known(d time.Duration) *float64 {
	if d == choice.NoError {
		return nil
	}
	v := d.Seconds()
	return &v
}

func plugin(st *host.Status) *Plugin {
	if st == nil {
		return nil
	}
	p := &Plugin{
		Running: st.Running, Pid: st.Pid, Does: st.About.Does, Version: st.About.Version, Restarts: st.Restarts,
		Reason: st.Reason, Plans: st.Counts, LatencyP50: st.Latency.P50.Seconds(), LatencyP99: st.Latency.P99.Seconds(),
	}
	if st.Reason != "" {
		p.ReasonAgo = time.Since(st.At).Seconds()
	}
	if st.Missed != "" {
		p.Missed, p.MissedAgo = st.Missed, time.Since(st.MissedAt).Seconds()
	}
	return p
}

// Text prints it for people.
func (s *Show) Text(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "in charge: %s, for %s, %d sessions\n", s.Charge.Name, status.Span(seconds(s.For)), s.Sessions)
	s.Charge.Plugin.text(t)
	if s.Shadow == nil {
		return t.Flush()
	}
	fmt.Fprintf(t, "in shadow: %s\n", s.Shadow.Name)
	s.Shadow.Plugin.text(t)
	c := s.Score
	if c == nil || c.Plans == 0 {
		fmt.Fprintf(t, "  nothing compared yet: there was no traffic\n")
		return t.Flush()
	}
	fmt.Fprintf(t, "  compared: %d plans, %d more had no answer in time\n", c.Plans, c.Unanswered)
	fmt.Fprintf(t, "  would have begun on another path: %.1f %%\n", 100*float64(c.Differs)/float64(c.Plans))
	fmt.Fprintf(t, "\n\t%s\t%s\n", s.Charge.Name, s.Shadow.Name)
	fmt.Fprintf(t, "  arrival after the nearest path's\t%s\t%s\n", milliseconds(&c.ChargeDelay), milliseconds(&c.ShadowDelay))
	fmt.Fprintf(t, "  error of the expected arrivals\t%s\t%s\n", milliseconds(c.ChargeError), milliseconds(c.ShadowError))
	for _, share := range c.Shares {
		fmt.Fprintf(t, "  share of path %s\t%.0f %%\t%.0f %%\n", share.Path, 100*share.Charge, 100*share.Shadow)
	}
	return t.Flush()
}

func (p *Plugin) text(w io.Writer) {
	if p == nil {
		return
	}
	state := "does not run: " + builtin.Default + " decides"
	if p.Running {
		state = "process " + p.Pid
	}
	if p.Restarts > 0 {
		state += fmt.Sprintf(", started again %d times", p.Restarts)
	}
	fmt.Fprintf(w, "  plugin: %s\n", state)
	if p.Does != "" {
		fmt.Fprintf(w, "  does: %s\n", p.Does)
	}
	n := p.Plans
	fmt.Fprintf(w, "  plans: %d its own, %d of the default (%d late, %d unsound, %d not for the paths of the moment, %d expired, %d without a process)\n",
		n.Followed, n.Fallback, n.Late, n.Invalid, n.Unfit, n.Expired, n.NotThere)
	if p.LatencyP50 > 0 {
		fmt.Fprintf(w, "  answers in: %.2f ms, p99 %.2f ms\n", 1000*p.LatencyP50, 1000*p.LatencyP99)
	}
	if p.Reason != "" {
		fmt.Fprintf(w, "  last trouble: %s (%s)\n", p.Reason, status.Ago(seconds(p.ReasonAgo)))
	}
	if p.Missed != "" {
		fmt.Fprintf(w, "  last not in time: %s (%s)\n", p.Missed, status.Ago(seconds(p.MissedAgo)))
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func milliseconds(s *float64) string {
	if s == nil {
		return "cannot be told"
	}
	return fmt.Sprintf("%.1f ms", 1000**s)
}

// Known is a scheduler that can be used.
type Known struct {
	Name string `json:"name"`
	From string `json:"from"` // "built in", or the program's path
	Does string `json:"does,omitempty"`
}

// List lists the schedulers there are: bond may be nil.
func List(bond *bondconf.Config) []Known {
	var out []Known
	for _, s := range builtin.All {
		out = append(out, Known{s.Name, "built in", s.Does})
	}
	found := host.Installed(host.Dirs)
	if bond != nil {
		for name, table := range bond.Plugins {
			if path, ok := table["path"].(string); ok {
				found[name] = path
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		out = append(out, Known{Name: name, From: found[name]})
	}
	return out
}

// list is an operation of the control socket.
func (d *Decider) list([]string) (any, error) {
	bond, err := bondconf.Load(d.conf, Names())
	if err != nil {
		return nil, err
	}
	return List(bond), nil
}
