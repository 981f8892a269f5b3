//go:build linux

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Load is what the machine had to do beside us for a while.
type Load struct {
	// Others is how many processors other programs used, on average; Idle how
	// many were idle.
	Others float64 `json:"others"`
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
	case l.Others > loadedOthers:
		return fmt.Sprintf("other programs used %.1f processors", l.Others)
	case l.Late > loadedLate:
		return fmt.Sprintf("1 %% of the packets were emulated %v late", l.Late.Round(100*time.Microsecond))
	case l.Idle < loadedIdle*float64(runtime.NumCPU()):
		return fmt.Sprintf("but %.2f processors were idle", l.Idle)
	}
	return ""
}

// meter measures Load from its making on.
type meter struct {
	start            time.Time
	busy, idle, ours time.Duration
}

func newMeter() (m meter, err error) {
	m.start = time.Now()
	if m.busy, m.idle, err = machine(); err != nil {
		return m, err
	}
	m.ours, err = sandboxed()
	return m, err
}

// load is what there was since m was made; lateness is its caller's.
func (m meter) load() (Load, error) {
	now, err := newMeter()
	if err != nil {
		return Load{}, err
	}
	wall := now.start.Sub(m.start).Seconds()
	others := (now.busy - m.busy) - (now.ours - m.ours)
	return Load{Others: max(0, others.Seconds()/wall), Idle: (now.idle - m.idle).Seconds() / wall}, nil
}

const tick = 10 * time.Millisecond // USER_HZ is 100 on Linux

// machine reads the time that all processors spent for programs, and idle.
// Interrupts count as neither: most are our packets.
func machine() (busy, idle time.Duration, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal …
	if len(f) < 9 {
		return 0, 0, fmt.Errorf("/proc/stat: %q: want cpu and eight figures", line)
	}
	for _, i := range []int{1, 2, 3, 8} {
		busy += ticks(f[i])
	}
	return busy, ticks(f[4]) + ticks(f[5]), nil
}

// sandboxed sums the time of all processes that we see, with that of their
// children that have ended: the sandbox has a /proc of its own.
func sandboxed() (sum time.Duration, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	for _, s := range stats {
		b, err := os.ReadFile(s)
		if err != nil {
			continue // it has just ended
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); len(f) > 14 {
			for _, t := range f[11:15] { // utime stime cutime cstime
				sum += ticks(t)
			}
		}
	}
	return sum, err
}

func ticks(s string) time.Duration {
	n, _ := strconv.ParseInt(s, 10, 64) // the kernel writes numbers
	return time.Duration(n) * tick
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
