//go:build linux

package measure

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/web"
)

// Flow is a TCP connection of the kernels' between two hosts, made by Client,
// that carries bytes one way until it is stopped.
type Flow struct {
	Client, Server *sandbox.Host
	Addr           netip.Addr // of the server
	Up             bool       // the client sends
	Congestion     string     // of the sender; empty: the system's
	Rate           float64    // bit/s of payload that the sender offers; 0: all that goes
}

// Running is a Flow under way.
type Running struct {
	epoch    time.Time
	conns    [2]net.Conn // the client's, the server's
	workers  sync.WaitGroup
	mu       sync.Mutex // guards arrivals
	arrivals Arrivals
}

// Start connects and begins to send. Times in what arrives are since epoch.
func (f Flow) Start(epoch time.Time) (*Running, error) {
	r := &Running{epoch: epoch}
	fail := func(err error) (*Running, error) {
		for _, c := range r.conns {
			if c != nil {
				c.Close()
			}
		}
		return nil, fmt.Errorf("a flow between %s and %s: %w", f.Client.Name, f.Server.Name, err)
	}
	var listener net.Listener
	err := f.Server.Do(func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(f.Addr, 0).String())
		return err
	})
	if err != nil {
		return fail(err)
	}
	defer listener.Close()
	if err := f.Client.Do(func() (err error) {
		// A dialer's own goroutines would be on other threads, in other hosts.
		d := net.Dialer{FallbackDelay: -1, Timeout: 10 * time.Second}
		r.conns[0], err = d.DialContext(context.Background(), "tcp", listener.Addr().String())
		return err
	}); err != nil {
		return fail(err)
	}
	if r.conns[1], err = listener.Accept(); err != nil {
		return fail(err)
	}
	sender, receiver := r.conns[1], r.conns[0]
	if f.Up {
		sender, receiver = receiver, sender
	}
	if f.Congestion != "" {
		raw, err := sender.(*net.TCPConn).SyscallConn()
		if err == nil {
			err = web.SetCongestion(raw, f.Congestion)
		}
		if err != nil {
			return fail(err)
		}
	}
	r.workers.Go(func() { f.send(sender) })
	r.workers.Go(func() { r.receive(receiver) })
	return r, nil
}

// sendEvery is how often a sender with a rate offers more.
const sendEvery = 10 * time.Millisecond

// send writes until the connection is closed.
func (f Flow) send(to net.Conn) {
	chunk := make([]byte, 64<<10)
	if f.Rate == 0 {
		for {
			if _, err := to.Write(chunk); err != nil {
				return
			}
		}
	}
	begun, sent := time.Now(), 0
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	for range tick.C {
		// What the connection did not take in time is not offered again.
		due := int(time.Since(begun).Seconds()*f.Rate/8) - sent
		n := min(due, len(chunk))
		if _, err := to.Write(chunk[:n]); err != nil {
			return
		}
		sent += due
	}
}

func (r *Running) receive(from net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			r.mu.Lock()
			r.arrivals.Add(time.Since(r.epoch), n)
			r.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// Stop ends the flow and returns what arrived when.
func (r *Running) Stop() *Arrivals {
	for _, c := range r.conns {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // nothing of it is to be sent afterwards
		}
		c.Close()
	}
	r.workers.Wait()
	return &r.arrivals
}
