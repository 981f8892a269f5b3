package schedpb

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

// ErrMessage is what every error of ToSnapshot and ToPlan wraps.
var ErrMessage = errors.New("unusable message")

// FromSnapshot makes the message for s. It keeps nothing of s.
func FromSnapshot(s *schedulers.Snapshot) *Snapshot {
	m := &Snapshot{
		Seq: s.Seq, NowNs: int64(s.Now), QueueBytes: int64(s.Queue), FeedbackIntervalNs: int64(s.FeedbackInterval),
		LargestBytes: int64(s.Largest),
		Paths:        make([]*Path, len(s.Paths)),
	}
	for i := range s.Paths {
		p := &s.Paths[i]
		m.Paths[i] = &Path{
			Id: uint32(p.ID), Name: strings.ToValidUTF8(p.Name, "?"), State: fromState(p.State),
			RateBytesPerSecond: p.Rate, DeliveredBytesPerSecond: p.Delivered,
			MinRttNs: int64(p.MinRTT), SrttNs: int64(p.SRTT), RttVarNs: int64(p.RTTVar),
			MinOwdNs: int64(p.MinOWD), OwdNs: int64(p.OWD),
			InFlightBytes: int64(p.InFlight), QueuedBytes: int64(p.Queued), OldestUnackedNs: int64(p.OldestUnacked),
			Loss: p.Loss, MtuBytes: int64(p.MTU), SentBytes: p.Sent, ReceivedBytes: p.Received,
			Backup: p.Backup, Metered: p.Metered, Weight: p.Weight, MaxRateBytesPerSecond: p.MaxRate,
		}
	}
	return m
}

// ToSnapshot fills s from m, reusing s.Paths. The error wraps ErrMessage if a
// path's id is out of range or there twice.
func ToSnapshot(m *Snapshot, s *schedulers.Snapshot) error {
	*s = schedulers.Snapshot{
		Seq: m.GetSeq(), Now: time.Duration(m.GetNowNs()), Queue: int(m.GetQueueBytes()),
		FeedbackInterval: time.Duration(m.GetFeedbackIntervalNs()), Largest: int(m.GetLargestBytes()), Paths: s.Paths[:0],
	}
	var seen uint32
	for _, p := range m.GetPaths() {
		id := p.GetId()
		if id >= schedulers.MaxPaths || seen>>id&1 != 0 {
			return fmt.Errorf("%w: snapshot %d has path %d twice, or beyond %d", ErrMessage, s.Seq, id, schedulers.MaxPaths-1)
		}
		seen |= 1 << id
		s.Paths = append(s.Paths, schedulers.Path{
			ID: schedulers.PathID(id), Name: p.GetName(), State: toState(p.GetState()),
			Rate: p.GetRateBytesPerSecond(), Delivered: p.GetDeliveredBytesPerSecond(),
			MinRTT: time.Duration(p.GetMinRttNs()), SRTT: time.Duration(p.GetSrttNs()), RTTVar: time.Duration(p.GetRttVarNs()),
			MinOWD: time.Duration(p.GetMinOwdNs()), OWD: time.Duration(p.GetOwdNs()),
			InFlight: int(p.GetInFlightBytes()), Queued: int(p.GetQueuedBytes()), OldestUnacked: time.Duration(p.GetOldestUnackedNs()),
			Loss: p.GetLoss(), MTU: int(p.GetMtuBytes()), Sent: p.GetSentBytes(), Received: p.GetReceivedBytes(),
			Backup: p.GetBackup(), Metered: p.GetMetered(), Weight: p.GetWeight(), MaxRate: p.GetMaxRateBytesPerSecond(),
		})
	}
	return nil
}

func fromState(s schedulers.PathState) PathState {
	if s > schedulers.Dead {
		return PathState_PATH_STATE_UNSPECIFIED
	}
	return PathState(s) + PathState_PATH_STATE_PROBING
}

// toState takes a state that it does not know for Probing: it may yet work.
func toState(s PathState) schedulers.PathState {
	if s < PathState_PATH_STATE_PROBING || s > PathState_PATH_STATE_DEAD {
		return schedulers.Probing
	}
	return schedulers.PathState(s - PathState_PATH_STATE_PROBING)
}

// FromPlan makes the message for p. The numbers of paths that a class does not
// use mean nothing and are left out.
func FromPlan(p *schedulers.Plan) *SchedulerPlan {
	m := &SchedulerPlan{
		Seq: p.Seq, ValidNs: int64(p.Valid),
		Control: fromClass(&p.Classes[schedulers.Control]),
		Small:   fromClass(&p.Classes[schedulers.Small]),
		Bulk:    fromClass(&p.Classes[schedulers.Bulk]),
	}
	for id, d := range p.Drain {
		if d != 0 { // NaN too is told
			m.Drains = append(m.Drains, &Drain{Path: uint32(id), BytesPerSecond: d})
		}
	}
	for id, d := range p.Hold {
		if d != 0 {
			m.Holds = append(m.Holds, &Hold{Path: uint32(id), ForNs: int64(d)})
		}
	}
	return m
}

func fromClass(c *schedulers.ClassPlan) *ClassPlan {
	m := new(ClassPlan)
	for id := range c.Paths {
		if p := &c.Paths[id]; p.Use {
			m.Paths = append(m.Paths, &PathPlan{Path: uint32(id), BaseNs: p.Base, PerByteNs: p.PerByte, CapBytes: int64(p.Cap)})
		}
	}
	for set := c.Copies; set != 0; set &= set - 1 {
		m.Copies = append(m.Copies, uint32(bits.TrailingZeros32(set)))
	}
	return m
}

// ToPlan fills *p from m. The error wraps ErrMessage if a path's id is out of
// range or there twice, or a cap does not fit. What the numbers are worth is
// schedulers.Validate's to judge.
func ToPlan(m *SchedulerPlan, p *schedulers.Plan) error {
	*p = schedulers.Plan{Seq: m.GetSeq(), Valid: time.Duration(m.GetValidNs())}
	for class, c := range [schedulers.NumClasses]*ClassPlan{
		schedulers.Control: m.GetControl(), schedulers.Small: m.GetSmall(), schedulers.Bulk: m.GetBulk(),
	} {
		if err := toClass(c, &p.Classes[class]); err != nil {
			return fmt.Errorf("%w: class %v: %w", ErrMessage, schedulers.Class(class), err)
		}
	}
	var seen uint32
	for _, d := range m.GetDrains() {
		if err := once(&seen, d.GetPath(), "drains"); err != nil {
			return fmt.Errorf("%w: %w", ErrMessage, err)
		}
		p.Drain[d.GetPath()] = d.GetBytesPerSecond()
	}
	seen = 0
	for _, h := range m.GetHolds() {
		if err := once(&seen, h.GetPath(), "holds"); err != nil {
			return fmt.Errorf("%w: %w", ErrMessage, err)
		}
		p.Hold[h.GetPath()] = time.Duration(h.GetForNs())
	}
	return nil
}

func toClass(m *ClassPlan, c *schedulers.ClassPlan) error {
	var seen, copies uint32
	for _, p := range m.GetPaths() {
		if err := once(&seen, p.GetPath(), "is planned"); err != nil {
			return err
		}
		capBytes := p.GetCapBytes()
		if capBytes < 0 || capBytes > math.MaxInt32 {
			return fmt.Errorf("path %d has a cap of %d bytes; want 0 to %d", p.GetPath(), capBytes, math.MaxInt32)
		}
		c.Paths[p.GetPath()] = schedulers.PathPlan{Use: true, Base: p.GetBaseNs(), PerByte: p.GetPerByteNs(), Cap: int(capBytes)}
	}
	for _, id := range m.GetCopies() {
		if err := once(&copies, id, "carries a copy"); err != nil {
			return err
		}
	}
	c.Copies = copies
	return nil
}

// once adds id to seen.
func once(seen *uint32, id uint32, does string) error {
	switch {
	case id >= schedulers.MaxPaths:
		return fmt.Errorf("path %d %s; ids end at %d", id, does, schedulers.MaxPaths-1)
	case *seen>>id&1 != 0:
		return fmt.Errorf("path %d %s twice", id, does)
	}
	*seen |= 1 << id
	return nil
}
