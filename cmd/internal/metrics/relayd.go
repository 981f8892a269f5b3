package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wg-bond/wg-bond/relayd"
)

func relaydFigure(kind prometheus.ValueType, name, help string, value func(*relayd.Stats) float64) figure[relayd.Stats] {
	return figure[relayd.Stats]{desc("relayd_"+name, help), kind, value}
}

var relaydFigures = []figure[relayd.Stats]{
	relaydFigure(gauge, "leases", "Leases now.", func(s *relayd.Stats) float64 { return float64(s.Leases) }),
	relaydFigure(gauge, "sessions", "Sessions with borrowers now, with and without a lease.", func(s *relayd.Stats) float64 { return float64(s.Sessions) }),
	relaydFigure(counter, "granted_total", "Leases begun.", func(s *relayd.Stats) float64 { return float64(s.Granted) }),
	relaydFigure(counter, "moved_total", "Leases that went to another address of the borrower.", func(s *relayd.Stats) float64 { return float64(s.Moved) }),
	relaydFigure(counter, "refused_total", "Requests refused.", func(s *relayd.Stats) float64 { return float64(s.Refused) }),
	relaydFigure(counter, "cookies_total", "Cookies sent to have an address proven.", func(s *relayd.Stats) float64 { return float64(s.Cookies) }),
	relaydFigure(counter, "proofs_total", "Other proofs of an address asked for.", func(s *relayd.Stats) float64 { return float64(s.Proofs) }),
}

var (
	relaydBytesDesc   = desc("relayd_forwarded_bytes_total", "UDP payload forwarded.", "direction")
	relaydPacketsDesc = desc("relayd_forwarded_packets_total", "Datagrams forwarded.", "direction")
	relaydDroppedDesc = desc("relayd_dropped_datagrams_total", "Datagrams dropped, by reason.", "reason")
)

// Relayd collects the metrics of a lender. It is a function that tells its
// statistics.
type Relayd func() relayd.Stats

// Describe describes every metric.
func (Relayd) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{relaydBytesDesc, relaydPacketsDesc, relaydDroppedDesc} {
		out <- d
	}
	describe(out, relaydFigures)
}

// Collect tells the present statistics.
func (ask Relayd) Collect(out chan<- prometheus.Metric) {
	s := ask()
	put := func(d *prometheus.Desc, value uint64, label string) {
		out <- prometheus.MustNewConstMetric(d, counter, float64(value), label)
	}
	for direction, t := range map[string]relayd.Traffic{"to-target": s.ToTarget, "to-borrower": s.ToBorrower} {
		put(relaydBytesDesc, t.Bytes, direction)
		put(relaydPacketsDesc, t.Packets, direction)
	}
	for reason, n := range s.DropsByReason() {
		put(relaydDroppedDesc, n, reason)
	}
	for _, f := range relaydFigures {
		out <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(&s))
	}
}
