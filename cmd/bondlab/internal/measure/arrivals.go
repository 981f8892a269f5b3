package measure

import (
	"slices"
	"time"
)

// Arrivals is a download's course: how many bytes had come when.
type Arrivals struct {
	Took time.Duration // the whole transfer, from the connection's SYN
	at   []time.Duration
	sum  []int64
}

// Add notes n bytes at time t after the start; t does not fall.
func (a *Arrivals) Add(t time.Duration, n int) {
	a.at = append(a.at, t)
	a.sum = append(a.sum, a.Total()+int64(n))
}

// Total is the number of bytes that came.
func (a *Arrivals) Total() int64 {
	if len(a.sum) == 0 {
		return 0
	}
	return a.sum[len(a.sum)-1]
}

// By is the number of bytes that had come by time t.
func (a *Arrivals) By(t time.Duration) int64 {
	i, found := slices.BinarySearch(a.at, t)
	for found && i+1 < len(a.at) && a.at[i+1] == t {
		i++
	}
	if !found {
		i--
	}
	if i < 0 {
		return 0
	}
	return a.sum[i]
}

// Rate is the mean rate between two times, bit/s of payload.
func (a *Arrivals) Rate(from, to time.Duration) float64 {
	if to <= from {
		return 0
	}
	return float64(a.By(to)-a.By(from)) * 8 / (to - from).Seconds()
}

// Gap is the longest time without a byte that lies, at least in part, in
// from ≤ t ≤ to; only time after the first byte counts.
func (a *Arrivals) Gap(from, to time.Duration) time.Duration {
	var gap time.Duration
	for i, t := range a.at {
		next := to
		if i+1 < len(a.at) {
			next = a.at[i+1]
		}
		if next > from && t < to {
			gap = max(gap, next-t)
		}
	}
	return gap
}

// Last is when the last byte came; 0 if none did.
func (a *Arrivals) Last() time.Duration {
	if len(a.at) == 0 {
		return 0
	}
	return a.at[len(a.at)-1]
}
