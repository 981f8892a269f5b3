package trace

import (
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

// Micros is a time span in whole microseconds.
type Micros int64

// Span gives d in the trace's unit.
func Span(d time.Duration) Micros { return Micros(d / time.Microsecond) }

// Duration is the span as the rest of the program has it.
func (m Micros) Duration() time.Duration { return time.Duration(m) * time.Microsecond }

// An Event is one line of a trace but for its time: a pointer to one of the
// structs of this file, or to an Unknown.
type Event interface {
	// Name is the line's "ev".
	Name() string
	// append adds the fields.
	append(o object) object
}

// events has an empty event for every name.
var events = map[string]func() Event{
	"path":         func() Event { return new(Path) },
	"state":        func() Event { return new(State) },
	"mode":         func() Event { return new(Mode) },
	"bond":         func() Event { return new(Bond) },
	"plan":         func() Event { return new(Plan) },
	"bind":         func() Event { return new(Bind) },
	"sent":         func() Event { return new(Sent) },
	"slack":        func() Event { return new(Slack) },
	"ack":          func() Event { return new(Ack) },
	"lost":         func() Event { return new(Lost) },
	"repair":       func() Event { return new(Repair) },
	"void":         func() Event { return new(Void) },
	"control_sent": func() Event { return new(ControlSent) },
	"control_got":  func() Event { return new(ControlGot) },
	"got":          func() Event { return new(Got) },
	"gap":          func() Event { return new(Gap) },
	"gap_end":      func() Event { return new(GapEnd) },
	"released":     func() Event { return new(Released) },
	"disorder":     func() Event { return new(Disorder) },
	"drop":         func() Event { return new(Drop) },
	"late":         func() Event { return new(Late) },
	"untraced":     func() Event { return new(Untraced) },
}

// Path says that a path was added, or what it is called, or may carry, now; Gone
// that it was withdrawn.
type Path struct {
	Path    schedulers.PathID `json:"path"`
	Label   string            `json:"name"`
	Gone    bool              `json:"gone"`
	MTU     int               `json:"mtu"` // largest UDP payload; 0: unknown
	Backup  bool              `json:"backup"`
	Metered bool              `json:"metered"`
	Weight  float64           `json:"weight"`
	MaxRate float64           `json:"max_rate"` // by the user or, if that is less, its lender; 0: as much as goes
	Lent    bool              `json:"lent"`
}

// Name is "path".
func (*Path) Name() string { return "path" }
func (e *Path) append(o object) object {
	return o.must("path", uint64(e.Path)).string("name", e.Label).bool("gone", e.Gone).int("mtu", int64(e.MTU)).
		bool("backup", e.Backup).bool("metered", e.Metered).float("weight", e.Weight).float("max_rate", e.MaxRate).bool("lent", e.Lent)
}

// State says that a path entered a state (schedulers.PathState), or that it was
// attached or ceased to be.
type State struct {
	Path     schedulers.PathID `json:"path"`
	State    string            `json:"state"`
	Was      string            `json:"was"` // empty: the path is new
	Attached bool              `json:"attached"`
	Silent   Micros            `json:"silent_us"` // since something was heard by it; −1: never
}

// Name is "state".
func (*State) Name() string { return "state" }
func (e *State) append(o object) object {
	return o.must("path", uint64(e.Path)).string("state", e.State).string("was", e.Was).
		bool("attached", e.Attached).int("silent_us", int64(e.Silent))
}

// Mode says that a path's rate control entered a mode.
type Mode struct {
	Path   schedulers.PathID `json:"path"`
	Mode   string            `json:"mode"`
	Was    string            `json:"was"`
	Rate   int64             `json:"rate"`
	Window int               `json:"window"`
	MinRTT Micros            `json:"min_rtt_us"`
}

// Name is "mode".
func (*Mode) Name() string { return "mode" }
func (e *Mode) append(o object) object {
	return o.must("path", uint64(e.Path)).string("mode", e.Mode).string("was", e.Was).
		int("rate", e.Rate).int("window", int64(e.Window)).int("min_rtt_us", int64(e.MinRTT))
}

// Bond says that the session as a whole entered a state: "plain" (no keys
// yet), "keyed" (keys, but no path works), "bonded", "lost" (given up for now:
// data goes plainly), "closed".
type Bond struct {
	State string `json:"state"`
	Was   string `json:"was"`
}

// Name is "bond".
func (*Bond) Name() string { return "bond" }
func (e *Bond) append(o object) object {
	return o.string("state", e.State).string("was", e.Was)
}

// Plan is a snapshot and the scheduler's answer to it.
type Plan struct {
	Seq         uint64     `json:"seq"`
	Queue       int        `json:"queue"` // bytes that wait for a path
	BulkCopies  uint32     `json:"bulk_copies"`
	SmallCopies uint32     `json:"small_copies"`
	Paths       []PathPlan `json:"paths"`
}

// PathPlan is one path's part in a Plan.
type PathPlan struct {
	Path     schedulers.PathID `json:"path"`
	State    string            `json:"state"`
	Rate     int64             `json:"rate"`
	SRTT     Micros            `json:"srtt_us"`
	MinRTT   Micros            `json:"min_rtt_us"`
	OWD      Micros            `json:"owd_us"` // against the lowest path's minimum
	MinOWD   Micros            `json:"min_owd_us"`
	InFlight int               `json:"in_flight"`
	Queued   int               `json:"queued"`
	Oldest   Micros            `json:"oldest_us"`
	Loss     float64           `json:"loss"`
	Drain    int64             `json:"drain"`
	Hold     Micros            `json:"hold_us"`
	Bulk     *ClassPlan        `json:"bulk"` // nil: must not carry it
	Small    *ClassPlan        `json:"small"`
}

// ClassPlan is a schedulers.PathPlan: costs in nanoseconds, the cap in bytes.
type ClassPlan struct {
	Base    int64   `json:"base_ns"`
	PerByte float64 `json:"per_byte_ns"`
	Cap     int     `json:"cap"`
}

// Name is "plan".
func (*Plan) Name() string { return "plan" }
func (e *Plan) append(o object) object {
	o = o.must("seq", e.Seq).int("queue", int64(e.Queue)).
		uint("bulk_copies", uint64(e.BulkCopies)).uint("small_copies", uint64(e.SmallCopies)).open("paths")
	for i := range e.Paths {
		p := &e.Paths[i]
		o = append(o.sep(), '{')
		o = o.must("path", uint64(p.Path)).string("state", p.State).int("rate", p.Rate).
			int("srtt_us", int64(p.SRTT)).int("min_rtt_us", int64(p.MinRTT)).
			int("owd_us", int64(p.OWD)).int("min_owd_us", int64(p.MinOWD)).
			int("in_flight", int64(p.InFlight)).int("queued", int64(p.Queued)).int("oldest_us", int64(p.Oldest)).
			float("loss", p.Loss).int("drain", p.Drain).int("hold_us", int64(p.Hold))
		o = p.Small.append(p.Bulk.append(o, "bulk"), "small")
		o = append(o, '}')
	}
	return append(o, ']')
}

func (c *ClassPlan) append(o object, name string) object {
	if c == nil {
		return o
	}
	o = append(o.key(name), '{')
	o = o.int("base_ns", c.Base).float("per_byte_ns", c.PerByte).int("cap", int64(c.Cap))
	return append(o, '}')
}

// Packet names a data message: the ordinal of its key pair (0: not announced),
// its counter.
type Packet struct {
	Pair    uint32 `json:"pair"`
	Counter uint64 `json:"c"`
}

func (p Packet) append(o object) object {
	return o.uint("pair", uint64(p.Pair)).must("c", p.Counter)
}

// Bind says that a packet was given to a path, where it waits for pacer and
// window. Why is "plan" (the cheapest path), "copy" or "repair".
type Bind struct {
	Path schedulers.PathID `json:"path"`
	Packet
	Size   int    `json:"size"`
	Why    string `json:"why"`
	Waited Micros `json:"waited_us"` // since it came from WireGuard
	Queue  int    `json:"queue"`     // bytes that still wait for a path
	Queued int    `json:"queued"`    // bytes in the path's own queue, this one included
}

// Name is "bind".
func (*Bind) Name() string { return "bind" }
func (e *Bind) append(o object) object {
	o = e.Packet.append(o.must("path", uint64(e.Path)))
	return o.int("size", int64(e.Size)).string("why", e.Why).int("waited_us", int64(e.Waited)).
		int("queue", int64(e.Queue)).int("queued", int64(e.Queued))
}

// Sent says that a packet left.
type Sent struct {
	Path schedulers.PathID `json:"path"`
	Packet
	Size     int    `json:"size"`
	Tx       int    `json:"tx"`        // transmission number, from 1
	Waited   Micros `json:"waited_us"` // since it came from WireGuard
	InFlight int    `json:"in_flight"` // with this one
	Window   int    `json:"window"`
	Pacing   int64  `json:"pacing"` // rate at which packets may leave; 0: unpaced
	Queued   int    `json:"queued"` // bytes left in the path's own queue
}

// Name is "sent".
func (*Sent) Name() string { return "sent" }
func (e *Sent) append(o object) object {
	o = e.Packet.append(o.must("path", uint64(e.Path)))
	return o.int("size", int64(e.Size)).int("tx", int64(e.Tx)).int("waited_us", int64(e.Waited)).
		int("in_flight", int64(e.InFlight)).int("window", int64(e.Window)).int("pacing", e.Pacing).int("queued", int64(e.Queued))
}

// Slack says that a path could send and nothing waits for it: until more comes
// from WireGuard, it is not the path that limits.
type Slack struct {
	Path     schedulers.PathID `json:"path"`
	InFlight int               `json:"in_flight"`
	Window   int               `json:"window"`
}

// Name is "slack".
func (*Slack) Name() string { return "slack" }
func (e *Slack) append(o object) object {
	return o.must("path", uint64(e.Path)).int("in_flight", int64(e.InFlight)).int("window", int64(e.Window))
}

// Ack says what a feedback told of one path, and what is believed of the path
// after it.
type Ack struct {
	Path      schedulers.PathID `json:"path"`
	Packets   uint64            `json:"packets"`   // newly reported
	Delivered uint64            `json:"delivered"` // bytes in all, since the path was attached
	RTT       Micros            `json:"rtt_us"`    // this sample; 0: none
	QueueOWD  Micros            `json:"queue_us"`  // one-way delay, smoothed, above its minimum
	SRTT      Micros            `json:"srtt_us"`
	MinRTT    Micros            `json:"min_rtt_us"`
	Sample    int64             `json:"sample"` // latest delivery-rate sample
	Rate      int64             `json:"rate"`   // estimate
	Pacing    int64             `json:"pacing"`
	Window    int               `json:"window"`
	InFlight  int               `json:"in_flight"`
	Mode      string            `json:"mode"`
	Lost      int               `json:"lost"` // packets that this feedback showed to be lost
	Loss      float64           `json:"loss"` // smoothed ratio
}

// Name is "ack".
func (*Ack) Name() string { return "ack" }
func (e *Ack) append(o object) object {
	return o.must("path", uint64(e.Path)).uint("packets", e.Packets).uint("delivered", e.Delivered).
		int("rtt_us", int64(e.RTT)).int("queue_us", int64(e.QueueOWD)).
		int("srtt_us", int64(e.SRTT)).int("min_rtt_us", int64(e.MinRTT)).
		int("sample", e.Sample).int("rate", e.Rate).int("pacing", e.Pacing).
		int("window", int64(e.Window)).int("in_flight", int64(e.InFlight)).string("mode", e.Mode).
		int("lost", int64(e.Lost)).float("loss", e.Loss)
}

// Lost says that a packet was taken for lost. Why is "overtaken" (what left
// later by its path was reported), "ping" (a later ping was answered) or
// "silent" (its path is suspect or gone).
type Lost struct {
	Path schedulers.PathID `json:"path"`
	Packet
	Size int    `json:"size"`
	Tx   int    `json:"tx"`
	Age  Micros `json:"age_us"` // since it was sent
	Why  string `json:"why"`
}

// Name is "lost".
func (*Lost) Name() string { return "lost" }
func (e *Lost) append(o object) object {
	o = e.Packet.append(o.must("path", uint64(e.Path)))
	return o.int("size", int64(e.Size)).int("tx", int64(e.Tx)).int("age_us", int64(e.Age)).string("why", e.Why)
}

// Repair says that a lost packet is to be sent again: by Path, or by the one
// that the plan will choose if Requeued. What is not repaired is a Void.
type Repair struct {
	Path schedulers.PathID `json:"path"`
	Packet
	Size     int    `json:"size"`
	Age      Micros `json:"age_us"` // since it came from WireGuard
	Requeued bool   `json:"requeued"`
	Free     bool   `json:"free"`   // outside the budget
	Budget   int    `json:"budget"` // bytes left of it
}

// Name is "repair".
func (*Repair) Name() string { return "repair" }
func (e *Repair) append(o object) object {
	o = e.Packet.append(o.must("path", uint64(e.Path)))
	return o.int("size", int64(e.Size)).int("age_us", int64(e.Age)).bool("requeued", e.Requeued).
		bool("free", e.Free).int("budget", int64(e.Budget))
}

// Void says that the counters from c below To will not be sent (any more).
// Why is a drop reason of wgbond, or "skipped": WireGuard never handed them
// over.
type Void struct {
	Packet
	To    uint64 `json:"to"`
	Why   string `json:"why"`
	Tx    int    `json:"tx"`        // how often it had been sent
	Age   Micros `json:"waited_us"` // since it came from WireGuard
	Queue int    `json:"queue"`
}

// Name is "void".
func (*Void) Name() string { return "void" }
func (e *Void) append(o object) object {
	return e.Packet.append(o).uint("to", e.To).string("why", e.Why).int("tx", int64(e.Tx)).
		int("waited_us", int64(e.Age)).int("queue", int64(e.Queue))
}

// Control is a sealed control datagram.
type Control struct {
	Path schedulers.PathID `json:"path"`
	// Stray: it goes to, or came from, an address that is no path's.
	Stray  bool    `json:"stray"`
	Size   int     `json:"size"`
	Frames []Frame `json:"frames"`
}

func (e *Control) append(o object) object {
	o = o.must("path", uint64(e.Path)).bool("stray", e.Stray).int("size", int64(e.Size)).open("frames")
	for i := range e.Frames {
		o = e.Frames[i].append(o.sep())
	}
	return append(o, ']')
}

// ControlSent says that a control datagram was made; it leaves at once.
type ControlSent struct{ Control }

// Name is "control_sent".
func (*ControlSent) Name() string { return "control_sent" }

// ControlGot says that one came.
type ControlGot struct{ Control }

// Name is "control_got".
func (*ControlGot) Name() string { return "control_got" }

// Frame is one frame of a Control, see wgbond/wire. Which fields mean
// something depends on Kind.
type Frame struct {
	// Kind is attach, challenge, challenge_reply, attached, detach, ping,
	// pong, key_pair, key_pair_end, marker, void, tune, feedback, close, hello,
	// equalize, ceiling, receipt, verdict, reached.
	Kind     string            `json:"f"`
	Path     schedulers.PathID `json:"path"`
	ID       uint32            `json:"id"`          // ping, pong
	Pair     uint32            `json:"pair"`        // ordinal; of all with counters
	From     uint64            `json:"from"`        // key_pair: first; void
	To       uint64            `json:"to"`          // key_pair_end: end; marker: below; void
	Hold     Micros            `json:"hold_us"`     // tune
	Deadline Micros            `json:"deadline_us"` // tune
	Live     uint32            `json:"live"`        // tune: a bit for each path
	Ranges   int               `json:"ranges"`      // feedback: runs of counters that came
	Reason   uint8             `json:"reason"`      // close
	Reports  []Report          `json:"reports"`     // feedback
}

// Report is what a feedback says of one path.
type Report struct {
	Path    schedulers.PathID `json:"path"`
	Last    uint64            `json:"last"`    // newest counter
	Age     Micros            `json:"age_us"`  // since that arrived
	Packets uint64            `json:"packets"` // in all
	Bytes   uint64            `json:"bytes"`
}

func (f *Frame) append(o object) object {
	o = append(o, '{')
	o = o.string("f", f.Kind).uint("path", uint64(f.Path)).uint("id", uint64(f.ID)).
		uint("pair", uint64(f.Pair)).uint("from", f.From).uint("to", f.To).
		int("hold_us", int64(f.Hold)).int("deadline_us", int64(f.Deadline)).uint("live", uint64(f.Live)).
		int("ranges", int64(f.Ranges)).uint("reason", uint64(f.Reason))
	if len(f.Reports) > 0 {
		o = o.open("reports")
		for i := range f.Reports {
			r := &f.Reports[i]
			o = append(o.sep(), '{')
			o = o.must("path", uint64(r.Path)).must("last", r.Last).int("age_us", int64(r.Age)).
				uint("packets", r.Packets).uint("bytes", r.Bytes)
			o = append(o, '}')
		}
		o = append(o, ']')
	}
	return append(o, '}')
}

// Got says that a data message came by a path.
type Got struct {
	Path schedulers.PathID `json:"path"`
	Packet
	Size int `json:"size"`
}

// Name is "got".
func (*Got) Name() string { return "got" }
func (e *Got) append(o object) object {
	return e.Packet.append(o.must("path", uint64(e.Path))).int("size", int64(e.Size))
}

// Gap says that the reorder buffer waits for the packet named from now on:
// later ones are here.
type Gap struct {
	Packet
	Missing uint64 `json:"missing"` // packets, to the lowest that waits; not what is void or went ahead
	Held    int    `json:"held"`    // packets that wait
}

// Name is "gap".
func (*Gap) Name() string { return "gap" }
func (e *Gap) append(o object) object {
	return e.Packet.append(o).uint("missing", e.Missing).int("held", int64(e.Held))
}

// GapEnd says that it waits no more, and Why: "filled" (the packet came),
// "void" (the sender said it will not), "passed" (every live path has brought
// something newer, and Hold is over), "deadline", "forced" (too much was held),
// "restart" (the order began anew).
type GapEnd struct {
	Packet
	Why  string `json:"why"`
	For  Micros `json:"for_us"` // since the gap began
	Held int    `json:"held"`   // packets that still wait
}

// Name is "gap_end".
func (*GapEnd) Name() string { return "gap_end" }
func (e *GapEnd) append(o object) object {
	return e.Packet.append(o).string("why", e.Why).int("for_us", int64(e.For)).int("held", int64(e.Held))
}

// Released says that packets which had waited went on to WireGuard.
type Released struct {
	Packets uint64 `json:"packets"`
	Waited  Micros `json:"waited_us"` // mean
	Held    int    `json:"held"`      // packets that still wait
}

// Name is "released".
func (*Released) Name() string { return "released" }
func (e *Released) append(o object) object {
	return o.uint("packets", e.Packets).int("waited_us", int64(e.Waited)).int("held", int64(e.Held))
}

// Disorder says that packets were passed on out of order, and Why: "late" (the
// place had been given up), "duplicate", "unannounced" (key pair), "too-far",
// "expired" (had waited too long), "stray" (from an unknown address). A Got
// just before it names the packet if it was one that came.
type Disorder struct {
	Why     string `json:"why"`
	Packets uint64 `json:"packets"`
}

// Name is "disorder".
func (*Disorder) Name() string { return "disorder" }
func (e *Disorder) append(o object) object {
	return o.string("why", e.Why).uint("packets", e.Packets)
}

// Drop says that something was dropped, by wgbond's drop reason. What left a
// hole in the counters is a Void besides.
type Drop struct {
	Why string `json:"why"`
	N   uint64 `json:"n"`
}

// Name is "drop".
func (*Drop) Name() string             { return "drop" }
func (e *Drop) append(o object) object { return o.string("why", e.Why).uint("n", e.N) }

// Late says that the session was called later than it had asked for: the
// machine, or the shell, was busy. What the session concludes from the silence
// meanwhile may be wrong.
type Late struct {
	By Micros `json:"by_us"`
}

// Name is "late".
func (*Late) Name() string             { return "late" }
func (e *Late) append(o object) object { return o.int("by_us", int64(e.By)) }

// Untraced says that so many events before this line are missing: whatever
// writes the trace was busy.
type Untraced struct {
	Events uint64 `json:"events"`
}

// Name is "untraced".
func (*Untraced) Name() string             { return "untraced" }
func (e *Untraced) append(o object) object { return o.uint("events", e.Events) }

// Unknown is an event of a newer version.
type Unknown struct {
	Ev   string
	Line []byte // all of it
}

// Name is the line's "ev".
func (e *Unknown) Name() string { return e.Ev }

// append cannot be reached: only the reader makes an Unknown, and it keeps the
// line as it was.
func (e *Unknown) append(o object) object { return o }
