// Package units reads rates and amounts as people write them. They have units
// because half the world means bits and the other half bytes; k, M, G and T are
// powers of 1000.
package units

import (
	"math"
	"regexp"
	"strconv"
	"strings"
)

// What is right, for errors.
const (
	WantRate   = `a rate with its unit in quotes, like "3.6 Mbit/s" or "450 kB/s"`
	WantAmount = `an amount with its unit in quotes, like "5 GB" or "500 MB" (powers of 1000)`
)

var (
	rateShape   = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)\s*([kKmMgG]?)(bit|B)/s$`)
	amountShape = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)\s*([kKmMgGtT])B$`)
)

// ParseRate reads a rate; the answer is in bytes per second, positive and
// finite.
func ParseRate(s string) (float64, bool) {
	parts := rateShape.FindStringSubmatch(strings.TrimSpace(s))
	if parts == nil {
		return 0, false
	}
	rate, ok := number(parts[1], parts[2])
	if parts[3] == "bit" {
		rate /= 8
	}
	return rate, ok && rate >= 1 && rate <= 1e12
}

// ParseAmount reads an amount of data; the answer is in bytes, at most 10¹⁵.
func ParseAmount(s string) (uint64, bool) {
	parts := amountShape.FindStringSubmatch(strings.TrimSpace(s))
	if parts == nil {
		return 0, false
	}
	amount, ok := number(parts[1], parts[2])
	return uint64(amount), ok && amount <= 1e15
}

func number(digits, prefix string) (float64, bool) {
	n, err := strconv.ParseFloat(digits, 64)
	if prefix != "" {
		n *= math.Pow(1000, float64(strings.Index("kmgt", strings.ToLower(prefix))+1))
	}
	return n, err == nil
}
