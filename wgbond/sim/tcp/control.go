package tcp

import (
	"math"
	"time"
)

// Control is a congestion control. Windows and flights are segments.
type Control interface {
	// Sent tells that a segment is leaving; inFlight counts it.
	Sent(now time.Duration, inFlight int)
	// Ack tells what an acknowledgement taught.
	Ack(a *Ack)
	// Recovery begins a fast recovery; Recovered ends it.
	Recovery(now time.Duration, inFlight int)
	Recovered(now time.Duration)
	// Timeout begins a recovery after an RTO.
	Timeout(now time.Duration)
	// Undo takes the last Recovery or Timeout back: it was spurious.
	Undo(now time.Duration)
	// Window is how many segments may be in flight.
	Window() int
	// PacingRate is in full segments per second; 0: not paced.
	PacingRate() float64
}

// State is what the sender is doing about losses.
type State uint8

// The states.
const (
	Open     State = iota
	Recovery       // retransmitting what RACK found lost
	Loss           // after a timeout
)

// Ack is what an acknowledgement taught. Counts are segments.
type Ack struct {
	Now      time.Duration
	State    State
	Acked    int           // newly acknowledged, cumulatively or by SACK
	Lost     int           // newly found lost
	Advanced bool          // the cumulative acknowledgement moved
	RTT      time.Duration // of the newest original acknowledged; 0: none
	MinRTT   time.Duration // lowest so far; 0: none
	Una, Nxt uint64        // oldest unacknowledged, next new segment
	InFlight int           // now
	Before   int           // in flight before this acknowledgement
	Limited  bool          // the window was what held the sender back

	// The delivery-rate sample (draft-cheng-iccrg-delivery-rate-estimation):
	// Delivered − PriorDelivered segments in Interval. Interval 0: none.
	Delivered, PriorDelivered uint64
	Interval                  time.Duration
	AppLimited                bool
}

// prr is Proportional Rate Reduction (RFC 6937bis), as in Linux's
// tcp_cwnd_reduction: it brings the flight down to the threshold over one
// round trip.
type prr struct {
	threshold, prior float64
	delivered, out   int
}

func (p *prr) start(threshold, prior float64) {
	*p = prr{threshold: threshold, prior: max(prior, 1)}
}

// window is the window after an acknowledgement in recovery.
func (p *prr) window(a *Ack) int {
	p.delivered += a.Acked
	var send int
	if room := int(p.threshold) - a.InFlight; room < 0 {
		send = int(math.Ceil(p.threshold*float64(p.delivered)/p.prior)) - p.out
	} else {
		send = max(p.delivered-p.out, a.Acked)
		if a.Advanced && a.Lost == 0 {
			send++
		}
		send = min(send, room)
	}
	if p.out == 0 {
		send = max(send, 1) // the fast retransmission itself
	}
	return a.InFlight + max(send, 0)
}
