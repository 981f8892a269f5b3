package sim

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"time"
)

// OpportunitySize is what one line of a Trace can carry, bytes; TraceOverhead
// is what each packet costs beside its own size. Mahimahi counts the four
// bytes of the TUN header, so that a 1500-byte IP packet takes exactly one
// opportunity (its src/frontend/link_queue.cc, PACKET_SIZE).
const (
	OpportunitySize = 1504
	TraceOverhead   = 4
)

// Trace is a recorded link in mahimahi's format: the moments at which the
// link could carry OpportunitySize bytes. It starts again at its end; its
// period is the last moment. A Trace is immutable and may be shared.
type Trace struct {
	at []time.Duration // not falling; the last is > 0 and is the period
}

// maxTraceMillis keeps every moment well inside time.Duration: about 29 years.
const maxTraceMillis = int64(1e12) - 1

// ParseTrace reads a trace: one time in whole milliseconds a line, not
// falling, several equal ones allowed. Errors name the line.
func ParseTrace(r io.Reader) (*Trace, error) {
	t := &Trace{}
	lines := bufio.NewScanner(r)
	last := int64(0)
	for n := 1; lines.Scan(); n++ {
		text := lines.Text()
		ms, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err != nil:
			return nil, fmt.Errorf("trace line %d: %q is not a time in whole milliseconds", n, text)
		case ms < 0 || ms > maxTraceMillis:
			return nil, fmt.Errorf("trace line %d: %d ms is outside 0 to %d ms", n, ms, maxTraceMillis)
		case ms < last:
			return nil, fmt.Errorf("trace line %d: %d ms comes after %d ms: times must not fall", n, ms, last)
		}
		last = ms
		t.at = append(t.at, time.Duration(ms)*time.Millisecond)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("trace line %d: %w", len(t.at)+1, err)
	}
	if len(t.at) == 0 {
		return nil, errors.New("trace: no lines; at least one time in milliseconds is needed")
	}
	if last == 0 {
		return nil, fmt.Errorf("trace line %d: the last time is 0 ms; it is the period after which the trace starts again and must be above 0", len(t.at))
	}
	return t, nil
}

// Period is the time after which the trace starts again.
func (t *Trace) Period() time.Duration { return t.at[len(t.at)-1] }

// Rate is the mean rate, bit/s of opportunities.
func (t *Trace) Rate() float64 {
	return float64(len(t.at)) * OpportunitySize * 8 / t.Period().Seconds()
}

// A tracePlayer walks the opportunities of a trace that began at base.
type tracePlayer struct {
	trace *Trace
	base  time.Duration
	lap   int64
	index int
}

// time is the moment of the opportunity the player stands at.
func (p *tracePlayer) time() time.Duration {
	return p.base + time.Duration(p.lap)*p.trace.Period() + p.trace.at[p.index]
}

func (p *tracePlayer) step() {
	p.index++
	if p.index == len(p.trace.at) {
		p.lap, p.index = p.lap+1, 0
	}
}

// seek moves on to the first opportunity after t; never backwards.
func (p *tracePlayer) seek(t time.Duration) {
	if p.time() > t {
		return
	}
	period := p.trace.Period()
	since := t - p.base
	lap, within := int64(since/period), since%period
	p.lap = lap
	p.index = sort.Search(len(p.trace.at), func(i int) bool { return p.trace.at[i] > within })
}
