package access

import (
	"math"
	"sync/atomic"
	"time"
)

const unlimited = math.MaxInt64 / 2

// Unlimited, given to a Meter, is no limit.
const Unlimited = uint64(unlimited)

// burst is how much of a rate may go at once.
const burst = 250 * time.Millisecond

// Meter bounds what is carried for one borrower, or for several together. It
// is safe for concurrent use; nil bounds nothing.
type Meter struct {
	left  atomic.Int64  // bytes that may still be carried
	taken atomic.Uint64 // since the last Settle
	rate  uint64        // bytes per second; 0: no limit
	full  atomic.Int64  // when the token bucket of rate is full again, relay time
}

// NewMeter bounds to a rate, bytes per second of whole IP packets, 0 for no
// limit, and to what it is given.
func NewMeter(rate uint64) *Meter { return &Meter{rate: rate} }

// Give lets so many bytes more be carried; Unlimited stands for no limit.
func (m *Meter) Give(bytes uint64) { m.left.Add(int64(min(bytes, unlimited))) }

// Left is how much may still be carried, bytes.
func (m *Meter) Left() uint64 { return uint64(max(0, m.left.Load())) }

// Drain takes back what was given and not carried, bytes.
func (m *Meter) Drain() uint64 { return uint64(max(0, m.left.Swap(0))) }

// Taken is how much was carried since it was last asked, bytes.
func (m *Meter) Taken() uint64 { return m.taken.Swap(0) }

// Take asks to carry a packet of so many bytes, headers included, at now.
func (m *Meter) Take(now time.Duration, bytes int) bool {
	if m == nil {
		return true
	}
	if m.left.Add(-int64(bytes)) < 0 {
		m.left.Add(int64(bytes))
		return false
	}
	if m.rate > 0 && !m.paced(now, time.Duration(float64(bytes)/float64(m.rate)*1e9)) {
		m.left.Add(int64(bytes))
		return false
	}
	m.taken.Add(uint64(bytes))
	return true
}

// Return gives back what was taken for a packet that was not carried.
func (m *Meter) Return(bytes int) {
	if m != nil {
		m.left.Add(int64(bytes))
	}
}

func (m *Meter) paced(now, cost time.Duration) bool {
	for {
		old := m.full.Load()
		full := max(time.Duration(old), now) + cost
		if full-now > burst+cost {
			return false
		}
		if m.full.CompareAndSwap(old, int64(full)) {
			return true
		}
	}
}

// Rate is the most that is carried, bytes per second; 0: no limit.
func (m *Meter) Rate() uint64 {
	if m == nil {
		return 0
	}
	return m.rate
}
