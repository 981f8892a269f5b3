// Package lay has what the built-in schedulers do alike when they lay out a
// plan: which paths may be used, what may be assumed of one not yet measured,
// and the class Control.
package lay

import (
	"math"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

const (
	// Valid is how long a built-in's plan holds: a dozen plan periods, so
	// that a late one costs nothing.
	Valid = 300 * time.Millisecond
	// Packet is a full packet, bytes of IP.
	Packet = 1500
	// ColdRTT is the round-trip time of a path that has not been measured.
	ColdRTT = 100 * time.Millisecond
	// Standing is the queue that a path's pacer may have, so that it never
	// runs dry between two packets.
	Standing = 10 * time.Millisecond
	// minRTT keeps divisions sane on loopback.
	minRTT = 100 * time.Microsecond
	// maxRate is beyond any link, bytes per second.
	maxRate = 1e11
)

// Path is a path that may be used, with its gaps filled in.
type Path struct {
	*schedulers.Path
	// Speed is the rate, bytes per second: estimated, or while unknown
	// assumed to be Cold a round trip. It is never 0.
	Speed float64
	// Shown is what the path has shown that it carries, bytes per second: Speed,
	// but while it is starting no more than it delivered or is assumed of one
	// that has delivered nothing.
	Shown float64
	// Cold is what may be under way while Speed is unknown, bytes.
	Cold int
	// Known tells that Speed is an estimate, Starting that the path was never
	// full: it may carry more than is known of.
	Known, Starting bool
	// Delay is the least one-way delay above that of the quickest path,
	// nanoseconds; 0 while unknown.
	Delay float64
}

// Begin fills p's head and class Control, and returns the paths to use for
// the other classes, by ascending id.
func Begin(s *schedulers.Snapshot, p *schedulers.Plan) []Path {
	p.Seq, p.Valid = s.Seq, Valid
	usable := schedulers.Usable(s)
	paths := make([]Path, 0, schedulers.MaxPaths)
	quickest := time.Duration(0)
	for i := range s.Paths {
		if rtt := s.Paths[i].MinRTT; usable>>s.Paths[i].ID&1 != 0 && rtt > 0 && (quickest == 0 || rtt < quickest) {
			quickest = rtt
		}
	}
	for id := range schedulers.PathID(schedulers.MaxPaths) {
		for i := range s.Paths {
			if s.Paths[i].ID == id && usable>>id&1 != 0 {
				paths = append(paths, fill(&s.Paths[i], quickest))
				break
			}
		}
	}
	nearest := time.Duration(math.MaxInt64)
	for _, q := range paths {
		if q.MinRTT > 0 {
			nearest = min(nearest, q.MinOWD)
		}
	}
	for i := range paths {
		q := &paths[i]
		if q.MinRTT > 0 {
			q.Delay = min(float64(q.MinOWD)-float64(nearest), schedulers.MaxBase)
		}
		p.Drain[q.ID] = q.Speed
	}
	control(s, p, paths)
	return paths
}

func fill(path *schedulers.Path, quickest time.Duration) Path {
	q := Path{Path: path, Speed: path.Rate, Known: path.Rate > 0 && path.Rate <= maxRate, Cold: schedulers.ColdWindow(path.MinRTT, quickest)}
	rtt := ColdRTT
	if path.MinRTT > 0 {
		rtt = max(path.MinRTT, minRTT)
	}
	cold := float64(q.Cold) / rtt.Seconds()
	if !q.Known {
		q.Speed = cold
	}
	q.Starting = !q.Known || path.Delivered < path.Rate
	if path.MaxRate > 0 {
		q.Speed = min(q.Speed, path.MaxRate)
	}
	q.Speed = min(max(q.Speed, 1), maxRate)
	if q.Shown = q.Speed; path.Delivered > 0 {
		q.Shown = min(q.Speed, max(path.Delivered, cold))
	}
	return q
}

// control lays out the class Control: handshakes are few and must get
// through, so each goes on every path that is not dead.
func control(s *schedulers.Snapshot, p *schedulers.Plan, paths []Path) {
	c := &p.Classes[schedulers.Control]
	for _, q := range paths {
		c.Paths[q.ID] = schedulers.PathPlan{Use: true, Base: q.Delay, Cap: schedulers.NoCap}
		c.Copies |= 1 << q.ID
	}
	for i := range s.Paths {
		if s.Paths[i].State != schedulers.Dead {
			c.Copies |= 1 << s.Paths[i].ID
		}
	}
}

// PerByte is what a byte of backlog costs at speed q, nanoseconds.
func (q *Path) PerByte() float64 { return 1e9 / q.Speed }

// Cap is a backlog that lasts for ns nanoseconds, at least two packets and, on
// a path whose rate is unknown, the cold window. Bytes.
func (q *Path) Cap(ns float64) int {
	least := 2.0 * Packet
	if !q.Known {
		least = float64(q.Cold)
	}
	return int(min(max(ns*q.Speed/1e9, least), schedulers.NoCap))
}
