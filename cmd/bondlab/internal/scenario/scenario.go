// Package scenario reads the laboratory's scenario files.
//
// A scenario is a TOML file: the borrower's links and its neighbours', what
// is downloaded over them, and what happens meanwhile. A complete one:
//
//	about = "The original experiment"
//	family = 6                   # the networks outside the tunnel: 4 (if it is not said) or 6
//
//	[[link]]                     # a WWAN of the borrower
//	name = "own"
//	down = { rate = "3.6Mbit", delay = "30ms", queue = "150ms" }
//	up   = { rate = "1.4Mbit", delay = "30ms", queue = "150ms" }
//
//	[[link]]
//	name = "neighbour"
//	via  = "r"                   # a WWAN of neighbour r, who lends it through relayd
//	down = { rate = "3.6Mbit", delay = "30ms", queue = "150ms", loss = "0.1%" }
//	up   = { rate = "1.4Mbit", delay = "30ms", queue = "150ms" }
//
//	[workload]
//	download = "3MB"             # or bulk = "20s"
//	ping = "50ms"
//
//	[[event]]                    # in bonded runs only; times from the start of the workload
//	what = "outage"
//	link = "own"
//	at = "3s"
//	for = "10s"
//
// Rates are of whole IP packets, as sim.LinkConfig has them; down is towards
// the borrower.
package scenario

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/wg-bond/wg-bond/wgbond/sim"
)

// Scenario is one scenario file.
type Scenario struct {
	Name     string   `toml:"-"` // the file's, without .toml
	About    string   `toml:"about"`
	Family   int      `toml:"family"` // 4, 6 or 0, which is 4: IPv4 or IPv6 outside the tunnel
	Links    []Link   `toml:"link"`
	Workload Workload `toml:"workload"`
	// Scheduler is what both bonded ends use; empty: their default.
	Scheduler string   `toml:"scheduler"`
	Lending   *Lending `toml:"lending"` // instead of a download
	Mutual    *Mutual  `toml:"mutual"`  // instead of a download
	Events    []Event  `toml:"event"`
}

// Link is one WWAN: the borrower's own, or that of the neighbour Via.
type Link struct {
	Name string `toml:"name"`
	Via  string `toml:"via"`
	// Behind is an earlier link whose down and up this one's packets pass, too,
	// in place of its own: two links, one bottleneck.
	Behind string `toml:"behind"`

	Down Direction `toml:"down"`
	Up   Direction `toml:"up"`
}

// Direction is one direction of a link; see sim.LinkConfig.
type Direction struct {
	Rate   Rate     `toml:"rate"`  // one of Rate, Trace and Cell
	Trace  string   `toml:"trace"` // a mahimahi file, relative to the scenario's
	Cell   *Cell    `toml:"cell"`  // a generated trace
	Delay  Duration `toml:"delay"`
	Jitter Duration `toml:"jitter"`
	Loss   Ratio    `toml:"loss"`
	Burst  *Burst   `toml:"burst"`
	Queue  Queue    `toml:"queue"`
	Seed   uint64   `toml:"seed"`

	// Overtaken has a share of the packets come late, after those behind them.
	Overtaken *Overtaken `toml:"overtaken"`

	Changes []Change `toml:"change"`
	Outages []Outage `toml:"outage"`

	trace *sim.Trace
}

// Burst is burst loss: now and then, for about Length packets, the share
// Loss of them is lost. Every is the mean number of packets between bursts.
type Burst struct {
	Every  float64 `toml:"every"`
	Length float64 `toml:"length"`
	Loss   Ratio   `toml:"loss"`
}

// Overtaken is in-path reordering, see sim.Overtaken.
type Overtaken struct {
	Share Ratio    `toml:"share"`
	Late  Duration `toml:"late"`
}

// Change is a timed change of a direction.
type Change struct {
	At     Duration  `toml:"at"`
	Rate   *Rate     `toml:"rate"`
	Delay  *Duration `toml:"delay"`
	Jitter *Duration `toml:"jitter"`
	Loss   *Ratio    `toml:"loss"`
}

// Outage is a time in which a direction carries nothing. It is the link's
// nature: baselines have it too.
type Outage struct {
	At  Duration `toml:"at"`
	For Duration `toml:"for"`
}

// Workload is what runs over the links.
type Workload struct {
	Download Size     `toml:"download"` // a file of so many bytes; or
	Bulk     Duration `toml:"bulk"`     // an endless one for so long,
	Skip     Duration `toml:"skip"`     // measured without its beginning
	Ping     Duration `toml:"ping"`     // interval of pings through the tunnel; 0: none
	Fetch    Size     `toml:"fetch"`    // a small file, fetched every second over a new connection
	Flows    int      `toml:"flows"`    // so many at a time, each of Download bytes or of the whole Bulk; 0: one
	Repeat   int      `toml:"repeat"`   // a download is made so often, and its median time taken; 0: once
	Against  bool     `toml:"against"`  // an endless transfer the other way meanwhile

	// Congestion lists the web host's TCP congestion controls; each is a
	// series of its own. Empty: cubic.
	Congestion []string `toml:"congestion"`

	// Baseline is the client of single-path baselines: "bond" (wg-bond with
	// one path; the default) or "stock" (wireguard-go).
	Baseline string `toml:"baseline"`
	// CleanBaseline has the baselines run without random and burst loss.
	CleanBaseline bool `toml:"clean-baseline"`
	// Alike says that the links are all the same: bench measures the first alone
	// and takes it for all.
	Alike bool `toml:"alike"`
	// Reference has the bonded paths measured by bench once more without random
	// and burst loss, Overtaken, Against and events, to compare.
	Reference bool `toml:"reference"`
	// Runs is how often everything is measured unless the user says otherwise.
	Runs int `toml:"runs"`
}

// Lending measures what a lender keeps of a link that it uses itself while the
// borrower's tunnel takes what goes: both directions, each congestion control
// of the workload as the lender's.
type Lending struct {
	Link   string     `toml:"link"`   // the lent one
	Queues []Duration `toml:"queues"` // how long its queues are, each a series of its own
	Phase  Duration   `toml:"phase"`  // for how long each part is measured
}

// Mutual measures a borrower and the one neighbour, who lends to it and borrows
// from it in turn, each with a tunnel of its own: one downloads, both do, the
// other does.
type Mutual struct {
	Phase Duration `toml:"phase"` // for how long each part is measured
}

// Event is something that happens during bonded runs.
type Event struct {
	What string   `toml:"what"` // one of the Event constants
	Link string   `toml:"link"` // for an outage, and for what happens to a device
	Host string   `toml:"host"` // for EventRestart and EventStop of a relay: the neighbour
	At   Duration `toml:"at"`
	For  Duration `toml:"for"` // 0: to the end
}

// The events.
const (
	EventOutage       = "outage"        // the link carries nothing, both ways
	EventRestartServe = "restart-serve" // the server's shim is killed and started again
	EventStopRelay    = "stop-relay"    // a neighbour's relayd is killed
	EventUnplug       = "unplug"        // the link's device is gone, for For
	EventRenumber     = "renumber"      // its address and gateway change
	EventRoam         = "roam"          // it is down for For, then in another network
	EventRebind       = "rebind"        // the NAT on its way forgets it
)

// Congestions returns the congestion controls to measure with.
func (w *Workload) Congestions() []string {
	if len(w.Congestion) == 0 {
		return []string{"cubic"}
	}
	return w.Congestion
}

// Neighbours lists the hosts that lend links, in the order of the file.
func (s *Scenario) Neighbours() []string {
	var out []string
	seen := map[string]bool{"": true}
	for _, l := range s.Links {
		if !seen[l.Via] {
			seen[l.Via] = true
			out = append(out, l.Via)
		}
	}
	return out
}

// Config is the model of a direction. Clean leaves out random and burst loss
// and what is overtaken; outages are added to the link's own.
func (d *Direction) Config(clean bool, outages ...sim.Outage) sim.LinkConfig {
	c := sim.LinkConfig{
		Rate: float64(d.Rate), Trace: d.trace, Delay: time.Duration(d.Delay), Jitter: time.Duration(d.Jitter),
		Queue: d.Queue.bytes(d.MeanRate()), Seed: d.Seed,
	}
	if !clean {
		c.Loss = float64(d.Loss)
		if b := d.Burst; b != nil {
			c.Burst = &sim.GilbertElliott{ToBad: 1 / b.Every, ToGood: 1 / b.Length, LossBad: float64(b.Loss)}
		}
		if o := d.Overtaken; o != nil {
			c.Overtaken = &sim.Overtaken{Share: float64(o.Share), Late: time.Duration(o.Late)}
		}
	}
	for _, ch := range d.Changes {
		sc := sim.Change{At: time.Duration(ch.At), Rate: (*float64)(ch.Rate), Delay: (*time.Duration)(ch.Delay), Jitter: (*time.Duration)(ch.Jitter)}
		if !clean {
			sc.Loss = (*float64)(ch.Loss)
		}
		c.Changes = append(c.Changes, sc)
	}
	for _, o := range d.Outages {
		c.Outages = append(c.Outages, sim.Outage{From: time.Duration(o.At), To: end(o.At, o.For)})
	}
	c.Outages = append(c.Outages, outages...)
	return c
}

// Outage is the time in which an outage event holds.
func (e *Event) Outage() sim.Outage {
	return sim.Outage{From: time.Duration(e.At), To: end(e.At, e.For)}
}

// String names the event for people.
func (e *Event) String() string {
	name := e.What
	if on := cmp.Or(e.Link, e.Host); on != "" {
		name += "_" + on
	}
	return name
}

func end(at, duration Duration) time.Duration {
	if duration == 0 {
		return sim.Never
	}
	return time.Duration(at + duration)
}

// MeanRate is what the direction carries on average, bit/s.
func (d *Direction) MeanRate() float64 {
	switch {
	case d.Cell != nil:
		return float64(d.Cell.Mean)
	case d.trace != nil:
		return d.trace.Rate()
	}
	return float64(d.Rate)
}

// Find reads the scenario with this name from the library, or the file with
// this path if the name holds a slash or ends in .toml.
func Find(library fs.FS, name string) (*Scenario, error) {
	if strings.Contains(name, "/") || strings.HasSuffix(name, ".toml") {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		return Parse(name, b, os.DirFS(filepath.Dir(name)))
	}
	b, err := fs.ReadFile(library, name+".toml")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no scenario %q: there are %s, or give the path of a .toml file", name, strings.Join(Names(library), ", "))
	}
	if err != nil {
		return nil, err
	}
	return Parse(name+".toml", b, library)
}

// Names lists the scenarios of a library.
func Names(library fs.FS) []string {
	files, _ := fs.Glob(library, "*.toml") // the pattern is well-formed
	for i, f := range files {
		files[i] = strings.TrimSuffix(f, ".toml")
	}
	sort.Strings(files)
	return files
}

// Parse reads a scenario. The file name is for error messages, which say
// FILE:LINE: KEY: what was found and what would be right; traces are read
// from dir.
func Parse(file string, text []byte, dir fs.FS) (*Scenario, error) {
	s := &Scenario{Name: strings.TrimSuffix(filepath.Base(file), ".toml")}
	where := index(text)
	dec := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := dec.Decode(s); err != nil {
		return nil, located(file, where, err)
	}
	fail := func(key, format string, args ...any) error {
		return fmt.Errorf("%s:%d: %s: %s", file, where.line(key), key, fmt.Sprintf(format, args...))
	}
	if err := s.check(fail); err != nil {
		return nil, err
	}
	for i := range s.Links {
		for _, d := range s.Links[i].directions(i) {
			if err := d.load(dir); err != nil {
				return nil, fail(d.key+".trace", "%v", err)
			}
			if _, err := sim.NewLink[int](d.Config(false)); err != nil {
				return nil, fail(d.key, "%v", err)
			}
		}
	}
	return s, nil
}

// located says where in the file a decoding error is.
func located(file string, where lines, err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		line, column := strict.Errors[0].Position()
		return fmt.Errorf("%s:%d: %s: no such key in a scenario", file, line, where.at(line, column))
	}
	var bad *valueError
	if errors.As(err, &bad) {
		// A number or boolean in place of a quantity; the decoder does not say where.
		key := where.withValue(bad.found)
		return fmt.Errorf("%s:%d: %s: %w", file, where.line(key), key, bad)
	}
	var e *toml.DecodeError
	if errors.As(err, &e) {
		line, column := e.Position()
		key := where.at(line, column)
		if key != "" {
			key += ": "
		}
		return fmt.Errorf("%s:%d: %s%s", file, line, key, strings.TrimPrefix(e.Error(), "toml: "))
	}
	return fmt.Errorf("%s: %w", file, err)
}

type keyed struct {
	*Direction
	key string
}

func (l *Link) directions(i int) []keyed {
	if l.Behind != "" {
		return nil
	}
	return []keyed{{&l.Down, fmt.Sprintf("link[%d].down", i)}, {&l.Up, fmt.Sprintf("link[%d].up", i)}}
}

func (d *Direction) load(dir fs.FS) (err error) {
	switch {
	case d.Cell != nil:
		d.trace, err = d.Cell.trace()
	case d.Trace != "":
		var f fs.File
		if filepath.IsAbs(d.Trace) {
			f, err = os.Open(d.Trace)
		} else {
			f, err = dir.Open(d.Trace)
		}
		if err != nil {
			return err
		}
		defer f.Close()
		d.trace, err = sim.ParseTrace(f)
	}
	return err
}

var hostName = regexp.MustCompile(`^[a-z][a-z0-9]{0,7}$`)

// check refuses what can be typed but not be meant.
func (s *Scenario) check(fail func(key, format string, args ...any) error) error {
	if s.Family != 0 && s.Family != 4 && s.Family != 6 {
		return fail("family", "%d: want 4 or 6", s.Family)
	}
	if len(s.Links) == 0 {
		return fail("link", "none: a scenario needs at least one [[link]]")
	}
	links, lenders := map[string]bool{}, map[string]bool{}
	for i := range s.Links {
		l := &s.Links[i]
		key := fmt.Sprintf("link[%d]", i)
		switch {
		case !hostName.MatchString(l.Name):
			return fail(key+".name", "%q: want up to 8 small letters and digits", l.Name)
		case links[l.Name]:
			return fail(key+".name", "%q: another link has this name", l.Name)
		case l.Via != "" && !hostName.MatchString(l.Via):
			return fail(key+".via", "%q: want a neighbour's name, up to 8 small letters and digits", l.Via)
		case l.Via == "c" || l.Via == "s" || l.Via == "w" || l.Via == "i" || l.Via == "air":
			return fail(key+".via", "%q: this is the laboratory's own host; name the neighbour otherwise", l.Via)
		}
		if l.Via != "" && lenders[l.Via] {
			return fail(key+".via", "%q lends another link already: a neighbour's relayd lends one", l.Via)
		}
		if l.Behind != "" {
			if k := slices.IndexFunc(s.Links[:i], func(f Link) bool { return f.Name == l.Behind && f.Behind == "" }); k < 0 {
				return fail(key+".behind", "%q: want an earlier link with a down and an up of its own", l.Behind)
			}
			if !l.Down.none() || !l.Up.none() {
				return fail(key+".behind", "%q has its down and up: leave out those of %q", l.Behind, l.Name)
			}
			links[l.Name], lenders[l.Via] = true, true
			continue
		}
		links[l.Name], lenders[l.Via] = true, true
		for _, d := range l.directions(i) {
			if err := d.check(func(k, format string, args ...any) error { return fail(d.key+k, format, args...) }); err != nil {
				return err
			}
		}
	}
	w := &s.Workload
	switch {
	case s.Mutual != nil:
		return s.Mutual.check(s, fail)
	case s.Lending != nil && (w.Download > 0 || w.Bulk > 0 || w.Fetch > 0 || len(s.Events) > 0):
		return fail("lending", "has flows of its own, without download, bulk, fetch and events")
	case s.Lending != nil:
		return s.Lending.check(s, fail)
	case (w.Download == 0) == (w.Bulk == 0):
		return fail("workload", "want one of download = \"3MB\" and bulk = \"20s\"")
	case w.Bulk > 0 && w.Skip >= w.Bulk:
		return fail("workload.skip", "%v of a bulk of %v: nothing is left to measure", time.Duration(w.Skip), time.Duration(w.Bulk))
	case w.Download > 0 && w.Skip > 0:
		return fail("workload.skip", "goes with bulk: a download is measured whole")
	case w.Runs < 0:
		return fail("workload.runs", "%d: want 1 or more", w.Runs)
	case w.Flows < 0 || w.Flows > 100:
		return fail("workload.flows", "%d: want 1 to 100", w.Flows)
	case w.Repeat < 0 || w.Repeat > 0 && w.Download == 0:
		return fail("workload.repeat", "%d: want 1 or more, with a download", w.Repeat)
	case w.Baseline != "" && w.Baseline != "bond" && w.Baseline != "stock":
		return fail("workload.baseline", "%q: want \"bond\" or \"stock\"", w.Baseline)
	}
	for i := range s.Events {
		e := &s.Events[i]
		key := fmt.Sprintf("event[%d]", i)
		switch e.What {
		case EventOutage:
			if !links[e.Link] {
				return fail(key+".link", "%q: no link has this name", e.Link)
			}
		case EventUnplug, EventRenumber, EventRoam, EventRebind:
			own := slices.ContainsFunc(s.Links, func(l Link) bool { return l.Name == e.Link && l.Via == "" })
			if !own || s.Family == 6 {
				return fail(key+".link", "%q: want one of the borrower's own links, over IPv4", e.Link)
			}
		case EventRestartServe:
		case EventStopRelay:
			known := false
			for _, n := range s.Neighbours() {
				known = known || n == e.Host
			}
			if !known {
				return fail(key+".host", "%q: no link is via this neighbour", e.Host)
			}
		default:
			return fail(key+".what", "%q: want %q, %q, %q, %q, %q, %q or %q", e.What, EventOutage, EventRestartServe, EventStopRelay,
				EventUnplug, EventRenumber, EventRoam, EventRebind)
		}
	}
	return nil
}

// none tells whether nothing is said of the direction.
func (d *Direction) none() bool {
	return d.Rate == 0 && d.Trace == "" && d.Cell == nil && d.Delay == 0 && d.Queue == (Queue{})
}

func (m *Mutual) check(s *Scenario, fail func(key, format string, args ...any) error) error {
	w := &s.Workload
	switch {
	case w.Download > 0 || w.Bulk > 0 || w.Fetch > 0 || w.Ping > 0 || len(s.Events) > 0 || s.Lending != nil:
		return fail("mutual", "has flows of its own, without download, bulk, fetch, ping, events and lending")
	case len(s.Links) != 2 || s.Links[0].Via != "" || s.Links[1].Via == "" || s.Links[0].Down.Rate == 0 || s.Links[1].Down.Rate == 0:
		return fail("mutual", "want two links with rates: the borrower's own, and one via a neighbour")
	case m.Phase < Duration(time.Second):
		return fail("mutual.phase", "%v: want a second or more", time.Duration(m.Phase))
	}
	return nil
}

func (l *Lending) check(s *Scenario, fail func(key, format string, args ...any) error) error {
	i := slices.IndexFunc(s.Links, func(k Link) bool { return k.Name == l.Link })
	switch {
	case i < 0 || s.Links[i].Via == "":
		return fail("lending.link", "%q: want the name of a link with via", l.Link)
	case s.Links[i].Down.Rate == 0 || s.Links[i].Up.Rate == 0:
		return fail("lending.link", "%q: what is spare of it can be told only with a rate", l.Link)
	case len(l.Queues) == 0:
		return fail("lending.queues", "none: want at least one, like [\"100ms\"]")
	case l.Phase < Duration(time.Second):
		return fail("lending.phase", "%v: want a second or more", time.Duration(l.Phase))
	case s.Workload.Ping == 0:
		return fail("workload.ping", "none: the lender's delay is measured with it")
	}
	return nil
}

func (d *Direction) check(fail func(key, format string, args ...any) error) error {
	sources := 0
	for _, set := range []bool{d.Rate != 0, d.Trace != "", d.Cell != nil} {
		if set {
			sources++
		}
	}
	if sources != 1 {
		return fail("", "want one of rate, trace and cell")
	}
	if b := d.Burst; b != nil && (b.Every < 1 || b.Length < 1 || b.Loss == 0) {
		return fail(".burst", "want every and length of 1 packet or more, and a loss")
	}
	if d.Cell != nil {
		return d.Cell.check(func(k, format string, args ...any) error { return fail(".cell"+k, format, args...) })
	}
	return nil
}
