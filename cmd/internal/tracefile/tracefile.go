// Package tracefile writes sessions' traces into files, without ever making a
// session wait for the disk:
//
//	Recorder ── Write: a copy ──▶ queue, bounded ──▶ goroutine ──▶ file
//	              └ full: an error; the Recorder counts what is missing, and
//	                says so in the trace
package tracefile

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

// queueLength is how many pieces (about 32 kB each) may wait for the disk.
const queueLength = 128

// ErrBusy says that the queue is full.
var ErrBusy = errors.New("tracefile: the disk is slower than the trace")

var errClosed = errors.New("tracefile: closed")

// Files makes one file for every session that does anything: NAME for the first, then NAME.2,
// NAME.3 and so on, before the extension if there is one. It is safe for
// concurrent use.
type Files struct {
	name string
	log  *slog.Logger

	n atomic.Int32 // files so far

	mu     sync.Mutex // guards all below
	closed bool
	files  []*file
}

// New begins with the file called name, which it makes at once, so that a name
// that cannot be is told now. What a file of that name has is overwritten.
func New(name string, log *slog.Logger) (*Files, error) {
	f, err := create(name)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	return &Files{name: name, log: log}, f.Close()
}

// create opens a file that only its owner can read: a trace tells who sent how
// much, when.
func create(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

// Open makes the writer for a session's trace. Its Write does not block.
func (f *Files) Open(session string) io.Writer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	w := start(queueLength, func() (io.WriteCloser, error) { return f.create(session) })
	f.files = append(f.files, w)
	return w
}

// create makes the next file, for the session whose first event has come.
func (f *Files) create(session string) (io.WriteCloser, error) {
	name := f.name
	if n := f.n.Add(1); n > 1 {
		ext := filepath.Ext(name)
		name = fmt.Sprintf("%s.%d%s", strings.TrimSuffix(name, ext), n, ext)
	}
	f.log.Info("tracing", "session", session, "file", name)
	return create(name)
}

// Close writes what is queued and closes all files. The error is the first
// that any of them met.
func (f *Files) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	var errs []error
	for _, w := range f.files {
		errs = append(errs, w.Close())
	}
	f.files = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	return nil
}

// file is one file, its queue and its goroutine.
type file struct {
	mu     sync.Mutex // guards closed and sends to pieces
	closed bool
	pieces chan []byte
	spare  chan []byte // written pieces, for use again
	done   chan struct{}
	err    error // of the goroutine, after done
}

// start begins the goroutine, which opens the file when there is something to
// write.
func start(length int, open func() (io.WriteCloser, error)) *file {
	w := &file{pieces: make(chan []byte, length), spare: make(chan []byte, length), done: make(chan struct{})}
	go w.write(open)
	return w
}

func (w *file) write(open func() (io.WriteCloser, error)) {
	defer close(w.done)
	var to io.WriteCloser
	var err error
	for p := range w.pieces {
		if to == nil && err == nil {
			to, err = open()
		}
		if err == nil {
			_, err = to.Write(p)
		}
		select {
		case w.spare <- p:
		default:
		}
	}
	if to != nil {
		err = errors.Join(err, to.Close())
	}
	w.err = err
}

// Write queues a copy of p, or returns ErrBusy. It does not block.
func (w *file) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, errClosed
	}
	if len(w.pieces) == cap(w.pieces) {
		return 0, ErrBusy
	}
	var b []byte
	select {
	case b = <-w.spare:
	default:
	}
	w.pieces <- append(b[:0], p...) // has room: the only sender holds mu
	return len(p), nil
}

// Close waits until what is queued has been written.
func (w *file) Close() error {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.pieces)
	}
	w.mu.Unlock()
	<-w.done
	return w.err
}
