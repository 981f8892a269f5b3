package discover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/wg-bond/wg-bond/conn/netwatch"
)

const (
	port       = 5353
	maxMessage = 9000 // RFC 6762, 17
	// reopen is how often to look at the devices where no event tells of them.
	reopen = 5 * time.Second
)

var (
	group4 = netip.MustParseAddr("224.0.0.251")
	group6 = netip.MustParseAddr("ff02::fb")
)

var errNoFamily = errors.New("no address of this family")

// link is multicast DNS on one device.
type link struct {
	device *net.Interface
	addrs  []netip.Prefix // ours, on it
	send4  sender         // nil: no such family here
	send6  sender
	in     chan heard
	close  func()
}

// heard is a message that came by the link.
type heard struct {
	msg  *dns.Msg
	from netip.AddrPort
}

type (
	// sender sends to one, by the device.
	sender func(b []byte, to netip.AddrPort) error
	// receiver waits for a datagram; device is the index of that by which it came,
	// 0 where the system does not tell, as Windows.
	receiver func(b []byte) (n, device int, from net.Addr, err error)
)

// packetConn is x/net's of either family, whose control messages are CM.
type packetConn[CM any] interface {
	ReadFrom(b []byte) (n int, cm *CM, from net.Addr, err error)
	WriteTo(b []byte, cm *CM, to net.Addr) (n int, err error)
}

// over sends with by, and tells the device of what comes.
func over[CM any](p packetConn[CM], by *CM, index func(*CM) int) (sender, receiver) {
	return func(b []byte, to netip.AddrPort) error {
			_, err := p.WriteTo(b, by, net.UDPAddrFromAddrPort(to))
			return err
		}, func(b []byte) (n, device int, from net.Addr, err error) {
			n, cm, from, err := p.ReadFrom(b)
			if cm != nil {
				device = index(cm)
			}
			return n, device, from, err
		}
}

// families are what IPv4 and IPv6 do alike under different names.
var families = []struct {
	network string
	group   netip.Addr
	use     func(c net.PacketConn, device *net.Interface) (sender, receiver, error)
}{
	{"udp4", group4, func(c net.PacketConn, device *net.Interface) (sender, receiver, error) {
		p, by := ipv4.NewPacketConn(c), &ipv4.ControlMessage{IfIndex: device.Index}
		if p.SetControlMessage(ipv4.FlagInterface, true) != nil {
			by = nil
		}
		send, receive := over(p, by, func(m *ipv4.ControlMessage) int { return m.IfIndex })
		return send, receive, errors.Join(p.SetMulticastInterface(device), p.SetMulticastTTL(255))
	}},
	{"udp6", group6, func(c net.PacketConn, device *net.Interface) (sender, receiver, error) {
		p, by := ipv6.NewPacketConn(c), &ipv6.ControlMessage{IfIndex: device.Index}
		if p.SetControlMessage(ipv6.FlagInterface, true) != nil {
			by = nil
		}
		send, receive := over(p, by, func(m *ipv6.ControlMessage) int { return m.IfIndex })
		return send, receive, errors.Join(p.SetMulticastInterface(device), p.SetMulticastHopLimit(255))
	}},
}

// openLink joins the groups on a device.
func openLink(name string) (*link, error) {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", name, err)
	}
	if device.Flags&net.FlagUp == 0 || device.Flags&net.FlagMulticast == 0 {
		return nil, fmt.Errorf("device %s is down, or carries no multicast", name)
	}
	l := &link{device: device, in: make(chan heard, 16)}
	nets, err := device.Addrs()
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", name, err)
	}
	for _, n := range nets {
		if p, err := netip.ParsePrefix(n.String()); err == nil {
			l.addrs = append(l.addrs, p)
		}
	}
	var conns []net.PacketConn
	quit := make(chan struct{})
	var readers sync.WaitGroup
	l.close = func() {
		close(quit)
		for _, c := range conns {
			_ = c.Close() // nothing can be done about it
		}
		readers.Wait()
	}
	var errs []error
	for _, f := range families {
		if !slices.ContainsFunc(l.addrs, func(p netip.Prefix) bool { return p.Addr().Is4() == f.group.Is4() }) {
			continue
		}
		c, err := net.ListenMulticastUDP(f.network, device, net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.group, port)))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		conns = append(conns, c)
		send, receive, err := f.use(c, device)
		errs = append(errs, err)
		if f.group.Is4() {
			l.send4 = send
		} else {
			l.send6 = send
		}
		readers.Go(func() { l.read(quit, receive) })
	}
	if err := errors.Join(errs...); err != nil || len(conns) == 0 {
		l.close()
		if err == nil {
			err = errors.New("it has no address")
		}
		return nil, fmt.Errorf("device %s: %w", name, err)
	}
	return l, nil
}

// read passes on the messages of this link until it is closed. A socket that
// joined a group on one device hears what others have joined elsewhere: that
// is not of this link.
func (l *link) read(quit chan struct{}, receive receiver) {
	buf := make([]byte, maxMessage)
	for {
		n, device, from, err := receive(buf)
		if err != nil {
			select {
			case <-quit:
			case <-time.After(time.Second): // a device that is down for a moment
				continue
			}
			return
		}
		udp, ok := from.(*net.UDPAddr)
		if !ok || device != 0 && device != l.device.Index {
			continue
		}
		at := udp.AddrPort()
		at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
		if !l.onLink(at.Addr()) {
			continue // RFC 6762, 11
		}
		m := new(dns.Msg)
		if m.Unpack(buf[:n]) != nil || m.Opcode != dns.OpcodeQuery || m.Rcode != 0 {
			continue
		}
		select {
		case l.in <- heard{m, at}:
		case <-quit:
			return
		}
	}
}

func (l *link) onLink(a netip.Addr) bool {
	if a.IsLinkLocalUnicast() {
		return a.Zone() == "" || a.Zone() == l.device.Name
	}
	return slices.ContainsFunc(l.addrs, func(p netip.Prefix) bool { return p.Contains(a) })
}

// own are our addresses on the link.
func (l *link) own() []netip.Addr {
	var as []netip.Addr
	for _, p := range l.addrs {
		as = append(as, p.Addr().Unmap())
	}
	return as
}

// multicast sends to all on the link. It is an error if neither family can: an
// IPv6 address is not fit for use in its first second.
func (l *link) multicast(m *dns.Msg) error {
	b, err := m.Pack()
	if err != nil {
		return err
	}
	err4, err6 := errNoFamily, errNoFamily
	if l.send4 != nil {
		err4 = l.send4(b, netip.AddrPortFrom(group4, port))
	}
	if l.send6 != nil {
		err6 = l.send6(b, netip.AddrPortFrom(group6.WithZone(l.device.Name), port))
	}
	if err4 != nil && err6 != nil {
		return errors.Join(err4, err6)
	}
	return nil
}

// unicast answers one.
func (l *link) unicast(m *dns.Msg, to netip.AddrPort) error {
	b, err := m.Pack()
	if err != nil {
		return err
	}
	send := l.send4
	if to.Addr().Is6() {
		send = l.send6
	}
	if send == nil {
		return nil
	}
	return send(b, to)
}

// stale reports whether the device is another now, or has other addresses.
func (l *link) stale() bool {
	device, err := net.InterfaceByName(l.device.Name)
	if err != nil || device.Index != l.device.Index || device.Flags&net.FlagUp == 0 {
		return true
	}
	nets, err := device.Addrs()
	if err != nil || len(nets) != len(l.addrs) {
		return true
	}
	for i, n := range nets {
		if p, err := netip.ParsePrefix(n.String()); err != nil || p != l.addrs[i] {
			return true
		}
	}
	return false
}

// keepLink has serve run on a device's link whenever there is one, until ctx
// is done. serve returns when ctx is done, or the link is stale, for which it
// looks whenever changed has a value. Where the kernel tells of changes nothing
// else wakes us: a lender may run on its battery.
func keepLink(ctx context.Context, device string, log *slog.Logger, serve func(l *link, changed <-chan struct{})) {
	changed, stop := watch(log)
	defer stop()
	said := ""
	for ctx.Err() == nil {
		l, err := openLink(device)
		if err == nil {
			said = ""
			serve(l, changed)
			l.close()
			continue
		}
		if err.Error() != said {
			said = err.Error()
			log.Info("no DNS-SD", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// watch tells when the devices may have changed, until stop.
func watch(log *slog.Logger) (changed <-chan struct{}, stop func()) {
	c, quit := make(chan struct{}, 1), make(chan struct{})
	var events <-chan struct{}
	w, err := netwatch.Open()
	if err == nil {
		events = w.Changes()
	} else {
		log.Debug("looking at the devices from time to time", "every", reopen, "error", err)
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		var again <-chan time.Time
		for {
			if events == nil {
				again = time.After(reopen)
			}
			select {
			case <-quit:
				return
			case _, ok := <-events:
				if !ok {
					events = nil // for good
				}
			case <-again:
			}
			select {
			case c <- struct{}{}:
			default: // it is about to be seen
			}
		}
	})
	return c, func() {
		close(quit)
		watching.Wait()
		if w != nil {
			w.Close()
		}
	}
}
