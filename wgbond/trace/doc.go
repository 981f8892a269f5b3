// Package trace is the record of one session: every decision of the engine, in
// a format of its own that programs in any language can read.
//
//	wgbond.Session ── Record ──▶ Recorder ── whole lines ──▶ io.Writer
//	                                                            │ a file
//	bondlab replay ◀── Entry, Entry, … ◀────────── Read ◀───────┘
//
// # Format
//
// A trace is text in UTF-8, one JSON object (RFC 8259) on a line. The first
// line is the Header:
//
//	{"wg-bond-trace":1,"role":"client","scenario":"unequal","seed":1,"paths":["fast","slow"]}
//
// Every other line is an event:
//
//	{"t":3012345,"ev":"sent","path":0,"pair":1,"c":4711,"size":1480,"tx":1,"in_flight":59200,…}
//
// "t" is microseconds since the trace's first event, never falling; "ev" the
// event's name. The structs of this package are the events, and their tags the
// fields' names:
//
//	path          Path         a path was added, renamed or withdrawn
//	state, mode   State, Mode  of a path, of its rate control
//	bond          Bond         state of the session as a whole
//	plan          Plan         snapshot of the paths, and the scheduler's plan
//	bind, sent    Bind, Sent   a packet was given to a path; has left
//	slack         Slack        a path could send and nothing waits for it
//	ack           Ack          what a feedback told of a path
//	lost, repair  Lost, Repair a packet was taken for lost; is to be sent again
//	void          Void         counters that will not be sent (any more)
//	control_sent  ControlSent  a control datagram with its frames
//	control_got   ControlGot
//	got           Got          a data message came
//	gap, gap_end  Gap, GapEnd  the reorder buffer waits; no more
//	released      Released     what had waited went on
//	disorder      Disorder     something went on out of order
//	drop          Drop         something was dropped, by reason
//	late          Late         the session was called late: the machine was busy
//	untraced      Untraced     events that are missing here
//
// A field whose value is 0, false or empty is left out, but "path" and "c". A
// name that ends in _us is in microseconds, in _ns in nanoseconds; rates
// ("rate", "sample", "pacing", "drain", "max_rate") are bytes per second; sizes
// ("size", "queue", "queued", "in_flight", "window", "cap", "budget",
// "delivered", "bytes") are bytes, of whole IP packets. "pair" is the ordinal
// of a key pair, "c" a counter in it: our own in what is sent, the peer's in
// what came. Path numbers are both ends' alike.
//
// A reader must ignore fields and events that it does not know: they may be
// added without a new version. The version rises when something known changes
// its meaning.
//
// # Cost
//
// Off, a hook in the engine is the check of a nil pointer. On, an event is
// written without allocation into a buffer; about 120 bytes each, and four
// for a packet that is sent: 1 MB for 1.5 MB of traffic.
package trace
