package trace

import (
	"io"
	"strconv"
	"time"
)

// Version is that of the format.
const Version = 1

// Header is a trace's first line.
type Header struct {
	Version  int      `json:"wg-bond-trace"`
	Role     string   `json:"role"`     // "client" or "server"
	Session  string   `json:"session"`  // whatever tells it from others: the peer's address
	Scenario string   `json:"scenario"` // of a laboratory or a simulation
	Seed     uint64   `json:"seed"`
	Started  string   `json:"started"` // wall clock, RFC 3339; empty in virtual time
	Paths    []string `json:"paths"`   // names by number, where they are known at the start
}

func (h *Header) append(o object) object {
	o = append(o, '{')
	o = o.int("wg-bond-trace", int64(h.Version)).string("role", h.Role).string("session", h.Session).
		string("scenario", h.Scenario).uint("seed", h.Seed).string("started", h.Started)
	if len(h.Paths) > 0 {
		o = o.open("paths")
		for _, p := range h.Paths {
			o = appendString(o.sep(), p)
		}
		o = append(o, ']')
	}
	return append(o, '}', '\n')
}

const (
	// chunk is how much is gathered before it is written.
	chunk = 32 << 10
	// room is more than what one event usually needs.
	room = 4 << 10
	// flushAfter is how old gathered events may get, while others follow.
	flushAfter = time.Second
)

// Recorder writes a session's events. It gathers them and gives them to the
// Writer in pieces of whole lines, so Write is called with about 32 kB or once
// a second. Write must not block, nor keep the slice: a shell's queues a copy.
// If it returns an error, what it was given is lost; that is counted, and said
// in the trace when writing goes on.
//
// A Recorder belongs to one session and is not safe for concurrent use. The nil
// Recorder records nothing.
type Recorder struct {
	w       io.Writer
	header  Header
	headed  bool // the header has been written
	started bool
	start   time.Duration
	wrote   time.Duration
	buf     object
	events  uint64 // in buf
	missing uint64 // not written, nor said so
}

// NewRecorder makes a Recorder; its times count from the first Record. The
// header's Version is set here.
func NewRecorder(w io.Writer, h Header) *Recorder {
	h.Version = Version
	return &Recorder{w: w, header: h}
}

// SetRole puts the role into the header, if it has none. It is of use before
// the first Record only.
func (r *Recorder) SetRole(role string) {
	if r != nil && r.header.Role == "" {
		r.header.Role = role
	}
}

// Record adds an event that happened at now. The Recorder keeps nothing of it.
func (r *Recorder) Record(now time.Duration, e Event) {
	if r == nil {
		return
	}
	if !r.started {
		r.started, r.start, r.wrote = true, now, now
		r.buf = make(object, 0, chunk+room)
	}
	if r.events == 0 {
		if !r.headed {
			r.buf = r.header.append(r.buf)
		}
		if r.missing > 0 {
			r.line(now, &Untraced{Events: r.missing})
		}
	}
	r.line(now, e)
	r.events++
	if len(r.buf) >= chunk || now-r.wrote >= flushAfter {
		r.Flush()
		r.wrote = now
	}
}

func (r *Recorder) line(now time.Duration, e Event) {
	o := append(r.buf, `{"t":`...)
	o = strconv.AppendInt(o, int64(Span(now-r.start)), 10)
	o = append(o, `,"ev":"`...)
	o = append(o, e.Name()...)
	o = append(o, '"')
	r.buf = append(e.append(o), '}', '\n')
}

// Flush writes what has been gathered.
func (r *Recorder) Flush() {
	if r == nil || len(r.buf) == 0 {
		return
	}
	if _, err := r.w.Write(r.buf); err != nil {
		r.missing += r.events
	} else {
		r.headed, r.missing = true, 0
	}
	r.buf, r.events = r.buf[:0], 0
}

// Missing is how many events could not be written since the last that could.
func (r *Recorder) Missing() uint64 {
	if r == nil {
		return 0
	}
	return r.missing
}
