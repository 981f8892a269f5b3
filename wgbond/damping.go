package wgbond

import (
	"math"
	"time"
)

// Damping keeps a thing that comes and goes from being used every time it
// comes: each use costs what is under way when it goes again. It counts the
// losses, forgets half of them every dampHalf, and asks for a wait that doubles
// with each beyond the first few.
//
//	losses remembered    2    3    4    5    6    7    8 …
//	wait before use      0   1 s  2 s  4 s  8 s  16 s  30 s
//
// The manner is that of BGP's route flap damping (RFC 2439), which counts and
// forgets in the same way. The zero value is ready.
type Damping struct {
	losses float64
	at     time.Duration
}

const (
	dampHalf  = time.Minute
	dampFree  = 2 // losses that cost nothing: an outage now and then is no flapping
	dampFirst = time.Second
	dampMost  = 30 * time.Second
)

// Lost counts a loss.
func (d *Damping) Lost(now time.Duration) {
	d.losses, d.at = d.remembered(now)+1, now
}

// Hold is how long to wait from now before use.
func (d *Damping) Hold(now time.Duration) time.Duration {
	beyond := math.Round(d.remembered(now)) - dampFree
	if beyond < 1 {
		return 0
	}
	return min(dampFirst<<min(int(beyond)-1, 16), dampMost)
}

func (d *Damping) remembered(now time.Duration) float64 {
	return d.losses * math.Exp2(-(now-d.at).Seconds()/dampHalf.Seconds())
}
