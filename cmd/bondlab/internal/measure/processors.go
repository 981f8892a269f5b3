//go:build linux

package measure

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Processors is what all processors of the machine spent their time on since it
// started, in steps of 10 ms.
type Processors struct {
	Programs   time.Duration // programs, and what the kernel does for them
	Interrupts time.Duration // hard and soft ones: most of the network's work
	Idle       time.Duration
	Stolen     time.Duration // by the host, for other machines on it
}

// ReadProcessors reads /proc/stat.
func ReadProcessors() (p Processors, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return p, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal …
	if len(f) < 9 {
		return p, fmt.Errorf("/proc/stat: %q: want cpu and eight figures", line)
	}
	sum := func(fields ...int) (sum time.Duration) {
		for _, i := range fields {
			sum += ticks(f[i])
		}
		return sum
	}
	return Processors{Programs: sum(1, 2, 3), Interrupts: sum(6, 7), Idle: sum(4, 5), Stolen: sum(8)}, nil
}

// Sandboxed sums the processor time of all processes that we see, with that of
// their children that have ended: a sandbox has a /proc of its own.
func Sandboxed() (sum time.Duration, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	for _, s := range stats {
		if b, err := os.ReadFile(s); err == nil { // otherwise it has just ended
			sum += used(b)
		}
	}
	return sum, err
}

// used is the time of a process and its children that have ended, as its stat
// says it (proc_pid_stat(5), fields 14 to 17).
func used(stat []byte) (sum time.Duration) {
	// Field 2, the name in parentheses, may hold blanks.
	if f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])); len(f) > 14 {
		for _, t := range f[11:15] {
			sum += ticks(t)
		}
	}
	return sum
}

// SoftIRQ are the kernel's threads that take over soft interrupts, those of the
// network among them, when there are too many for the programs that they
// interrupt.
type SoftIRQ struct{ stats []*os.File }

// OpenSoftIRQ finds them. It must be called before a sandbox's own /proc hides
// them.
func OpenSoftIRQ() (*SoftIRQ, error) {
	s := &SoftIRQ{}
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	for _, name := range names {
		if b, err := os.ReadFile(name); err != nil || !bytes.HasPrefix(b, []byte("ksoftirqd/")) {
			continue
		}
		f, err := os.Open(filepath.Join(filepath.Dir(name), "stat"))
		if err != nil {
			return nil, err
		}
		s.stats = append(s.stats, f)
	}
	if err == nil && len(s.stats) == 0 {
		err = errors.New("/proc: no thread is called ksoftirqd: is this a container?")
	}
	return s, err
}

// CPU is the processor time of all of them.
func (s *SoftIRQ) CPU() (sum time.Duration, err error) {
	b := make([]byte, 1024)
	for _, f := range s.stats {
		n, err := f.ReadAt(b, 0)
		if err != nil && err != io.EOF {
			return 0, err
		}
		sum += used(b[:n])
	}
	return sum, nil
}

const tick = 10 * time.Millisecond // USER_HZ is 100 on Linux

func ticks(s string) time.Duration {
	n, _ := strconv.ParseInt(s, 10, 64) // the kernel writes numbers
	return time.Duration(n) * tick
}
