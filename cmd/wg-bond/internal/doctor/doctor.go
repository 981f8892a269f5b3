// Package doctor is `wg-bond doctor`: it says what keeps a bond from the sum
// of its links, and what to do.
//
//	control socket: status, twice and more ─┐
//	kernel: routes, rules, qdiscs, /proc ───┴→ Facts → Examine → Findings
//
// Gather looks at the machine and judges nothing; the checks judge and look
// at nothing but Facts.
package doctor

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/cmd/internal/status"
)

// Facts are what the checks look at.
type Facts struct {
	// Name is the interface's, Conf and Side its files, as far as is known.
	Name, Conf, Side string
	// Looks are what status told, in order of time; none: it is not up.
	Looks []Look
	Now   time.Time // the wall clock
	// MTU is the interface's, bytes; 0: not known.
	MTU int
	// Tables are the routing tables with a default route into the interface,
	// and Rules the policy rules that lead to them.
	Tables []int
	Rules  []Rule
	// Links are the paths' devices, by name, Ways how the kernel sends to the
	// paths' targets, by path.
	Links map[string]Link
	Ways  map[string]Way
	CPU   CPU
	Clock Clock
}

// Look is what status told at one moment.
type Look struct {
	At time.Duration // since the first
	*status.Interface
}

// Rule is a policy rule with a mark.
type Rule struct {
	Table  int
	Mark   uint32
	Invert bool // for what does not carry the mark
}

// Link is a device.
type Link struct {
	Strict bool // its reverse-path filter is strict
	// Speed is what it has negotiated, bytes per second; 0: not known.
	Speed      float64
	HalfDuplex bool
	// Shaper is the kind of a queue that holds it to ShapedTo bytes per second.
	Shaper   string
	ShapedTo float64
}

// Way is how the kernel sends to a path's target.
type Way struct {
	Target netip.Addr
	// Err is why nothing leaves by the path's own device; empty if it does.
	Err string
	// Via is the next hop there with its hardware address, if that is known,
	// Source our address.
	Via, Source string
	// Other is the device that the route without the path's device leads to.
	Other string
}

// CPU is how busy the machine was from the first look to the last, in parts
// of all its CPUs, 0 to 1.
type CPU struct {
	Known        bool
	Count        int
	Busy, Stolen float64 // Stolen: by the host of a virtual machine; part of Busy
	Ours         float64 // by the process that runs the interface; part of Busy
}

// Clock is the state of the machine's clock.
type Clock struct {
	Known, Synchronised bool
}

// Level says how bad a Finding is.
type Level string

// The levels.
const (
	Problem Level = "problem" // costs speed, or keeps something from working
	Note    Level = "note"    // may be meant so
)

// Finding is something that a check found.
type Finding struct {
	Check string `json:"check"`
	Level Level  `json:"level"`
	Where string `json:"where,omitempty"` // the path, peer or device
	What  string `json:"what"`
	Do    string `json:"do"`
}

// Report is what the doctor says of an interface.
type Report struct {
	Interface string    `json:"interface"`
	Findings  []Finding `json:"findings"`
	Fine      []string  `json:"fine"` // the checks that found nothing
	// Seconds is how long was looked, In and Out what the tunnel's paths
	// carried meanwhile, bytes per second of whole IP packets.
	Seconds float64 `json:"seconds"`
	In      float64 `json:"in"`
	Out     float64 `json:"out"`
}

// Problems is the number of findings of that level.
func (r *Report) Problems() (n int) {
	for _, f := range r.Findings {
		if f.Level == Problem {
			n++
		}
	}
	return n
}

// Examine runs every check.
func Examine(f *Facts) *Report {
	r := &Report{Interface: f.Name, Findings: []Finding{}, Fine: []string{}}
	if len(f.Looks) == 0 {
		r.Findings = append(r.Findings, Finding{"up", Problem, f.Name, "it is not up", fmt.Sprintf("`wg-bond up %s`, or `wg-bond serve %s` before a stock WireGuard", f.Name, f.Name)})
		return r
	}
	first, last := f.Looks[0], f.Looks[len(f.Looks)-1]
	if took := (last.At - first.At).Seconds(); took > 0 {
		before, after := carried(first.Interface), carried(last.Interface)
		r.Seconds, r.In, r.Out = took, (after.in-before.in)/took, (after.out-before.out)/took
	}
	for _, c := range checks {
		found := c.examine(f)
		for i := range found {
			found[i].Check = c.name
		}
		if r.Findings = append(r.Findings, found...); len(found) == 0 {
			r.Fine = append(r.Fine, c.name)
		}
	}
	return r
}

// Text prints the report for people.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	n := r.Problems()
	head := fmt.Sprintf("%s: %d problems, %d notes", r.Interface, n, len(r.Findings)-n)
	if len(r.Findings) == 0 {
		head = r.Interface + ": nothing found"
	}
	b.WriteString(status.Bold.Render(head) + "\n")
	if r.Seconds > 0 {
		fmt.Fprintf(&b, "  carried in the %.1f s looked at: in %s, out %s\n", r.Seconds, status.Rate(r.In), status.Rate(r.Out))
	}
	for _, f := range r.Findings {
		style := status.Doubt
		if f.Level == Problem {
			style = status.Bad
		}
		where := ""
		if f.Where != "" {
			where = f.Where + ": "
		}
		fmt.Fprintf(&b, "\n  %s %s  %s%s\n    do: %s\n", style.Render(string(f.Level)), status.Bold.Render(f.Check), where, f.What, f.Do)
	}
	if len(r.Fine) > 0 {
		fmt.Fprintf(&b, "\n  %s %s\n", status.Good.Render("fine"), strings.Join(r.Fine, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
