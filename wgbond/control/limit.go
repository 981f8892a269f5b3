package control

import (
	"net/netip"
	"time"
)

// A bucket is a token bucket in one number: the time at which it will be full
// again. Every token taken puts that off by the interval between tokens; it is
// empty when that lies burst intervals ahead.
type bucket time.Duration

// take takes a token if there is one.
func (b *bucket) take(now, interval time.Duration, burst int) bool {
	full := max(time.Duration(*b), now)
	if full-now > time.Duration(burst-1)*interval {
		return false
	}
	*b = bucket(full + interval)
	return true
}

// limiter has a bucket for each source, for a bounded number of sources.
type limiter struct {
	interval time.Duration
	burst    int
	max      int // sources
	sources  map[netip.Prefix]bucket
	swept    time.Duration
}

// sourceOf is what counts as one source: an IPv4 address, or the 64 bits of an
// IPv6 address within which anyone may choose.
func sourceOf(from netip.AddrPort) netip.Prefix {
	addr := from.Addr().Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // the invalid address: one source as well
	}
	return p
}

// allow takes a token of source. It is false if there is none, or no room to
// remember one more source.
func (l *limiter) allow(now time.Duration, source netip.Prefix) bool {
	b, known := l.sources[source]
	if !known && len(l.sources) >= l.max && !l.sweep(now) {
		return false
	}
	ok := b.take(now, l.interval, l.burst)
	if l.sources == nil {
		l.sources = make(map[netip.Prefix]bucket)
	}
	l.sources[source] = b
	return ok
}

// sweep forgets sources whose bucket is full, and reports whether there is
// room. It looks at all of them at most once in the time that a bucket fills.
func (l *limiter) sweep(now time.Duration) bool {
	if now-l.swept >= time.Duration(l.burst)*l.interval {
		l.swept = now
		for s, b := range l.sources {
			if time.Duration(b) <= now {
				delete(l.sources, s)
			}
		}
	}
	return len(l.sources) < l.max
}
