package judge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/sim"
	"github.com/wg-bond/wg-bond/wgbond/sim/tcp"
	"github.com/wg-bond/wg-bond/wgbond/sim/tunnel"
)

const (
	request    = 100    // bytes that ask for a download
	fetchSize  = 10_000 // bytes
	binWidth   = 100 * time.Millisecond
	patience   = 30 * time.Second // for paths that are away when all should be attached
	firstOther = 500              // flow numbers from here on go the other way
	firstFetch = 1000             // … and from here on are fetches
)

// Report is what a scenario was worth. Rates are bit/s of TCP payload.
type Report struct {
	Name    string
	Goodput float64 // over the time after Warmup; with Bytes: from SYN to the last byte
	// Done is the time from SYN to the last byte of the last flow; sim.Never
	// without Bytes, or if Time was up.
	Done    time.Duration
	Against float64 // goodput of the flows the other way
	// Bins has the payload bytes that arrived in order in every 100 ms.
	Bins []int64

	RTT   Percentiles // the flows' own samples
	Ping  Percentiles
	Pings int // sent after Warmup; lost: those that did not come back
	Lost  int
	// Underway is how many of the lost were sent in the last second.
	Underway int
	PingRTT  []time.Duration // of those that did, in the order of the answers
	PingGap  time.Duration   // the longest time between two answers
	Fetches  []time.Duration // from SYN to the last byte; sim.Never: not done
	// Gap is the longest time between two deliveries in order to the flows'
	// reader, PacketGap between any two packets from the tunnel to that end.
	Gap, PacketGap time.Duration

	Sender, Receiver tcp.Stats    // sums over the flows, fetches left out
	Tunnel           tunnel.Stats // at the receiving end
	Links            []LinkReport // of each path
	Owner            *OwnerReport // of the path that is lent; nil: none is
	Client, Server   wgbond.Status
}

// LinkReport is what the first hop each way of a path did.
type LinkReport struct {
	Name     string
	Down, Up sim.Stats
}

// Percentiles of times.
type Percentiles struct {
	N                       int
	P5, P50, P95, Max, Mean time.Duration
}

func percentiles(d []time.Duration) Percentiles {
	if len(d) == 0 {
		return Percentiles{}
	}
	d = slices.Clone(d)
	slices.Sort(d)
	sum := time.Duration(0)
	for _, x := range d {
		sum += x
	}
	at := func(p int) time.Duration { return d[(len(d)-1)*p/100] }
	return Percentiles{len(d), at(5), at(50), at(95), d[len(d)-1], sum / time.Duration(len(d))}
}

// run is what a scenario gathers while it runs.
type run struct {
	*World
	s         *Scenario
	start     time.Duration
	from      time.Duration // start + Warmup
	senders   []*stream
	receivers []*stream
	fetches   []*stream // at the client
	bytes     int64     // after from
	against   int64     // the same, of the flows the other way
	bins      []int64
	rtts      []time.Duration
	lastIn    time.Duration // last in-order delivery after from
	gap       time.Duration
	packets   gapMeter
	ping      *pinger
}

// gapMeter is an app that takes nothing and measures the time between packets.
type gapMeter struct{ from, last, gap time.Duration }

func (g *gapMeter) receive(now time.Duration, _ []byte) bool {
	if now >= g.from {
		g.gap = max(g.gap, now-max(g.last, g.from))
		g.last = now
	}
	return false
}
func (g *gapMeter) output(time.Duration, func([]byte)) {}
func (g *gapMeter) next() time.Duration                { return sim.Never }

// Run runs a scenario.
func Run(s Scenario) (*Report, error) {
	w, err := newWorld(&s)
	if err != nil {
		return nil, fmt.Errorf("judge: %s: %w", s.Name, err)
	}
	w.loop.Run(s.settle(), nil)
	if w.Client.Session != nil && !w.bonded() {
		w.loop.Run(s.settle()+patience, w.bonded) // a path may be in an outage
		if !w.bonded() {
			return nil, fmt.Errorf("judge: %s: not bonded on all %d paths after %v: client %+v", s.Name, len(w.wires), s.settle()+patience, w.Client.Status())
		}
	}
	w.tellUnused(&s)
	r := &run{World: w, s: &s, start: w.loop.Now(), from: w.loop.Now() + s.Warmup}
	r.packets = gapMeter{from: r.from}
	r.lastIn = r.from
	if err := r.addApps(); err != nil {
		return nil, fmt.Errorf("judge: %s: %w", s.Name, err)
	}
	for _, e := range s.Script {
		w.loop.At(r.start+e.At, func() { e.Do(w.loop.Now()-r.start, w) })
	}
	if s.Rekey > 0 {
		r.rekey(1)
	}
	if s.Owner != nil {
		if err := r.wires[s.Owner.Path].owner.begin(r.start); err != nil {
			return nil, fmt.Errorf("judge: %s: the owner: %w", s.Name, err)
		}
	}
	if s.Trace != nil {
		r.trace()
	}
	end := r.start + s.Time
	w.loop.Run(end, r.done)
	for _, e := range []*End{w.Client, w.Server} {
		if e.Session != nil {
			e.Session.FlushTrace()
		}
	}
	return r.report(), nil
}

// tellUnused has the lenders say that they use nothing, but for the one that
// speaks for itself.
func (w *World) tellUnused(s *Scenario) {
	for i, p := range s.Paths {
		if p.Config.Lent && i != s.lends() && w.Client.Session != nil {
			w.Client.Session.SetCeiling(w.loop.Now(), w.wires[i].id, wgbond.Unused, wgbond.Unused)
			w.Client.settle(w.loop.Now())
		}
	}
}

func (s *Scenario) settle() time.Duration { return cmp.Or(s.Settle, 3*time.Second) }

// rekey begins WireGuard's nth new key pair after n intervals, and so on.
func (r *run) rekey(n uint32) {
	r.loop.At(r.start+time.Duration(n)*r.s.Rekey, func() {
		r.Client.tunnel.Rekey(2*n + 1)
		r.Server.tunnel.Rekey(2*n + 2)
		r.rekey(n + 1)
	})
}

func (r *run) trace() {
	r.s.Trace(r.loop.Now()-r.start, r.World)
	r.loop.At(r.loop.Now()+binWidth, r.trace)
}

func (r *run) addApps() error {
	receiving := r.Client
	if r.s.Upload {
		receiving = r.Server
	}
	receiving.apps = append(receiving.apps, &r.packets)
	for k := range max(1, r.s.Flows) {
		sender, receiver, err := r.addFlow(uint16(k), r.s.Upload, r.s.Bytes, r.delivered)
		if err != nil {
			return err
		}
		r.senders, r.receivers = append(r.senders, sender), append(r.receivers, receiver)
	}
	for k := range r.s.Against {
		if _, _, err := r.addFlow(uint16(firstOther+k), !r.s.Upload, 0, r.deliveredBack); err != nil {
			return err
		}
	}
	for i, at := range r.s.Fetch {
		flow := uint16(firstFetch + i)
		client, err := newStream(tcp.Config{Flow: flow, Active: true, Start: r.start + at, Send: request})
		if err != nil {
			return err
		}
		server, err := newStream(tcp.Config{Flow: flow, Send: fetchSize, After: request})
		if err != nil {
			return err
		}
		r.fetches = append(r.fetches, client)
		r.Client.apps = append(r.Client.apps, client)
		r.Server.apps = append(r.Server.apps, server)
	}
	if r.s.Ping > 0 {
		r.ping = &pinger{interval: r.s.Ping, at: r.start, from: r.from, until: r.start + r.s.Time}
		r.Client.apps = append(r.Client.apps, r.ping)
		r.Server.apps = append(r.Server.apps, &ponger{})
	}
	return nil
}

// addFlow adds a flow of size bytes, 0: as many as go.
func (r *run) addFlow(flow uint16, upload bool, size int64, delivered func(time.Duration, int64)) (sender, receiver *stream, err error) {
	if size == 0 {
		size = tcp.Unlimited
	}
	client := tcp.Config{Flow: flow, Active: true, Start: r.start + r.s.Begin, Send: request}
	server := tcp.Config{Flow: flow, Send: size, After: request}
	sending, receiving := &server, &client
	if upload {
		client.Send, server.Send, server.After = size, 0, 0
		sending, receiving = &client, &server
	}
	sending.Control, sending.Trains = r.s.TCP, r.s.Trains
	if flow < firstOther {
		sending.OnRTT = r.sampled
	}
	receiving.OnDeliver = delivered
	c, err := newStream(client)
	if err != nil {
		return nil, nil, err
	}
	v, err := newStream(server)
	if err != nil {
		return nil, nil, err
	}
	r.Client.apps = append(r.Client.apps, c)
	r.Server.apps = append(r.Server.apps, v)
	if r.s.End > 0 {
		r.loop.At(r.start+r.s.End, func() {
			r.Client.apps = without(r.Client.apps, c)
			r.Server.apps = without(r.Server.apps, v)
		})
	}
	if upload {
		return c, v, nil
	}
	return v, c, nil
}

// sampled notes a flow's own measurement of its round trip.
func (r *run) sampled(rtt time.Duration) {
	if r.loop.Now() >= r.from {
		r.rtts = append(r.rtts, rtt)
	}
}

// deliveredBack counts what the readers of the flows the other way get.
func (r *run) deliveredBack(now time.Duration, n int64) {
	if now >= r.from {
		r.against += n
	}
}

// delivered counts what a flow's reader gets.
func (r *run) delivered(now time.Duration, n int64) {
	bin := int((now - r.start) / binWidth)
	for len(r.bins) <= bin {
		r.bins = append(r.bins, 0)
	}
	r.bins[bin] += n
	if now >= r.from {
		r.bytes += n
		r.gap = max(r.gap, now-r.lastIn)
		r.lastIn = now
	}
}

// done tells whether every flow of a finite scenario is.
func (r *run) done() bool {
	if r.s.Bytes == 0 {
		return false
	}
	for _, x := range r.receivers {
		if x.conn.Stats().Received < r.s.Bytes {
			return false
		}
	}
	return true
}

func (r *run) report() *Report {
	now := r.loop.Now()
	p := &Report{
		Name: r.s.Name, Done: sim.Never, Bins: r.bins,
		RTT: percentiles(r.rtts), Gap: max(r.gap, now-r.lastIn), PacketGap: r.packets.gap,
		Tunnel: r.Client.tunnel.Stats(),
	}
	if r.s.Upload {
		p.Tunnel = r.Server.tunnel.Stats()
	}
	for i := range r.senders {
		addStats(&p.Sender, r.senders[i].conn.Stats())
		addStats(&p.Receiver, r.receivers[i].conn.Stats())
	}
	if r.done() {
		p.Done = now - r.start
		p.Goodput = float64(r.s.Bytes) * float64(len(r.receivers)) * 8 / p.Done.Seconds()
	} else {
		p.Goodput = float64(r.bytes) * 8 / (now - r.from).Seconds()
	}
	p.Against = float64(r.against) * 8 / (now - r.from).Seconds()
	for _, f := range r.fetches {
		took, st := sim.Never, f.conn.Stats()
		if st.Received == fetchSize {
			took = st.LastByteAt - r.start - r.s.Fetch[len(p.Fetches)]
		}
		p.Fetches = append(p.Fetches, took)
	}
	if r.ping != nil {
		p.Ping, p.Pings, p.Lost = percentiles(r.ping.rtts), r.ping.counted, r.ping.counted-len(r.ping.rtts)
		p.Underway = min(p.Lost, r.ping.underway())
		p.PingRTT, p.PingGap = r.ping.rtts, r.ping.gap
	}
	for i, x := range r.wires {
		p.Links = append(p.Links, LinkReport{r.s.Paths[i].Config.Name, x.down[0].Stats(), x.up[0].Stats()})
	}
	if r.s.Owner != nil {
		p.Owner = &r.wires[r.s.Owner.Path].owner.report
	}
	if r.Client.Session != nil {
		p.Client = r.Client.Status()
	}
	if r.Server.Session != nil {
		p.Server = r.Server.Status()
	}
	return p
}

func addStats(to *tcp.Stats, s tcp.Stats) {
	to.Received += s.Received
	to.Segments += s.Segments
	to.OutOfOrder += s.OutOfOrder
	to.Duplicates += s.Duplicates
	to.Sent += s.Sent
	to.Retransmits += s.Retransmits
	to.Recoveries += s.Recoveries
	to.Timeouts += s.Timeouts
	to.Probes += s.Probes
	to.Undone += s.Undone
	to.DSACKs += s.DSACKs
}

// Rate is the mean rate between two times since the flows' start, bit/s, to a
// tenth of a second.
func (p *Report) Rate(from, to time.Duration) float64 {
	first, last := min(int(from/binWidth), len(p.Bins)), min(int(to/binWidth), len(p.Bins))
	if last <= first {
		return 0
	}
	sum := int64(0)
	for _, b := range p.Bins[first:last] {
		sum += b
	}
	return float64(sum) * 8 / (to - from).Seconds()
}

// String is the report for people.
func (p *Report) String() string {
	var b strings.Builder
	ms := func(d time.Duration) string {
		if d == sim.Never {
			return "never"
		}
		return fmt.Sprintf("%.0f", float64(d)/1e6)
	}
	fmt.Fprintf(&b, "%s: %.3f Mbit/s", p.Name, p.Goodput/1e6)
	if p.Done != sim.Never {
		fmt.Fprintf(&b, " in %.3f s", p.Done.Seconds())
	}
	fmt.Fprintf(&b, "\n  rtt ms p5 %s p50 %s p95 %s max %s", ms(p.RTT.P5), ms(p.RTT.P50), ms(p.RTT.P95), ms(p.RTT.Max))
	if p.Pings > 0 {
		fmt.Fprintf(&b, "; ping p50 %s p95 %s max %s, %d of %d lost", ms(p.Ping.P50), ms(p.Ping.P95), ms(p.Ping.Max), p.Lost, p.Pings)
	}
	fmt.Fprintf(&b, "; gap ms %s, of packets %s", ms(p.Gap), ms(p.PacketGap))
	if len(p.Fetches) > 0 {
		f := slices.Clone(p.Fetches)
		slices.Sort(f)
		fmt.Fprintf(&b, "; fetch ms p50 %s max %s", ms(f[len(f)/2]), ms(f[len(f)-1]))
	}
	fmt.Fprintf(&b, "\n  tcp: sent %d, again %d, not needed %d, rto %d, undone %d; received out of order %d",
		p.Sender.Sent, p.Sender.Retransmits, p.Receiver.Duplicates, p.Sender.Timeouts, p.Sender.Undone, p.Receiver.OutOfOrder)
	fmt.Fprintf(&b, "\n  tunnel: %+v", p.Tunnel)
	for _, l := range p.Links {
		fmt.Fprintf(&b, "\n  %s: down %+v up %+v", l.Name, l.Down, l.Up)
	}
	for _, e := range []struct {
		name string
		st   wgbond.Status
	}{{"client", p.Client}, {"server", p.Server}} {
		if e.st.Paths == nil {
			continue
		}
		fmt.Fprintf(&b, "\n  %s: sent %d got %d, repairs %d, drops %v", e.name, e.st.Sent, e.st.Got, e.st.RepairsSent, e.st.Drops)
		for i, q := range e.st.Paths {
			fmt.Fprintf(&b, "\n    %s %v: rate %.2f Mbit/s, srtt %s min %s, owd −min %s, tx %d kB, rx %d kB, lost %d, repairs %d",
				p.Links[i].Name, q.State, q.Rate*8/1e6, ms(q.SRTT), ms(q.MinRTT), ms(q.OWD-q.MinOWD), q.TxBytes/1000, q.RxBytes/1000, q.LostPackets, q.Repairs)
		}
	}
	return b.String()
}
