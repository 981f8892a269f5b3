//go:build linux

package measure

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// echoID is the identifier of our echo requests; each host has one pinger.
const echoID = 0xb0d

// Echo sends one echo request and waits for its reply.
func Echo(h *sandbox.Host, to netip.Addr, patience time.Duration) (time.Duration, error) {
	p, err := StartPings(h, to, 0)
	if err != nil {
		return 0, err
	}
	select {
	case <-p.first:
	case <-time.After(patience):
	}
	got := p.Stop()
	if len(got.RTTs) == 0 {
		return 0, fmt.Errorf("no echo from %s within %v", to, patience)
	}
	return got.RTTs[0], nil
}

// Pings are the results of a Pinger.
type Pings struct {
	Sent int
	RTTs []time.Duration // of the answered ones, in the order of the answers
	At   []time.Duration // when these were sent, since the first was
	// Gap is the longest time without any answer, between the first and the
	// last one.
	Gap time.Duration
}

// Pinger sends echo requests at an interval.
type Pinger struct {
	conn  net.PacketConn
	stop  chan struct{}
	wg    sync.WaitGroup
	first chan struct{} // closed with the first answer

	mu    sync.Mutex
	start time.Time
	sent  []time.Time // by sequence number
	last  time.Time   // newest answer
	got   Pings
}

// StartPings starts sending echo requests from a host, one each interval
// until Stop; a single one if the interval is 0.
func StartPings(h *sandbox.Host, to netip.Addr, interval time.Duration) (*Pinger, error) {
	p := &Pinger{stop: make(chan struct{}), first: make(chan struct{})}
	err := h.Do(func() (err error) {
		p.conn, err = net.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("host %s: raw socket for echo requests: %w", h.Name, err)
	}
	dst := &net.IPAddr{IP: to.AsSlice()}
	p.wg.Go(func() { p.receive(to) })
	if interval == 0 {
		p.send(dst)
		return p, nil
	}
	p.wg.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			p.send(dst)
			select {
			case <-tick.C:
			case <-p.stop:
				return
			}
		}
	})
	return p, nil
}

func (p *Pinger) send(dst net.Addr) {
	p.mu.Lock()
	seq := len(p.sent)
	p.sent = append(p.sent, time.Now())
	if seq == 0 {
		p.start = p.sent[0]
	}
	p.got.Sent++
	p.mu.Unlock()
	msg := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: echoID, Seq: seq & 0xffff, Data: make([]byte, 56)}}
	b, err := msg.Marshal(nil)
	if err == nil {
		// A request that cannot be sent (no route yet, device gone) counts as lost.
		p.conn.WriteTo(b, dst)
	}
}

func (p *Pinger) receive(from netip.Addr) {
	buf := make([]byte, 1500)
	for {
		n, addr, err := p.conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		now := time.Now()
		if err != nil || addr.String() != from.String() {
			continue
		}
		msg, err := icmp.ParseMessage(1, buf[:n])
		if err != nil || msg.Type != ipv4.ICMPTypeEchoReply {
			continue
		}
		echo, ok := msg.Body.(*icmp.Echo)
		if !ok || echo.ID != echoID {
			continue
		}
		p.answer(echo.Seq, now)
	}
}

func (p *Pinger) answer(seq int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// The newest request with these low 16 bits.
	if seq += (len(p.sent) - 1 - seq) &^ 0xffff; seq < 0 || seq >= len(p.sent) || p.sent[seq].IsZero() {
		return
	}
	p.got.RTTs = append(p.got.RTTs, now.Sub(p.sent[seq]))
	p.got.At = append(p.got.At, p.sent[seq].Sub(p.start))
	p.sent[seq] = time.Time{} // a second answer does not count
	if p.last.IsZero() {
		close(p.first)
	} else {
		p.got.Gap = max(p.got.Gap, now.Sub(p.last))
	}
	p.last = now
}

// underway is how long before Stop an unanswered request may have been sent
// and still not count as lost: nor as sent.
const underway = time.Second

// Stop ends the pings and returns the results so far.
func (p *Pinger) Stop() Pings {
	close(p.stop)
	p.conn.Close()
	p.wg.Wait()
	for _, sent := range slices.Backward(p.sent) {
		if !sent.IsZero() && time.Since(sent) < underway {
			p.got.Sent--
		}
	}
	return p.got
}
