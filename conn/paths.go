package conn

import (
	"fmt"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/conn/netwatch"
	"github.com/wg-bond/wg-bond/conn/quota"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// pathSet turns what the user wants and what devices there are into paths.
//
//	entries (side file) ─┐                ┌─► paths: to dial by
//	State (netwatch) ────┼─► update ──────┤
//	exclude, now ────────┤                └─► absent: entries without a device, and why
//	choose (lenders) ────┘
//
// A device that comes and goes often is left out for a while (wgbond.Damping);
// one that the user names outright is not, for its path stays and is damped in
// the engine.
type pathSet struct {
	paths  []mux.Path
	absent []mux.Link
	again  time.Duration // when update has something to do on its own; 0: never
	ledger *quota.Ledger // nil: no path has a quota
	// taken are the devices that named entries with a Match have, by entry.
	taken   map[int]string
	devices map[string]*presence
	seeking []string // devices on which lenders are wanted
	entry   int      // being worked on
	choose  func(at seat, only control.Key) (use []Lender, again time.Duration)
}

// presence is how a device has come and gone.
type presence struct {
	there   bool
	damping wgbond.Damping
	until   time.Duration // left out until then
}

// anyDefault is the one path where devices cannot be told: as the routes say.
var anyDefault = []mux.Path{{PathSpec: mux.PathSpec{Name: "default"}}}

// update takes in the devices of now.
func (s *pathSet) update(entries []mux.PathSpec, state netwatch.State, exclude []string, now time.Duration,
	choose func(seat, control.Key) ([]Lender, time.Duration)) {
	s.choose, s.seeking = choose, nil
	if s.taken == nil {
		s.taken, s.devices = map[int]string{}, map[string]*presence{}
	}
	was := s.paths
	s.paths, s.absent, s.again = nil, nil, 0
	found := map[string]bool{}
	if len(entries) == 0 {
		for _, name := range state.Candidates(exclude) {
			s.offer(mux.PathSpec{Name: name, Device: name}, state, found, now)
		}
		if len(s.paths) == 0 && len(s.absent) == 0 { // no route at all now: the old ones are as good as any
			s.paths = was
			if len(was) == 0 {
				s.paths = anyDefault
			}
		}
	}
	for i, e := range entries {
		s.entry = i
		if e.Match.IsZero() {
			s.add(e, state)
			continue
		}
		names := state.Matching(e.Match, exclude)
		if len(names) == 0 {
			s.absent = append(s.absent, mux.Link{Name: label(e), State: mux.LinkWaiting, Reason: "no device that is up fits " + e.Match.String()})
		}
		if e.Name != "" && len(names) > 1 {
			names = s.one(i, e, names)
		}
		for _, name := range names {
			spec := e
			spec.Match, spec.Device = netwatch.Match{}, name
			if e.Name == "" {
				spec.Name = name // by a lender that is found, through has a better one
				if e.Relay.IsValid() {
					spec.Name += "-relay"
				}
			}
			s.offer(spec, state, found, now)
			s.taken[i] = name
		}
	}
	for name, p := range s.devices {
		if p.there && !found[name] {
			p.there = false
			p.damping.Lost(now)
		}
	}
}

// one picks a named entry's device: the one that it has, or else the first that
// is free.
func (s *pathSet) one(i int, e mux.PathSpec, names []string) []string {
	pick := slices.Index(names, s.taken[i])
	if pick < 0 {
		pick = max(0, slices.IndexFunc(names, func(n string) bool { return !s.has(n, e) }))
	}
	return names[pick : pick+1]
}

func label(e mux.PathSpec) string {
	if e.Name != "" {
		return e.Name
	}
	return e.Match.String()
}

// has reports whether a device is a path by the same relay as e already.
func (s *pathSet) has(device string, e mux.PathSpec) bool {
	return slices.ContainsFunc(s.paths, func(p mux.Path) bool { return p.Device == device && p.Relay == e.Relay })
}

// offer adds a path whose device was found rather than named, unless that has
// come and gone too often.
func (s *pathSet) offer(spec mux.PathSpec, state netwatch.State, found map[string]bool, now time.Duration) {
	p := s.devices[spec.Device]
	if p == nil {
		p = &presence{}
		s.devices[spec.Device] = p
	}
	found[spec.Device] = true
	if !p.there {
		p.there, p.until = true, now+p.damping.Hold(now)
	}
	if p.until > now {
		if s.again == 0 || p.until < s.again {
			s.again = p.until
		}
		s.absent = append(s.absent, mux.Link{Name: spec.Name, Device: spec.Device, State: mux.LinkWaiting,
			Reason: fmt.Sprintf("%s comes and goes; used if it stays %v more", spec.Device, (p.until - now).Round(100*time.Millisecond))})
		return
	}
	s.add(spec, state)
}

func (s *pathSet) add(spec mux.PathSpec, state netwatch.State) {
	if spec.Auto {
		s.addAuto(spec, state)
		return
	}
	if spec.Device != "" && s.has(spec.Device, spec) || len(s.paths) == schedulers.MaxPaths {
		return // an entry further up has it
	}
	if s.ledger != nil {
		if use := s.ledger.Use(spec.Name, time.Now()); use.Exhausted {
			s.absent = append(s.absent, mux.Link{Name: spec.Name, Device: spec.Device, State: mux.LinkClosed,
				Reason: fmt.Sprintf("its monthly quota is used up; again on %s", use.Until.Format("2 January"))})
			return
		}
		spec.Count = s.ledger.Counter(spec.Name)
	}
	path := mux.Path{PathSpec: spec}
	if _, there := state.Link(spec.Device); there {
		path.Way = mux.Way{Known: true, Reach: state.Reach(spec.Device)}
	}
	s.paths = append(s.paths, path)
}

// addAuto adds a path by each of the lenders chosen for the entry's device.
func (s *pathSet) addAuto(spec mux.PathSpec, state netwatch.State) {
	s.seeking = append(s.seeking, spec.Device)
	use, again := s.choose(seat{s.entry, spec.Device}, spec.RelayKey)
	if again > 0 && (s.again == 0 || again < s.again) {
		s.again = again
	}
	if len(use) == 0 {
		s.absent = append(s.absent, mux.Link{Name: spec.Name, Device: spec.Device, State: mux.LinkWaiting, Reason: "no lender is found nearby"})
	}
	for _, f := range use {
		s.add(through(spec, f), state)
	}
}
