package host

import (
	"slices"
	"time"
)

// Latency sums up the times of a number of answers.
type Latency struct {
	N             int
	P50, P99, Max time.Duration
}

// latencies keeps the times of the last answers.
type latencies struct {
	last [1024]time.Duration
	n    int // ever
}

func (l *latencies) add(d time.Duration) {
	l.last[l.n%len(l.last)] = d
	l.n++
}

func (l *latencies) summary() Latency {
	d := slices.Clone(l.last[:min(l.n, len(l.last))])
	if len(d) == 0 {
		return Latency{}
	}
	slices.Sort(d)
	return Latency{N: len(d), P50: d[len(d)/2], P99: d[len(d)*99/100], Max: d[len(d)-1]}
}
