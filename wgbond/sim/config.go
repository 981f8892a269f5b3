package sim

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// LinkConfig describes a Link. Times are since the link's start.
type LinkConfig struct {
	// Rate of the link, bit/s of whole IP packets (rounded to whole bit/s).
	// 0 without a Trace: no limit.
	Rate float64
	// Trace gives the link's rate instead of Rate; TraceStart is how far
	// into the trace the link starts.
	Trace      *Trace
	TraceStart time.Duration

	// Delay is the propagation time; Jitter the most that is added to it,
	// evenly distributed. Packets keep their order unless Reorder is set.
	Delay, Jitter time.Duration
	Reorder       bool

	// Overtaken has a share of the packets arrive later than it would, and
	// those behind overtake it. Nil: none.
	Overtaken *Overtaken

	// Loss is the ratio of packets lost at random, 0 to 1; Burst adds losses
	// that come in bursts. Both strike after serialisation.
	Loss  float64
	Burst *GilbertElliott

	// Queue is how many bytes may wait for serialisation, drop-tail. It
	// excludes the packet on the wire; 0: no limit.
	Queue int

	// MTU is the size of the largest packet that the link carries, bytes;
	// larger ones are dropped before they wait. 0: no limit.
	MTU int

	// Changes and Outages come at their times, in any order. During an outage
	// nothing is serialised and the queue fills; packets that were through
	// still arrive; a packet on the wire goes on afterwards.
	Changes []Change
	Outages []Outage

	// Seed makes the link's random choices; the same seed, the same choices.
	Seed uint64
}

// Change sets what is not nil at a certain time. A packet on the wire
// continues at the new rate. Delay, Jitter and losses go by the time at which
// a packet's serialisation ends; Queue and MTU by the time at which it is pushed.
type Change struct {
	At            time.Duration
	Rate          *float64 // as LinkConfig.Rate; ends a trace
	Trace         *Trace   // from its beginning; instead of the rate
	Delay, Jitter *time.Duration
	Loss          *float64
	Burst         *GilbertElliott // &GilbertElliott{} ends burst losses
	Queue, MTU    *int
}

// Outage is a time in which the link serves nothing: From ≤ t < To. To may be
// Never.
type Outage struct{ From, To time.Duration }

// Delayed is the same link with every change and outage d later, and its trace
// where it would be: at d it begins as it did at 0.
func (cfg LinkConfig) Delayed(d time.Duration) LinkConfig {
	if t := cfg.Trace; t != nil {
		cfg.TraceStart = (cfg.TraceStart - d%t.Period() + t.Period()) % t.Period()
	}
	cfg.Changes, cfg.Outages = slices.Clone(cfg.Changes), slices.Clone(cfg.Outages)
	for i := range cfg.Changes {
		cfg.Changes[i].At = add(cfg.Changes[i].At, d)
	}
	for i := range cfg.Outages {
		o := &cfg.Outages[i]
		o.From, o.To = add(o.From, d), add(o.To, d)
	}
	return cfg
}

// Overtaken is reordering on a path that else keeps the order: of every packet
// the share Share, 0 to 1, drawn at random, arrives Late after its time.
type Overtaken struct {
	Share float64
	Late  time.Duration
}

// GilbertElliott is a two-state model of burst loss. The state may change
// before each packet; then the packet is lost with its state's probability.
// The mean burst is 1/ToGood packets, the share of bad packets
// ToBad/(ToBad+ToGood). Links start in the good state.
type GilbertElliott struct {
	ToBad, ToGood     float64 // probability per packet of leaving the state
	LossGood, LossBad float64 // probability of loss in the state
}

// setting is what holds from a certain time on.
type setting struct {
	from          time.Duration
	delay, jitter time.Duration
	loss          float64
	burst         *GilbertElliott
	queue, mtu    int
}

// phase is a time in which the server works in one way. At most one of down,
// trace and rate counts, in this order; with none, serving takes no time.
type phase struct {
	from  time.Duration
	down  bool
	trace *Trace
	base  time.Duration // when the trace began
	rate  uint64        // bit/s
}

// compile checks a configuration and puts it in the order of time.
func compile(cfg LinkConfig) ([]setting, []phase, error) {
	if err := cfg.check(); err != nil {
		return nil, nil, err
	}
	changes := slices.Clone(cfg.Changes)
	slices.SortStableFunc(changes, func(a, b Change) int { return cmp.Compare(a.At, b.At) })

	now := setting{delay: cfg.Delay, jitter: cfg.Jitter, loss: cfg.Loss, burst: cfg.Burst, queue: cfg.Queue, mtu: cfg.MTU}
	service := phase{trace: cfg.Trace, base: -cfg.TraceStart, rate: uint64(math.Round(cfg.Rate))}
	settings, services := []setting{now}, []phase{service}
	for _, c := range changes {
		now.from = c.At
		setIf(&now.delay, c.Delay)
		setIf(&now.jitter, c.Jitter)
		setIf(&now.loss, c.Loss)
		setIf(&now.queue, c.Queue)
		setIf(&now.mtu, c.MTU)
		if c.Burst != nil {
			now.burst = c.Burst
		}
		settings = append(settings, now)
		switch {
		case c.Rate != nil:
			services = append(services, phase{from: c.At, rate: uint64(math.Round(*c.Rate))})
		case c.Trace != nil:
			services = append(services, phase{from: c.At, trace: c.Trace, base: c.At})
		}
	}
	return settings, interrupt(services, cfg.Outages), nil
}

// interrupt lays the outages over the phases of service.
func interrupt(services []phase, outages []Outage) []phase {
	outages = slices.Clone(outages)
	slices.SortFunc(outages, func(a, b Outage) int { return cmp.Compare(a.From, b.From) })
	var phases []phase
	put := func(p phase) {
		if n := len(phases); n > 0 && phases[n-1].from == p.from {
			phases = phases[:n-1]
		}
		phases = append(phases, p)
	}
	current := services[0]
	put(current)
	services = services[1:]
	runUntil := func(t time.Duration, down bool) { // changes of service up to and including t
		for len(services) > 0 && services[0].from <= t {
			current, services = services[0], services[1:]
			if !down {
				put(current)
			}
		}
	}
	for i := 0; i < len(outages); {
		from, to := outages[i].From, outages[i].To
		for i++; i < len(outages) && outages[i].From <= to; i++ {
			to = max(to, outages[i].To)
		}
		runUntil(from, false)
		put(phase{from: from, down: true})
		if to == Never {
			return phases
		}
		runUntil(to, true)
		back := current
		back.from = to
		put(back)
	}
	runUntil(Never, false)
	return phases
}

func setIf[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func (cfg *LinkConfig) check() error {
	if cfg.TraceStart < 0 || cfg.TraceStart > 0 && cfg.Trace == nil {
		return fmt.Errorf("link: TraceStart %v: want 0 or more, and a Trace", cfg.TraceStart)
	}
	err := check("link", Change{
		Rate: &cfg.Rate, Trace: cfg.Trace, Delay: &cfg.Delay, Jitter: &cfg.Jitter,
		Loss: &cfg.Loss, Burst: cfg.Burst, Queue: &cfg.Queue, MTU: &cfg.MTU,
	})
	if err != nil {
		return err
	}
	if o := cfg.Overtaken; o != nil && (!(o.Share >= 0 && o.Share <= 1) || o.Late < 0 || o.Late == Never) {
		return fmt.Errorf("link: Overtaken %+v: want a Share from 0 to 1, and 0 or more of Late", *o)
	}
	if cfg.Trace != nil && cfg.Rate != 0 {
		return fmt.Errorf("link: Rate %g bit/s and a Trace are both set: a trace brings its own rate, leave Rate 0", cfg.Rate)
	}
	for i, c := range cfg.Changes {
		where := fmt.Sprintf("link: Changes[%d] at %v", i, c.At)
		if c.At < 0 {
			return fmt.Errorf("%s: a change cannot come before the start: want At 0 or more", where)
		}
		if c.Rate != nil && c.Trace != nil {
			return fmt.Errorf("%s: Rate and Trace are both set: a trace brings its own rate, set one of them", where)
		}
		if err := check(where, c); err != nil {
			return err
		}
	}
	for i, o := range cfg.Outages {
		if o.From < 0 || o.To <= o.From {
			return fmt.Errorf("link: Outages[%d] from %v to %v: want 0 ≤ From < To", i, o.From, o.To)
		}
	}
	return nil
}

func check(where string, c Change) error {
	if c.Rate != nil && (!(*c.Rate >= 0) || *c.Rate > 0 && *c.Rate < 1 || *c.Rate > 1e15) {
		return fmt.Errorf("%s: Rate %g bit/s: want 0 (no limit) or 1 to 1e15 bit/s", where, *c.Rate)
	}
	for _, d := range [...]struct {
		name  string
		value *time.Duration
	}{{"Delay", c.Delay}, {"Jitter", c.Jitter}} {
		if d.value != nil && (*d.value < 0 || *d.value == Never) {
			return fmt.Errorf("%s: %s %v: want 0 or more, and not Never; use an Outage for a link that is gone", where, d.name, *d.value)
		}
	}
	if c.Loss != nil && !(*c.Loss >= 0 && *c.Loss <= 1) {
		return fmt.Errorf("%s: Loss %g: want a ratio from 0 to 1; 1 %% is 0.01", where, *c.Loss)
	}
	if b := c.Burst; b != nil {
		for _, p := range [...]struct {
			name  string
			value float64
		}{{"ToBad", b.ToBad}, {"ToGood", b.ToGood}, {"LossGood", b.LossGood}, {"LossBad", b.LossBad}} {
			if !(p.value >= 0 && p.value <= 1) {
				return fmt.Errorf("%s: Burst.%s %g: want a probability from 0 to 1", where, p.name, p.value)
			}
		}
	}
	if c.Queue != nil && *c.Queue < 0 {
		return fmt.Errorf("%s: Queue %d bytes: want 0 (no limit) or more", where, *c.Queue)
	}
	if c.MTU != nil && *c.MTU < 0 {
		return fmt.Errorf("%s: MTU %d bytes: want 0 (no limit) or more", where, *c.MTU)
	}
	return nil
}
