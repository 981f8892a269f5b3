package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wg-bond/wg-bond/cmd/internal/status"
)

// A figure is one metric of a T.
type figure[T any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*T) float64
}

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
)

var (
	ofInterface = []string{"interface"}
	ofPeer      = []string{"interface", "peer"}
	ofPath      = []string{"interface", "peer", "path"}
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("wgbond_"+name, help, labels, nil)
}

func interfaceFigure(kind prometheus.ValueType, name, help string, value func(*status.Interface) float64) figure[status.Interface] {
	return figure[status.Interface]{desc(name, help, ofInterface...), kind, value}
}

func peerFigure(kind prometheus.ValueType, name, help string, value func(*status.Bond) float64) figure[status.Bond] {
	return figure[status.Bond]{desc("peer_"+name, help, ofPeer...), kind, value}
}

func pathFigure(kind prometheus.ValueType, name, help string, value func(*status.Path) float64) figure[status.Path] {
	return figure[status.Path]{desc("path_"+name, help, ofPath...), kind, value}
}

// These have labels beyond whose they are.
var (
	upDesc         = desc("up", "1 if the interface told its state.", ofInterface...)
	infoDesc       = desc("info", "Always 1; what runs the interface.", "interface", "role", "scheduler", "public_key")
	handshakesDesc = desc("handshakes_total", "Bonding handshakes that clients asked of serve, by what became of them.", "interface", "outcome")
	droppedDesc    = desc("dropped_datagrams_total", "Datagrams dropped that no session can be charged with, by reason; harmless=\"true\" for duplicates and overtaken messages.",
		"interface", "reason", "harmless")
	peerDroppedDesc = desc("peer_dropped_datagrams_total", "Datagrams dropped, by reason; harmless=\"true\" for duplicates and overtaken messages.",
		"interface", "peer", "reason", "harmless")
	pathInfoDesc = desc("path_info", "Always 1; where the path goes, and its state now.", "interface", "peer", "path", "device", "relay", "state")
)

var interfaceFigures = []figure[status.Interface]{
	interfaceFigure(gauge, "plain_clients", "Addresses of clients without a bond that serve passes on.", func(i *status.Interface) float64 { return float64(i.PlainClients) }),
	interfaceFigure(gauge, "scheduler_trouble", "1 if a plugin does not decide, or did not lately.", func(i *status.Interface) float64 { return Bool(i.SchedulerTrouble != "") }),
}

var peerFigures = []figure[status.Bond]{
	peerFigure(gauge, "bonded", "1 if bonded, 0 if plain WireGuard.", func(b *status.Bond) float64 { return Bool(b.Bonded) }),
	peerFigure(gauge, "queue_bytes", "Bytes that wait for a path.", func(b *status.Bond) float64 { return float64(b.Queue) }),
	peerFigure(gauge, "reordering_packets", "Packets held back until those before them arrive.", func(b *status.Bond) float64 { return float64(b.Reordering) }),
	peerFigure(gauge, "tunnel_mtu_bytes", "Largest MTU of the tunnel that every path carries; 0: not known.", func(b *status.Bond) float64 { return float64(b.TunnelMTU) }),
	peerFigure(counter, "sent_datagrams_total", "WireGuard data sent.", func(b *status.Bond) float64 { return float64(b.Sent) }),
	peerFigure(counter, "received_datagrams_total", "WireGuard data received.", func(b *status.Bond) float64 { return float64(b.Received) }),
	peerFigure(counter, "repaired_datagrams_total", "Datagrams sent again because they were lost.", func(b *status.Bond) float64 { return float64(b.Repairs) }),
	peerFigure(counter, "copied_datagrams_total", "Datagrams sent twice because they were stuck on a path.", func(b *status.Bond) float64 { return float64(b.Copies) }),
	peerFigure(counter, "spurious_losses_total", "Datagrams taken for lost that came after all.", func(b *status.Bond) float64 { return float64(b.Spurious) }),
	peerFigure(counter, "out_of_order_datagrams_total", "Datagrams passed on late or twice.", func(b *status.Bond) float64 { return float64(b.OutOfOrder) }),
	peerFigure(counter, "path_suspects_total", "Times that a path fell silent.", func(b *status.Bond) float64 { return float64(b.Suspects) }),
	peerFigure(counter, "failovers_total", "Times that a session without a bond changed its path.", func(b *status.Bond) float64 { return float64(b.Failovers) }),
	peerFigure(counter, "restarts_total", "Times that the other end had begun anew.", func(b *status.Bond) float64 { return float64(b.PeerRestarts) }),
	peerFigure(counter, "bonds_lost_total", "Times that the other end stopped bonding.", func(b *status.Bond) float64 { return float64(b.BondsLost) }),
}

var pathFigures = []figure[status.Path]{
	pathFigure(gauge, "active", "1 if the path works.", func(p *status.Path) float64 { return Bool(p.State == "active") }),
	pathFigure(counter, "transmit_bytes_total", "Sent, whole IP packets with copies and control messages.", func(p *status.Path) float64 { return float64(p.TxBytes) }),
	pathFigure(counter, "receive_bytes_total", "Received, whole IP packets with copies and control messages.", func(p *status.Path) float64 { return float64(p.RxBytes) }),
	pathFigure(counter, "transmit_packets_total", "Sent.", func(p *status.Path) float64 { return float64(p.TxPackets) }),
	pathFigure(counter, "receive_packets_total", "Received.", func(p *status.Path) float64 { return float64(p.RxPackets) }),
	pathFigure(counter, "lost_packets_total", "Of those sent.", func(p *status.Path) float64 { return float64(p.Lost) }),
	pathFigure(counter, "repair_packets_total", "Of those sent: lost elsewhere, sent again here.", func(p *status.Path) float64 { return float64(p.Repairs) }),
	pathFigure(gauge, "rate_bytes_per_second", "Estimated delivery rate of what we send; 0: not known.", func(p *status.Path) float64 { return p.Rate }),
	pathFigure(gauge, "rtt_seconds", "Smoothed round-trip time; 0: not known.", func(p *status.Path) float64 { return p.RTT }),
	pathFigure(gauge, "min_rtt_seconds", "Lowest round-trip time of late; 0: not known.", func(p *status.Path) float64 { return p.MinRTT }),
	pathFigure(gauge, "loss_ratio", "Smoothed part of what we send that is lost, 0 to 1.", func(p *status.Path) float64 { return p.Loss }),
	pathFigure(gauge, "in_flight_bytes", "Sent and neither acknowledged nor known lost.", func(p *status.Path) float64 { return float64(p.InFlight) }),
	pathFigure(gauge, "window_bytes", "What may be in flight.", func(p *status.Path) float64 { return float64(p.Window) }),
	pathFigure(gauge, "queue_bytes", "In the path's own queue.", func(p *status.Path) float64 { return float64(p.Queued) }),
	pathFigure(gauge, "mtu_bytes", "Largest UDP payload that the path carries; 0: not known.", func(p *status.Path) float64 { return float64(p.MTU) }),
	pathFigure(gauge, "used", "1 if the scheduler sends bulk data by the path.", func(p *status.Path) float64 { return Bool(p.Plan != nil && p.Plan.Use) }),
	pathFigure(gauge, "cost_seconds", "What the scheduler reckons for the next packet; 0 without a plan.", func(p *status.Path) float64 {
		if p.Plan == nil {
			return 0
		}
		return p.Plan.Cost
	}),
}

// Bond collects the metrics of one interface, which it asks at each scrape.
type Bond struct {
	name string
	ask  func() (*status.Interface, error)
}

// NewBond makes the collector of the interface called name.
func NewBond(name string, ask func() (*status.Interface, error)) *Bond { return &Bond{name, ask} }

// Describe describes every metric.
func (*Bond) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{upDesc, infoDesc, handshakesDesc, droppedDesc, peerDroppedDesc, pathInfoDesc} {
		out <- d
	}
	describe(out, interfaceFigures)
	describe(out, peerFigures)
	describe(out, pathFigures)
}

func describe[T any](out chan<- *prometheus.Desc, all []figure[T]) {
	for _, f := range all {
		out <- f.desc
	}
}

// Collect asks the interface and tells what it says.
func (b *Bond) Collect(out chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	i, err := b.ask()
	put(upDesc, gauge, Bool(err == nil), b.name)
	if err != nil {
		return
	}
	put(infoDesc, gauge, 1, b.name, i.Role, i.Scheduler, i.PublicKey)
	for outcome, n := range i.Handshakes {
		put(handshakesDesc, counter, float64(n), b.name, outcome)
	}
	drops := func(d *prometheus.Desc, harmless string, all map[string]uint64, labels ...string) {
		for reason, n := range all {
			put(d, counter, float64(n), append(labels, reason, harmless)...)
		}
	}
	drops(droppedDesc, "false", i.Drops, b.name)
	drops(droppedDesc, "true", i.Discards, b.name)
	for _, f := range interfaceFigures {
		put(f.desc, f.kind, f.value(i), b.name)
	}
	for n := range i.Peers {
		peer := &i.Peers[n]
		if peer.Bond == nil {
			continue
		}
		drops(peerDroppedDesc, "false", peer.Bond.Drops, b.name, peer.PublicKey)
		drops(peerDroppedDesc, "true", peer.Bond.Discards, b.name, peer.PublicKey)
		for _, f := range peerFigures {
			put(f.desc, f.kind, f.value(peer.Bond), b.name, peer.PublicKey)
		}
		for n := range peer.Bond.Paths {
			path := &peer.Bond.Paths[n]
			put(pathInfoDesc, gauge, 1, b.name, peer.PublicKey, path.Name, path.Device, path.Relay, path.State)
			for _, f := range pathFigures {
				put(f.desc, f.kind, f.value(path), b.name, peer.PublicKey, path.Name)
			}
		}
	}
}
