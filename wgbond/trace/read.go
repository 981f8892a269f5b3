package trace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

// Entry is one line of a trace.
type Entry struct {
	Line  int           // number in the file, from 1
	T     time.Duration // since the trace's start, whole microseconds
	Event Event
}

// maxLine bounds a line, bytes. A plan for 16 paths has about 6 kB.
const maxLine = 1 << 20

// ErrFormat is matched by every error about what a trace contains.
var ErrFormat = errors.New("not a trace")

// LineError says what is wrong with a line.
type LineError struct {
	Line   int
	Detail string
	Err    error // may be nil
}

func (e *LineError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("trace: line %d: %s: %v", e.Line, e.Detail, e.Err)
	}
	return fmt.Sprintf("trace: line %d: %s", e.Line, e.Detail)
}

// Is matches ErrFormat.
func (e *LineError) Is(target error) bool { return target == ErrFormat }

// Unwrap gives the cause.
func (e *LineError) Unwrap() error { return e.Err }

// Read reads a trace: its header at once, then its events as the iterator is
// followed. The iterator ends with the first error. A last line without its
// end, such as a killed program leaves, is left out; events of a newer version
// are Unknown, and fields that it added are ignored.
func Read(r io.Reader) (Header, iter.Seq2[Entry, error], error) {
	s := bufio.NewReaderSize(r, 64<<10)
	var h Header
	line, err := readLine(s, 1)
	if err == io.EOF {
		err = &LineError{Line: 1, Detail: "there is no line: want the header, {\"wg-bond-trace\":1,…}"}
	}
	if err != nil {
		return h, nil, err
	}
	if err := json.Unmarshal(line, &h); err != nil {
		return h, nil, &LineError{1, `want the header, {"wg-bond-trace":1,…}`, err}
	}
	switch {
	case h.Version == 0:
		return h, nil, &LineError{Line: 1, Detail: `no "wg-bond-trace": want the header, {"wg-bond-trace":1,…}`}
	case h.Version != Version:
		return h, nil, &LineError{Line: 1, Detail: fmt.Sprintf("format %d: this program reads format %d", h.Version, Version)}
	}
	return h, func(yield func(Entry, error) bool) {
		for n := 2; ; n++ {
			line, err := readLine(s, n)
			if err == io.EOF {
				return
			}
			var e Entry
			if err == nil {
				e, err = parse(line, n)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}, nil
}

// readLine returns the next line without its end, good until the next call.
func readLine(s *bufio.Reader, n int) ([]byte, error) {
	line, err := s.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		long := bytes.Clone(line)
		for err == bufio.ErrBufferFull && len(long) <= maxLine {
			line, err = s.ReadSlice('\n')
			long = append(long, line...)
		}
		line = long
	}
	switch {
	case len(line) > maxLine:
		return nil, &LineError{Line: n, Detail: fmt.Sprintf("longer than %d bytes", maxLine)}
	case err == io.EOF:
		return nil, io.EOF
	case err != nil:
		return nil, fmt.Errorf("trace: line %d: %w", n, err)
	}
	return line[:len(line)-1], nil
}

func parse(line []byte, n int) (Entry, error) {
	var head struct {
		T  *Micros `json:"t"`
		Ev string  `json:"ev"`
	}
	if t, ev, ok := quick(line); ok {
		head.T, head.Ev = &t, ev
	} else if err := json.Unmarshal(line, &head); err != nil {
		return Entry{}, &LineError{n, "want an object on a line", err}
	}
	if head.T == nil || head.Ev == "" {
		return Entry{}, &LineError{Line: n, Detail: fmt.Sprintf(`want {"t":µs,"ev":"name",…}, found %.60q`, line)}
	}
	e := Entry{Line: n, T: head.T.Duration()}
	make, ok := events[head.Ev]
	if !ok {
		e.Event = &Unknown{Ev: head.Ev, Line: bytes.Clone(line)}
		return e, nil
	}
	e.Event = make()
	if err := json.Unmarshal(line, e.Event); err != nil {
		return Entry{}, &LineError{n, "event " + head.Ev, err}
	}
	if err := check(e.Event); err != nil {
		return Entry{}, &LineError{n, "event " + head.Ev, err}
	}
	return e, nil
}

// quick reads the time and the name where a Recorder puts them. The name is one
// of events' keys.
func quick(line []byte) (t Micros, ev string, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"t":`))
	digits, rest, found := bytes.Cut(rest, []byte(`,"ev":"`))
	name, _, closed := bytes.Cut(rest, []byte{'"'})
	if !ok || !found || !closed || len(digits) == 0 || len(digits) > 18 || events[string(name)] == nil {
		return 0, "", false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, "", false
		}
		t = 10*t + Micros(c-'0')
	}
	return t, string(name), true
}

// check finds numbers that no session writes and that would lead astray who
// uses them as an index.
func check(e Event) error {
	path := schedulers.PathID(0)
	switch e := e.(type) {
	case *Path:
		path = e.Path
	case *State:
		path = e.Path
	case *Mode:
		path = e.Path
	case *Plan:
		for i := range e.Paths {
			path = max(path, e.Paths[i].Path)
		}
	case *Bind:
		path = e.Path
	case *Sent:
		path = e.Path
	case *Slack:
		path = e.Path
	case *Ack:
		path = e.Path
	case *Lost:
		path = e.Path
	case *Repair:
		path = e.Path
	case *Got:
		path = e.Path
	case *ControlSent:
		path = e.highest()
	case *ControlGot:
		path = e.highest()
	}
	if path >= schedulers.MaxPaths {
		return fmt.Errorf("path %d: the highest is %d", path, schedulers.MaxPaths-1)
	}
	return nil
}

// highest is the highest path number in a datagram.
func (e *Control) highest() schedulers.PathID {
	path := e.Path
	for i := range e.Frames {
		path = max(path, e.Frames[i].Path)
		for _, r := range e.Frames[i].Reports {
			path = max(path, r.Path)
		}
	}
	return path
}
