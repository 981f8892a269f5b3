// Package host runs schedulers that are programs of their own, and never lets
// them hold up a packet:
//
//	            session                        Scheduler                    process
//	every 25 ms │ Plan(snapshot) ── copy ──→ one snapshot waits ── gRPC ──→ plugin
//	            │   ← the plan in force          │                            │
//	            │      or the fallback's         ↓                            │
//	            │ plans again  ←── notify ── validated plan ←───── gRPC ──────┘
//
// Plan never waits: it hands the snapshot over and answers with the last plan
// that the plugin made, if that answers the snapshot before this one, is sound
// (schedulers.Validate) for this one and has not expired; otherwise with the
// plan of the fallback, a built-in. When an answer comes, the session is asked
// to plan again, so a plan is in force within a millisecond of its snapshot.
//
// A Plugin is one process and what keeps it going:
//
//	       ┌───────────── back-off ←──────────────┐
//	       ↓                                      │ exits, hangs, breaks the protocol
//	Verify → start → handshake → Configure → running
//
// A file is only run if nobody but root (or the user who runs us) can have
// written it, see Verify. It runs as an unprivileged user, in a session of its
// own, without the network, with an empty environment but for go-plugin's,
// with bounds on memory, files and core dumps; it dies when we do. Both sides
// know each other by certificates made for this one run (go-plugin's AutoMTLS).
package host

import (
	"log/slog"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
)

// Dirs are where plugins are installed, the first found counts.
var Dirs = []string{"/usr/local/lib/wg-bond/schedulers", "/usr/lib/wg-bond/schedulers"}

// Config says what to run and how.
type Config struct {
	// Name is what the user calls the scheduler.
	Name string
	// Path is the program; empty: it is looked for in Dirs by Name.
	Path string
	// SHA256 is what the program's checksum must be, 64 hex digits; empty: any.
	SHA256 string
	// User runs the program if we are root; empty: nobody.
	User string
	// Network leaves the program the network of this machine.
	Network bool
	// Parameters are the user's, as go-toml decodes them.
	Parameters map[string]any
	// Fallback makes the scheduler that decides while the plugin does not;
	// nil: the built-in default.
	Fallback func() schedulers.Scheduler
	// Log gets what the plugin prints and what becomes of it; nil: nobody.
	Log *slog.Logger
	// Limits of the supervision; zero fields have the defaults.
	Limits Limits
}

// Limits bound what a plugin may take.
type Limits struct {
	// Start is how long it may take to shake hands and check its parameters;
	// 10 s if 0.
	Start time.Duration
	// Answer is how long one plan may take before the process counts as
	// hanging and is killed; 2 s if 0. The fallback decides long before.
	Answer time.Duration
	// BackOff is the first pause before a restart, and BackOffMax the longest:
	// each failure doubles it, and it is the first again after a minute
	// without one. 500 ms and 30 s if 0.
	BackOff, BackOffMax time.Duration
	// Memory bounds its private memory, bytes; 512 MiB if 0. Linux only.
	Memory uint64
}

func (c Config) withDefaults() Config {
	if c.Fallback == nil {
		c.Fallback = builtin.All[0].New
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	l := &c.Limits
	for _, d := range []struct {
		to        *time.Duration
		otherwise time.Duration
	}{
		{&l.Start, 10 * time.Second}, {&l.Answer, 2 * time.Second},
		{&l.BackOff, 500 * time.Millisecond}, {&l.BackOffMax, 30 * time.Second},
	} {
		if *d.to == 0 {
			*d.to = d.otherwise
		}
	}
	if l.Memory == 0 {
		l.Memory = 512 << 20
	}
	return c
}
