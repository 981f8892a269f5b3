package judge

import (
	"math/rand/v2"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// Hostile is what a relay does to the datagrams that it carries, each with a
// probability, both ways.
type Hostile struct {
	Alter     float64       // a byte within WireGuard's data messages
	Forge     float64       // the counter of such a message
	Drop      float64       // all datagrams, as are the following
	Duplicate float64       // a copy follows at once
	Reorder   float64       // it changes places with the next one
	Delay     float64       // by Late
	Late      time.Duration //
}

// hostile is such a relay at work, in one direction.
type hostile struct {
	Hostile
	w      *World
	random *rand.Rand
	to     func(time.Duration, int, parcel)
	held   *parcel
	late   *sim.Link[parcel]
}

// hostile puts the relay before where a link leads.
func (w *World) hostile(h Hostile, seed uint64, to func(time.Duration, int, parcel)) (func(time.Duration, int, parcel), error) {
	r := &hostile{Hostile: h, w: w, random: rand.New(rand.NewPCG(seed, 0x656e656d)), to: to}
	var err error
	if r.late, err = sim.NewLink[parcel](sim.LinkConfig{Delay: h.Late}); err != nil {
		return nil, err
	}
	w.loop.Add(sim.Hop[parcel]{Link: r.late, To: to})
	return r.take, nil
}

func (r *hostile) hit(p float64) bool { return p > 0 && r.random.Float64() < p }

func (r *hostile) take(now time.Duration, size int, p parcel) {
	if _, counter, ok := wire.DataHeader(p.b); ok {
		switch {
		case r.hit(r.Alter):
			p.b[len(p.b)-1-r.random.IntN(16)] ^= 1 // of the tag, which WireGuard checks as well as all else
		case r.hit(r.Forge):
			p.b[len(p.b)-1] ^= 1
			c := counter + uint64(r.random.IntN(64))
			for i := range 8 {
				p.b[8+i] = byte(c >> (8 * i))
			}
		}
	}
	switch {
	case r.hit(r.Drop):
		r.w.pool.Put(p.b)
		return
	case r.hit(r.Duplicate):
		r.to(now, size, parcel{p.path, r.w.pool.copy(p.b)})
	case r.hit(r.Delay):
		r.w.push(now, r.late, p)
		return
	case r.held == nil && r.hit(r.Reorder):
		r.held = &p
		return
	}
	r.to(now, size, p)
	if h := r.held; h != nil {
		r.held = nil
		r.to(now, len(h.b)+overhead, *h)
	}
}
