//go:build linux

package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/web"
)

// Upload sends zeros over one TCP connection from a host to a Sink, which notes
// when they came. It is not curl, for which the sender's congestion control
// cannot be chosen. Limit ends it early, as success; Patience as failure.
type Upload struct {
	Host       *sandbox.Host
	Sink       *Sink
	Congestion string
	MPTCP      bool
	Bytes      int64         // 0: without end, for Limit
	Limit      time.Duration // 0: all of Bytes
	Patience   time.Duration
}

// Run uploads.
func (u Upload) Run() (*Arrivals, error) {
	d := net.Dialer{Timeout: u.Patience, Control: func(_, _ string, raw syscall.RawConn) error {
		return web.SetCongestion(raw, u.Congestion)
	}}
	d.SetMultipathTCP(u.MPTCP)
	start := time.Now()
	u.Sink.begin(start)
	var c net.Conn
	err := u.Host.Do(func() (err error) { c, err = d.DialContext(context.Background(), "tcp", u.Sink.Addr); return err })
	if err != nil {
		return nil, fmt.Errorf("upload: %w", err)
	}
	defer c.Close()
	until := u.Patience
	if u.Limit > 0 {
		until = u.Limit
	}
	c.SetDeadline(start.Add(until))
	var from io.Reader = zeros{}
	if u.Bytes > 0 {
		from = io.LimitReader(from, u.Bytes)
	}
	_, err = io.Copy(c, from)
	if errors.Is(err, os.ErrDeadlineExceeded) && u.Limit > 0 {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("upload: %w", err)
	}
	return u.Sink.end(u.Bytes, u.Patience), nil
}

// zeros is as many bytes as one likes.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Sink takes uploads on a host, one at a time, and notes when their bytes came.
type Sink struct {
	Addr     string
	listener net.Listener
	wg       sync.WaitGroup

	mu       sync.Mutex
	start    time.Time
	arrivals *Arrivals
	changed  chan struct{} // closed, and made anew, with every arrival
}

// NewSink listens on addr in a host. It accepts multipath TCP, as Go's listeners
// do.
func NewSink(h *sandbox.Host, addr string) (*Sink, error) {
	s := &Sink{Addr: addr, arrivals: &Arrivals{}, changed: make(chan struct{})}
	if err := h.Do(func() (err error) { s.listener, err = net.Listen("tcp", addr); return err }); err != nil {
		return nil, err
	}
	s.wg.Go(s.accept)
	return s, nil
}

// Close ends the listening; connections end with their senders.
func (s *Sink) Close() error {
	err := s.listener.Close()
	s.wg.Wait()
	return err
}

func (s *Sink) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		go s.take(c)
	}
}

func (s *Sink) take(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 64<<10)
	s.mu.Lock()
	mine := s.arrivals // what outlives its upload does not count for the next
	s.mu.Unlock()
	for {
		n, err := c.Read(buf)
		s.mu.Lock()
		if n > 0 && mine == s.arrivals {
			mine.Add(time.Since(s.start), n)
			close(s.changed)
			s.changed = make(chan struct{})
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// begin is before an upload.
func (s *Sink) begin(start time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start, s.arrivals = start, &Arrivals{}
}

// end waits until so many bytes have come, or for patience, and returns what did.
func (s *Sink) end(bytes int64, patience time.Duration) *Arrivals {
	late := time.After(patience)
	for {
		s.mu.Lock()
		got, changed := s.arrivals, s.changed
		complete := got.Total() >= bytes
		if complete {
			s.arrivals = &Arrivals{} // nothing is added to got any more
			got.Took = got.Last()
		}
		s.mu.Unlock()
		if complete {
			return got
		}
		select {
		case <-changed:
		case <-late:
			bytes = 0
		}
	}
}
