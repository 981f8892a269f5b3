//go:build linux

package emulator

import "time"

// Lateness says how much later than its model said packets were delivered: a
// histogram of 10 µs steps up to 10 ms and one bin for all above.
type Lateness struct {
	Count uint64
	bins  [1001]uint64
}

const latenessStep = 10 * time.Microsecond

func (l *Lateness) add(d time.Duration) {
	l.Count++
	l.bins[min(max(d, 0)/latenessStep, time.Duration(len(l.bins)-1))]++
}

// Quantile is the lateness that the share q (0 to 1) of packets did not
// exceed, rounded up to 10 µs; 0 without packets. 10.01 ms stands for all
// above 10 ms.
func (l *Lateness) Quantile(q float64) time.Duration {
	want := uint64(q * float64(l.Count))
	var seen uint64
	for i, n := range l.bins {
		if seen += n; seen >= want && seen > 0 {
			return time.Duration(i+1) * latenessStep
		}
	}
	return 0
}

// Merge adds another histogram's packets.
func (l *Lateness) Merge(o Lateness) {
	l.Count += o.Count
	for i, n := range o.bins {
		l.bins[i] += n
	}
}
