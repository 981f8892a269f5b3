package schedulers

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// The bounds that Validate sets to a plan's numbers. They are far beyond what
// a sensible plan needs and far within what the executor can add up.
const (
	// MaxBase bounds PathPlan.Base, nanoseconds (100 s).
	MaxBase = 1e11
	// MaxPerByte bounds PathPlan.PerByte, nanoseconds per byte (1 byte/s).
	MaxPerByte = 1e9
	// MaxDrain bounds Plan.Drain, bytes per second.
	MaxDrain = 1e12
	// NoCap is a PathPlan.Cap that does not limit anything, bytes.
	NoCap = math.MaxInt32
	// MaxHold bounds Plan.Hold.
	MaxHold = 500 * time.Millisecond
	// MaxValid bounds Plan.Valid.
	MaxValid = 10 * time.Second
)

// ErrPlan is what every error of Validate wraps.
var ErrPlan = errors.New("unusable plan")

// Usable returns a bit for each path that a plan should send data on: the
// active ones, without the backups unless there are no others. With no active
// path it is those that may yet work (suspect or probing), and with none of
// these, all: a packet sent in vain costs nothing then.
func Usable(s *Snapshot) uint32 {
	var active, backup, maybe, all uint32
	for i := range s.Paths {
		p := &s.Paths[i]
		bit := uint32(1) << p.ID
		all |= bit
		switch {
		case p.State == Active && p.Backup:
			backup |= bit
		case p.State == Active:
			active |= bit
		case p.State != Dead:
			maybe |= bit
		}
	}
	for _, m := range []uint32{active, backup, maybe} {
		if m != 0 {
			return m
		}
	}
	return all
}

// Validate reports whether p can be followed as the answer to s, which has no
// path id of MaxPaths or more. A plan that
//
//   - answers another snapshot, or is good for no time or for too long,
//   - has a number that is NaN, infinite, negative or absurdly large,
//   - uses a path that the snapshot does not have, or
//   - leaves a class without any active path although there is one
//
// gets an error, which wraps ErrPlan and names the first such place.
func Validate(p *Plan, s *Snapshot) error {
	if p.Seq != s.Seq {
		return fmt.Errorf("%w: it answers snapshot %d, not %d", ErrPlan, p.Seq, s.Seq)
	}
	if p.Valid <= 0 || p.Valid > MaxValid {
		return fmt.Errorf("%w: it is valid for %v; want more than 0, at most %v", ErrPlan, p.Valid, MaxValid)
	}
	var known, active uint32
	for i := range s.Paths {
		known |= 1 << s.Paths[i].ID
		if s.Paths[i].State == Active {
			active |= 1 << s.Paths[i].ID
		}
	}
	for id, d := range p.Drain {
		if !(d >= 0 && d <= MaxDrain) {
			return fmt.Errorf("%w: path %d drains at %v byte/s; want 0 to %g", ErrPlan, id, d, float64(MaxDrain))
		}
	}
	for id, h := range p.Hold {
		if h < 0 || h > MaxHold {
			return fmt.Errorf("%w: what comes by path %d is held for %v; want 0 to %v", ErrPlan, id, h, MaxHold)
		}
	}
	for c := range p.Classes {
		if err := validateClass(&p.Classes[c], known, active); err != nil {
			return fmt.Errorf("%w: class %v: %w", ErrPlan, Class(c), err)
		}
	}
	return nil
}

func validateClass(c *ClassPlan, known, active uint32) error {
	var used uint32
	for id := range c.Paths {
		p := &c.Paths[id]
		if !p.Use {
			continue
		}
		used |= 1 << id
		switch {
		case !(p.Base >= 0 && p.Base <= MaxBase):
			return fmt.Errorf("path %d has a base of %v ns; want 0 to %g", id, p.Base, float64(MaxBase))
		case !(p.PerByte >= 0 && p.PerByte <= MaxPerByte):
			return fmt.Errorf("path %d costs %v ns a byte; want 0 to %g", id, p.PerByte, float64(MaxPerByte))
		case p.Cap < 0:
			return fmt.Errorf("path %d has a cap of %d bytes; want 0 or more", id, p.Cap)
		}
	}
	switch {
	case (used|c.Copies)&^known != 0:
		return fmt.Errorf("it uses the paths %#b, the snapshot has %#b", used|c.Copies, known)
	case active != 0 && used&active == 0:
		return fmt.Errorf("it uses the paths %#b, none of them active; %#b are", used, active)
	}
	return nil
}

func (c Class) String() string {
	switch c {
	case Control:
		return "control"
	case Small:
		return "small"
	case Bulk:
		return "bulk"
	}
	return "unknown"
}
