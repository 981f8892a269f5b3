//go:build linux

package peers

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// steps lists the steps that were taken of any pair, in their order.
func (r *Report) steps() []string {
	return slices.DeleteFunc([]string{handshake, ping, bonded, down, up, rekey, newClient, newServer}, func(step string) bool {
		return !slices.ContainsFunc(r.Pairs, func(p *Pair) bool { _, done := p.Steps[step]; return done })
	})
}

// WriteJSON writes the report as one object.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteMarkdown writes the report as a table, and below it what failed.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	steps := r.steps()
	fmt.Fprintf(&b, "| client | server | as |")
	for _, s := range steps {
		if s == down || s == up {
			s = fmt.Sprintf("%.0f MB %s", float64(r.Bytes)/1e6, s)
		}
		fmt.Fprintf(&b, " %s |", s)
	}
	b.WriteString("\n" + strings.Repeat("| --- ", 3+len(steps)) + "|\n")
	for _, p := range r.Pairs {
		as := "plain"
		if p.Paths > 0 {
			as = fmt.Sprintf("%d paths", p.Paths)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |", p.Client, p.Server, as)
		for _, s := range steps {
			mark := "yes"
			if why, done := p.Steps[s]; !done {
				mark = "not reached"
			} else if why != "" {
				mark = "**no**"
			}
			fmt.Fprintf(&b, " %s |", mark)
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	for _, of := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, "- %s: %s\n", of, r.Versions[of])
	}
	for _, line := range r.Failed() {
		fmt.Fprintf(&b, "- failed: %s\n", line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
