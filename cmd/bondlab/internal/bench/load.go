//go:build linux

package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
)

// Load is what the machine had to do beside us for a while.
type Load struct {
	// Others is how many processors other programs used, on average; Idle how
	// many were idle.
	Others float64 `json:"others"`
	// Stolen is how many the host gave to other machines meanwhile.
	Stolen float64 `json:"stolen"`
	Idle   float64 `json:"idle"`
	// Late is the emulator's lateness, p99: how much later than the models said
	// packets were delivered.
	Late time.Duration `json:"late_ns"`
}

// Above these a row's figures are not to be trusted: an idle machine has 0.01 of
// a processor in other programs and 0.3 ms.
const (
	loadedOthers = 0.2
	loadedLate   = 2 * time.Millisecond
	loadedIdle   = 0.1 // of all processors, at least
)

// Loaded says why the figures are not to be trusted; empty: they are.
func (l Load) Loaded() string {
	switch {
	case l.Stolen > loadedOthers:
		return fmt.Sprintf("the host took %.1f processors away", l.Stolen)
	case l.Others > loadedOthers:
		return fmt.Sprintf("other programs used %.1f processors", l.Others)
	case l.Late > loadedLate:
		return fmt.Sprintf("1 %% of the packets were emulated %v late", l.Late.Round(100*time.Microsecond))
	case l.Idle < loadedIdle*float64(runtime.NumCPU()):
		return fmt.Sprintf("but %.2f processors were idle", l.Idle)
	}
	return ""
}

// meter measures Load from its making on. Interrupts do not count: most are our
// packets.
type meter struct {
	start time.Time
	all   measure.Processors
	ours  time.Duration
}

func newMeter() (m meter, err error) {
	m.start = time.Now()
	if m.all, err = measure.ReadProcessors(); err != nil {
		return m, err
	}
	m.ours, err = measure.Sandboxed()
	return m, err
}

// load is what there was since m was made; lateness is its caller's.
func (m meter) load() (Load, error) {
	now, err := newMeter()
	if err != nil {
		return Load{}, err
	}
	wall := now.start.Sub(m.start).Seconds()
	others := (now.all.Programs - m.all.Programs) - (now.ours - m.ours)
	return Load{
		Others: max(0, others.Seconds()/wall), Stolen: (now.all.Stolen - m.all.Stolen).Seconds() / wall, Idle: (now.all.Idle - m.all.Idle).Seconds() / wall,
	}, nil
}

// Machine is where a bench ran.
type Machine struct {
	Kernel     string    `json:"kernel"`
	Processor  string    `json:"processor"`
	Processors int       `json:"processors"`
	Start      time.Time `json:"start"`
	LoadBefore string    `json:"load_before"` // as in /proc/loadavg
	LoadAfter  string    `json:"load_after"`
}

func thisMachine() Machine {
	m := Machine{Processors: runtime.NumCPU(), Start: time.Now(), Processor: runtime.GOARCH, LoadBefore: loadavg()}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	b, _ := os.ReadFile("/proc/cpuinfo") // without it the architecture stays
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			m.Processor = strings.TrimSpace(v)
			break
		}
	}
	return m
}

func loadavg() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:3], " ")
}
