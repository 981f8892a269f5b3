//go:build linux

package experiment

import (
	"fmt"
	"math"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/lab"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/scenario"
)

// As says who carries the traffic.
type As int

// Who may carry it.
const (
	Bonded     As = iota // wg-bond over all paths, with the scenario's events
	Reference            // wg-bond over all paths, without what Workload.Reference leaves out
	BondAlone            // wg-bond over one path
	StockAlone           // wireguard-go over one path
	MPTCP                // no tunnel: the kernel's multipath TCP over all paths
)

// Subject is who is measured; Link is the one path of BondAlone and StockAlone.
type Subject struct {
	As   As
	Link *lab.Link
}

// String is what a reader of progress calls it.
func (s Subject) String() string {
	switch s.As {
	case Bonded:
		return "bonded"
	case Reference:
		return "reference"
	case MPTCP:
		return "mptcp"
	}
	return s.Link.Name
}

// clean tells whether the links are without random losses, and alone whether
// nothing else happens meanwhile.
func (s Subject) clean(w *scenario.Workload) (clean, alone bool) {
	switch s.As {
	case BondAlone, StockAlone:
		return w.CleanBaseline, false
	case Reference:
		return true, true
	}
	return false, false
}

// Traffic is which transfers are measured.
type Traffic struct {
	Upload     bool
	Congestion string // the sender's TCP
}

// Measure starts a subject's programs, has the scenario's workload pass, and
// stops them.
func Measure(l *lab.Lab, s Subject, t Traffic) (got Reading, err error) {
	w := &l.Scenario.Workload
	clean, alone := s.clean(w)
	if err := l.ConfigureLinks(clean, nil); err != nil {
		return got, err
	}
	var c *lab.Client
	switch s.As {
	case Bonded, Reference:
		c, err = l.StartBond(l.Links)
	case BondAlone:
		c, err = l.StartBond([]*lab.Link{s.Link})
	case StockAlone:
		c, err = l.StartStock(s.Link)
	case MPTCP:
		c, err = l.StartMPTCP()
	}
	defer func() {
		if c == nil {
			return
		}
		if e := c.Stop(); err == nil {
			err = e
		}
	}()
	if err != nil {
		return got, err
	}
	var happens []scenario.Event
	if s.As == Bonded || s.As == MPTCP {
		happens = l.Scenario.Events
	}
	if err := l.ConfigureLinks(clean, happens); err != nil {
		return got, err
	}
	if s.As == Bonded {
		stop := events(l)
		defer func() {
			l.LogStatus()
			if e := stop(); err == nil {
				err = e
			}
		}()
	}
	m := &measurement{lab: l, client: c, traffic: t, against: w.Against && !alone, events: happens}
	if s.As == MPTCP {
		m.mptcp, m.wrap = true, lab.MPTCP
	}
	return m.run()
}

// measurement is one in progress.
type measurement struct {
	lab     *lab.Lab
	client  *lab.Client
	traffic Traffic
	against bool
	events  []scenario.Event
	mptcp   bool
	wrap    []string // what runs curl
	sink    *measure.Sink
}

// run transfers and pings over what is up.
func (m *measurement) run() (got Reading, err error) {
	l, w, cc := m.lab, &m.lab.Scenario.Workload, m.traffic.Congestion
	got = Reading{During: -1, After: -1}
	if m.traffic.Upload || m.against {
		if m.sink, err = measure.NewSink(l.Host(lab.Web), lab.SinkAddr.String()); err != nil {
			return got, err
		}
		defer m.sink.Close()
	}
	var pinger *measure.Pinger
	if w.Ping > 0 {
		if pinger, err = measure.StartPings(l.Host(lab.Borrower), lab.WebAddr, time.Duration(w.Ping)); err != nil {
			return got, err
		}
	}
	fetches := startFetches(l, w, cc)
	watch := startWatch(l, m.client)
	against := m.startAgainst()

	a, tooks, err := m.transfers()

	rate, e := against()
	got.Course, got.CPU = watch()
	got.Course.Arrivals = a
	got.Fetches = fetches()
	if pinger != nil {
		got.Pings = pinger.Stop()
	}
	if err == nil {
		err = e
	}
	if err != nil {
		return got, err
	}
	got.Against = rate
	if w.Download > 0 {
		got.Took = measure.Quantile(tooks, .5)
		got.Goodput = float64(w.Download) * float64(max(1, w.Flows)) * 8 / got.Took.Seconds()
		got.Gap = a.Gap(0, a.Last())
		return got, nil
	}
	skip, end := time.Duration(w.Skip), time.Duration(w.Bulk)
	got.Goodput = a.Rate(skip, end)
	got.Gap = a.Gap(skip, end)
	got.AtEvents(m.events, end, a.Rate)
	for _, e := range m.events {
		from := time.Duration(e.At)
		got.Gaps = append(got.Gaps, a.Gap(from, min(from+time.Duration(e.For)+2*time.Second, end)))
	}
	return got, nil
}

// AtEvents notes what an outage among the events did to the rate between two
// times, bit/s, up to the end.
func (r *Reading) AtEvents(events []scenario.Event, end time.Duration, rate func(from, to time.Duration) float64) {
	for _, e := range events {
		if e.What != scenario.EventOutage {
			continue
		}
		o := e.Outage()
		r.During = rate(o.From+500*time.Millisecond, min(o.To, end))
		if back := o.To + time.Second; o.To < end && back < end {
			r.After = rate(back, end)
		}
	}
}

// transfers makes the workload's; a is the last one's course, tooks has the
// times of all of a finite size.
func (m *measurement) transfers() (a *measure.Arrivals, tooks []time.Duration, err error) {
	w := &m.lab.Scenario.Workload
	if m.traffic.Upload && w.Flows > 1 {
		return nil, nil, fmt.Errorf("%d uploads at a time: there is no such measurement, only downloads", w.Flows)
	}
	want := int64(w.Download) * int64(max(1, w.Flows))
	for range max(1, w.Repeat) {
		if a, err = m.transfer(m.traffic.Upload, int64(w.Download), w.Flows); err != nil {
			return a, nil, err
		}
		if a.Total() < want || w.Download > 0 && a.Total() > want {
			return a, nil, fmt.Errorf("%d bytes of %d arrived", a.Total(), want)
		}
		tooks = append(tooks, a.Took)
	}
	return a, tooks, nil
}

// transfer makes one, of so many bytes (0: without end, for Workload.Bulk).
func (m *measurement) transfer(upload bool, bytes int64, flows int) (*measure.Arrivals, error) {
	host, limit := m.lab.Host(lab.Borrower), time.Duration(m.lab.Scenario.Workload.Bulk)
	patience := patience(m.lab.Scenario, upload, bytes*int64(max(1, flows)))
	if upload {
		return measure.Upload{
			Host: host, Sink: m.sink, Congestion: m.traffic.Congestion, MPTCP: m.mptcp, Bytes: bytes, Limit: limit, Patience: patience,
		}.Run()
	}
	if bytes == 0 {
		bytes = -1
	}
	return measure.Curl{
		Host: host, URL: m.lab.URL(bytes, m.traffic.Congestion), Flows: flows, Limit: limit, Patience: patience, Wrap: m.wrap,
	}.Run()
}

// patience is how long so many bytes may take before the transfer is given up:
// half a minute, and five times what they need over the slowest link.
func patience(s *scenario.Scenario, upload bool, bytes int64) time.Duration {
	slowest := math.Inf(1)
	for i := range s.Links {
		way := &s.Links[i].Down
		if upload {
			way = &s.Links[i].Up
		}
		if r := way.MeanRate(); r > 0 { // else it is behind another
			slowest = min(slowest, r)
		}
	}
	return 30*time.Second + time.Duration(5*8*float64(bytes)/slowest*float64(time.Second))
}

// startAgainst transfers the other way until the function it returns is called;
// that returns the rate, bit/s of payload.
func (m *measurement) startAgainst() (stop func() (float64, error)) {
	if !m.against {
		return func() (float64, error) { return 0, nil }
	}
	w := &m.lab.Scenario.Workload
	var a *measure.Arrivals
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		a, err = m.transfer(!m.traffic.Upload, 0, 1)
	}()
	return func() (float64, error) {
		<-done
		if err != nil {
			return 0, fmt.Errorf("the transfer the other way: %w", err)
		}
		return a.Rate(time.Duration(w.Skip), time.Duration(w.Bulk)), nil
	}
}

// Course is how a measurement went, for charts.
type Course struct {
	Arrivals *measure.Arrivals
	Paths    []PathCourse // in the scenario's order
}

// PathCourse has what a path's link carried until certain times since the
// start, bytes of whole IP packets.
type PathCourse struct {
	Name     string
	At       []time.Duration
	Down, Up []uint64
}

// sampling is how often a Course looks at the links.
const sampling = 100 * time.Millisecond

// startWatch samples the links until the function it returns is called; that
// returns the course, and the processor time per packet.
func startWatch(l *lab.Lab, c *lab.Client) (stop func() (*Course, time.Duration)) {
	course := &Course{}
	for _, link := range l.Links {
		course.Paths = append(course.Paths, PathCourse{Name: link.Name})
	}
	start := time.Now()
	packets := uint64(0)
	sample := func() (all uint64) {
		for i, link := range l.Links {
			down, up := link.Carried()
			p := &course.Paths[i]
			p.At, p.Down, p.Up = append(p.At, time.Since(start)), append(p.Down, down.Bytes), append(p.Up, up.Bytes)
			all += down.Packets + up.Packets
		}
		return all
	}
	before, used := sample(), c.CPU()
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(sampling)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				sample()
			case <-quit:
				packets = sample() - before
				return
			}
		}
	}()
	return func() (*Course, time.Duration) {
		used = c.CPU() - used
		close(quit)
		<-done
		return course, used / time.Duration(max(packets, 1))
	}
}
