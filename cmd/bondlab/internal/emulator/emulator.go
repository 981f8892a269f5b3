//go:build linux

// Package emulator is the laboratory's WWANs: links with a real TUN device at
// each end and sim.Link, the virtual-time judge's own link model, in between.
//
//	host c                    emulator thread                       host i
//	wwan0 ──read──▶ Push ─▶ sim.Link (up)   ─▶ Pop at arrival ──write──▶ c-own
//	      ◀──write── Pop ◀─ sim.Link (down) ◀─ Push ◀──────────read──
//
// One thread serves all links of a run. It sleeps in epoll until a device has
// packets or a timer for the next arrival fires (absolute, CLOCK_MONOTONIC),
// so an idle laboratory costs nothing. It asks for real-time priority, since
// a busy machine's scheduler would otherwise add delays that no link has.
package emulator

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/pcap"
	"github.com/wg-bond/wg-bond/wgbond/sim"
	"golang.org/x/sys/unix"
)

// MTU of every emulated link, bytes of whole IP packets.
const MTU = 1500

// slack is how much later than due a packet may be delivered so that several
// share one wake-up. Half of it is the mean error that it adds to the delay.
const slack = 100 * time.Microsecond

// readBatch bounds the packets read from one device before the others get
// their turn.
const readBatch = 64

// Emulator carries packets over all links of a laboratory. Its methods are
// safe for concurrent use; the links themselves belong to its one thread.
type Emulator struct {
	commands chan func()
	wake     int // eventfd: there are commands
	done     chan struct{}

	// Owned by the thread of run.
	epoll, timer int
	armed        time.Duration // what timer is set to; Never: nothing
	pipes        []*pipe       // two a link
	byFD         map[int32]*pipe
	free         []*packet
	fail         error

	realtime atomic.Bool
}

type packet struct {
	pipe *pipe // that it takes
	buf  [MTU]byte
}

// pipe is one direction of a link.
type pipe struct {
	name     string
	from, to int // TUN descriptors
	link     *sim.Link[*packet]
	epoch    time.Duration // monotonic time of the model's time zero
	behind   *pipe         // whose model this one's packets take; nil: its own
	packets  uint64        // delivered; of the model itself if others take it, too
	bytes    uint64
	readable bool
	lateness Lateness
	blocked  uint64    // packets that the receiving device refused
	past     sim.Stats // of the models before this one
	nat      *nat      // nil: none
	outward  bool      // from A to B
	tapIn    *pcap.Writer
	tapOut   *pcap.Writer
}

// Link is one emulated link, between the devices A and B.
type Link struct {
	e      *Emulator
	ab, ba *pipe
}

// Direction of a link.
type Direction int

// The directions.
const (
	AB Direction = iota
	BA
)

// New starts an emulator without links. Close ends it.
func New() (*Emulator, error) {
	e := &Emulator{commands: make(chan func(), 16), done: make(chan struct{}), byFD: map[int32]*pipe{}, armed: sim.Never}
	var err error
	if e.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if e.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return nil, errors.Join(fmt.Errorf("timerfd_create: %w", err), unix.Close(e.epoll))
	}
	if e.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, errors.Join(fmt.Errorf("eventfd: %w", err), unix.Close(e.epoll), unix.Close(e.timer))
	}
	for _, fd := range []int{e.timer, e.wake} {
		if err := e.watch(fd); err != nil {
			return nil, err
		}
	}
	// When epoll_wait returns, Go gives the thread back to us only with a free
	// processor of its runtime (a P). If other goroutines keep all of them
	// busy that takes up to 10 ms, whatever the thread's priority: have spare ones.
	if spare := runtime.NumCPU() + 4; runtime.GOMAXPROCS(0) < spare {
		runtime.GOMAXPROCS(spare)
	}
	started := make(chan struct{})
	go e.run(started)
	<-started
	return e, nil
}

func (e *Emulator) watch(fd int) error {
	err := unix.EpollCtl(e.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
	if err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// Add joins the TUN devices a and b (non-blocking descriptors, as OpenTUN
// returns them) by a link that carries nothing until Configure. The emulator
// owns the descriptors from then on.
func (e *Emulator) Add(name string, a, b int) (*Link, error) {
	l := &Link{e: e, ab: &pipe{name: name + " a→b", from: a, to: b, outward: true}, ba: &pipe{name: name + " b→a", from: b, to: a}}
	err := e.do(func() error {
		for _, p := range []*pipe{l.ab, l.ba} {
			if err := e.watch(p.from); err != nil {
				return err
			}
			e.pipes = append(e.pipes, p)
			e.byFD[int32(p.from)] = p
		}
		return nil
	})
	return l, err
}

// Behind has l's packets pass the models of the link front from now on, beside
// front's own: two links, one bottleneck. Front must have models of its own, and
// be of the same emulator.
func (l *Link) Behind(front *Link) error {
	return l.e.do(func() error {
		l.ab.behind, l.ba.behind = front.ab, front.ba
		return nil
	})
}

// Configure puts new models in place of both directions' old ones. Now is
// their time zero. Packets inside the old models are lost.
func (l *Link) Configure(ab, ba sim.LinkConfig) error {
	return ConfigureAll([]Setting{{l, ab, ba}})
}

// Setting is what ConfigureAll gives a link.
type Setting struct {
	Link   *Link
	AB, BA sim.LinkConfig
}

// ConfigureAll configures links of one emulator with one common time zero.
func ConfigureAll(settings []Setting) error {
	type change struct {
		p *pipe
		m *sim.Link[*packet]
	}
	var changes []change
	for _, s := range settings {
		for p, cfg := range map[*pipe]sim.LinkConfig{s.Link.ab: s.AB, s.Link.ba: s.BA} {
			m, err := sim.NewLink[*packet](cfg)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			changes = append(changes, change{p, m})
		}
	}
	if len(changes) == 0 {
		return nil
	}
	return settings[0].Link.e.do(func() error {
		now := monotonic()
		for _, c := range changes {
			if c.p.link != nil {
				c.p.past = sum(c.p.past, c.p.link.Stats())
			}
			c.p.link, c.p.epoch = c.m, now
		}
		return nil
	})
}

// Stats describes one direction since the link was added.
type Stats struct {
	// Stats are the model's: with links behind this one, theirs are in it.
	sim.Stats
	// Packets and Bytes that this link's own devices exchanged, whole IP packets.
	Packets, Bytes uint64
	Lateness       Lateness
	// Refused counts packets that the receiving device did not take.
	Refused uint64
}

// Stats returns what one direction did so far.
func (l *Link) Stats(d Direction) Stats {
	p := l.ab
	if d == BA {
		p = l.ba
	}
	var s Stats
	l.e.do(func() error {
		s = Stats{Packets: p.packets, Bytes: p.bytes, Lateness: p.lateness, Refused: p.blocked}
		m := p.model()
		s.Stats = m.past
		if m.link != nil {
			s.Stats = sum(s.Stats, m.link.Stats())
		}
		return nil
	})
	return s
}

func sum(a, b sim.Stats) sim.Stats {
	a.Pushed += b.Pushed
	a.Delivered += b.Delivered
	a.DeliveredBytes += b.DeliveredBytes
	a.MaxQueue = max(a.MaxQueue, b.MaxQueue)
	a.Dropped.MTU += b.Dropped.MTU
	a.Dropped.Queue += b.Dropped.Queue
	a.Dropped.Outage += b.Dropped.Outage
	a.Dropped.Loss += b.Dropped.Loss
	a.Dropped.Burst += b.Dropped.Burst
	return a
}

// model is the pipe whose model counts.
func (p *pipe) model() *pipe {
	if p.behind != nil {
		return p.behind
	}
	return p
}

// Capture records the packets at both ends of the link: a what enters and
// leaves device A, b the same at B. Nil ends a recording.
func (l *Link) Capture(a, b *pcap.Writer) {
	l.e.do(func() error {
		l.ab.tapIn, l.ab.tapOut = a, b
		l.ba.tapIn, l.ba.tapOut = b, a
		return nil
	})
}

// CPU is the processor time that the emulator's thread has used.
func (e *Emulator) CPU() time.Duration {
	var u unix.Rusage
	e.do(func() error { return unix.Getrusage(unix.RUSAGE_THREAD, &u) })
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Realtime reports whether the thread got real-time priority.
func (e *Emulator) Realtime() bool { return e.realtime.Load() }

// Close ends the emulator and removes its devices. It returns the error that
// ended it earlier, if one did.
func (e *Emulator) Close() error {
	select {
	case e.commands <- nil:
		e.ring()
	case <-e.done:
	}
	<-e.done
	return e.fail
}

// do runs fn on the emulator's thread.
func (e *Emulator) do(fn func() error) error {
	result := make(chan error, 1)
	select {
	case e.commands <- func() { result <- fn() }:
	case <-e.done:
		return errors.Join(errors.New("the link emulator has ended"), e.fail)
	}
	e.ring()
	select {
	case err := <-result:
		return err
	case <-e.done:
		return errors.Join(errors.New("the link emulator has ended"), e.fail)
	}
}

// ring wakes the thread. An eventfd write fails only when the counter is
// full, and then the thread is awake anyway.
func (e *Emulator) ring() { unix.Write(e.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// run is the emulator's thread.
func (e *Emulator) run(started chan<- struct{}) {
	runtime.LockOSThread() // and never unlocked: the thread ends with us
	defer close(e.done)
	defer e.closeAll()
	err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
	e.realtime.Store(err == nil)
	close(started)

	var events [64]unix.EpollEvent
	for {
		more := e.carry()
		next := e.deliver()
		if err := e.arm(next); err != nil {
			e.fail = err
			return
		}
		timeout := -1
		if more {
			timeout = 0
		}
		n, err := unix.EpollWait(e.epoll, events[:], timeout)
		if err != nil && err != unix.EINTR {
			e.fail = fmt.Errorf("epoll_wait: %w", err)
			return
		}
		for _, ev := range events[:max(n, 0)] {
			switch int(ev.Fd) {
			case e.timer:
				drain(e.timer)
				e.armed = sim.Never
			case e.wake:
				drain(e.wake)
				for commands := true; commands; {
					select {
					case fn := <-e.commands:
						if fn == nil {
							return
						}
						fn()
					default:
						commands = false
					}
				}
			default:
				if p := e.byFD[ev.Fd]; p != nil {
					p.readable = true
				}
			}
		}
	}
}

// carry reads what the devices have into the models; true if one has more.
func (e *Emulator) carry() (more bool) {
	for _, p := range e.pipes {
		if !p.readable {
			continue
		}
		now := monotonic()
		i := 0
		for ; i < readBatch; i++ {
			pkt := e.get()
			n, err := unix.Read(p.from, pkt.buf[:])
			if err != nil {
				e.put(pkt)
				// EAGAIN: empty. EIO: the device is down; packets come when it is up.
				p.readable = err == unix.EINTR
				break
			}
			pkt.pipe = p
			if p.nat != nil && !p.translate(pkt.buf[:n]) {
				e.put(pkt)
				continue
			}
			if p.tapIn != nil {
				p.tapIn.Packet(time.Now(), pkt.buf[:n])
			}
			if m := p.model(); m.link == nil || !m.link.Push(now-m.epoch, n, pkt) {
				e.put(pkt)
			}
		}
		more = more || p.readable
	}
	return more
}

// translate does what a NAT on the way does; false: it drops the packet.
func (p *pipe) translate(pkt []byte) bool {
	if p.outward {
		p.nat.out(pkt)
		return true
	}
	return p.nat.in(pkt)
}

// deliver writes what has arrived and returns when the next packet will, on
// the monotonic clock.
func (e *Emulator) deliver() (next time.Duration) {
	next = sim.Never
	now := monotonic()
	for _, p := range e.pipes {
		if p.link == nil {
			continue
		}
		for {
			due := p.link.Next()
			if due == sim.Never {
				break
			}
			if due += p.epoch; due > now {
				next = min(next, due)
				break
			}
			pkt, n, _ := p.link.Pop(now - p.epoch)
			way := pkt.pipe
			_, err := unix.Write(way.to, pkt.buf[:n])
			way.lateness.add(monotonic() - due)
			if err != nil {
				way.blocked++ // EIO: device down. EINVAL: not an IP packet.
			} else if way.tapOut != nil {
				way.tapOut.Packet(time.Now(), pkt.buf[:n])
			}
			way.packets++
			way.bytes += uint64(n)
			e.put(pkt)
		}
	}
	return next
}

// arm sets the timer for the next arrival, up to slack later.
func (e *Emulator) arm(next time.Duration) error {
	if next == sim.Never {
		return nil // a timer that still runs wakes us once in vain
	}
	next = (next + slack - 1).Truncate(slack)
	if next >= e.armed && e.armed != sim.Never {
		return nil // an earlier one is set, and we shall look again then
	}
	e.armed = next
	ts := unix.NsecToTimespec(int64(next))
	if err := unix.TimerfdSettime(e.timer, unix.TFD_TIMER_ABSTIME, &unix.ItimerSpec{Value: ts}, nil); err != nil {
		return fmt.Errorf("timerfd_settime: %w", err)
	}
	return nil
}

func (e *Emulator) get() *packet {
	if n := len(e.free); n > 0 {
		p := e.free[n-1]
		e.free = e.free[:n-1]
		return p
	}
	return new(packet)
}

func (e *Emulator) put(p *packet) { e.free = append(e.free, p) }

func (e *Emulator) closeAll() {
	for fd := range e.byFD {
		unix.Close(int(fd))
	}
	unix.Close(e.epoll)
	unix.Close(e.timer)
	unix.Close(e.wake)
}

func drain(fd int) {
	var b [8]byte
	unix.Read(fd, b[:])
}

// monotonic is CLOCK_MONOTONIC, the clock of the timer.
func monotonic() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail for this clock
	return time.Duration(ts.Nano())
}
