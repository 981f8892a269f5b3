package scenario

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate is a bit rate of whole IP packets, bit/s. In a file: "3.6Mbit",
// "800kbit", "1Gbit" (per second).
type Rate float64

// UnmarshalText reads a rate.
func (r *Rate) UnmarshalText(b []byte) error {
	v, err := quantity(strings.TrimSuffix(string(b), "/s"), "a rate like \"3.6Mbit\" or \"800kbit\"",
		unit{"Gbit", 1e9}, unit{"Mbit", 1e6}, unit{"kbit", 1e3}, unit{"bit", 1})
	if err == nil && (v < 1 || v > 1e11) {
		return &valueError{string(b), "a rate from 1bit to 100Gbit"}
	}
	*r = Rate(v)
	return err
}

// Duration is a time. In a file: "30ms", "1.5s".
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 || v > 24*time.Hour {
		return &valueError{string(b), "a time like \"30ms\" or \"1.5s\", up to a day"}
	}
	*d = Duration(v)
	return nil
}

// Ratio is a probability, 0 to 1. In a file: "0.1%".
type Ratio float64

// UnmarshalText reads a ratio.
func (r *Ratio) UnmarshalText(b []byte) error {
	v, err := quantity(string(b), "a share like \"0.1%\"", unit{"%", .01})
	if err == nil && (v < 0 || v > 1) {
		return &valueError{string(b), "a share from 0% to 100%"}
	}
	*r = Ratio(v)
	return err
}

// Size is a number of bytes. In a file: "3MB", "10kB", "64KiB".
type Size int64

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(b []byte) error {
	v, err := quantity(string(b), "a size like \"3MB\" or \"64KiB\"", sizes...)
	if err == nil && (v < 1 || v > 1e12) {
		return &valueError{string(b), "a size from 1B to 1TB"}
	}
	*s = Size(v)
	return err
}

// Queue is a queue's length in bytes or, with the link's mean rate, in time.
// In a file: "64KiB", "150ms".
type Queue struct {
	Size Size
	Time Duration
}

// UnmarshalText reads a queue's length.
func (q *Queue) UnmarshalText(b []byte) error {
	if q.Time.UnmarshalText(b) == nil && q.Time > 0 {
		return nil
	}
	if q.Size.UnmarshalText(b) == nil {
		return nil
	}
	return &valueError{string(b), "a size like \"64KiB\" or a time like \"150ms\""}
}

// bytes is the queue's length at a rate in bit/s, at least one packet.
func (q Queue) bytes(rate float64) int {
	if q.Time > 0 {
		return max(1500, int(rate/8*time.Duration(q.Time).Seconds()))
	}
	return int(q.Size)
}

type unit struct {
	name  string
	times float64
}

var sizes = []unit{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}}

// valueError says what a value is and what it should be.
type valueError struct{ found, want string }

func (e *valueError) Error() string { return fmt.Sprintf("%q: want %s", e.found, e.want) }

func quantity(s, want string, units ...unit) (float64, error) {
	for _, u := range units {
		if number, ok := strings.CutSuffix(s, u.name); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			if err != nil {
				break
			}
			return v * u.times, nil
		}
	}
	return 0, &valueError{s, want}
}
