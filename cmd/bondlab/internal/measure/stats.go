package measure

import (
	"slices"
	"time"
)

// Median is the middle of the values, or the mean of the two in the middle; 0
// without values.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// Mean is the arithmetic mean; 0 without values.
func Mean(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	sum := 0.
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// Quantile is the smallest value that the share q (0 to 1) of the values do
// not exceed; 0 without values.
func Quantile(v []time.Duration, q float64) time.Duration {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	i := int(q * float64(len(v)))
	if float64(i) == q*float64(len(v)) {
		i--
	}
	return v[min(max(i, 0), len(v)-1)]
}

// Benefit is the aggregation benefit of a bonded rate over the single paths'
// rates, the measure of design.md and of the MPTCP literature: 0 is the best
// path alone, 1 the sum of all, -1 nothing at all.
func Benefit(bonded float64, singles []float64) float64 {
	if len(singles) == 0 {
		return 0
	}
	best, sum := slices.Max(singles), 0.
	for _, s := range singles {
		sum += s
	}
	switch {
	case bonded < best:
		return (bonded - best) / best
	case sum == best:
		return 0
	}
	return (bonded - best) / (sum - best)
}
