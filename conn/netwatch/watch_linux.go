package netwatch

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Watcher reads the State of one network namespace and tells when it changes.
// It belongs to the namespace that Open was called in, whatever thread calls
// its methods. Read is for one goroutine at a time.
type Watcher struct {
	handle  *netlink.Handle
	events  *nl.NetlinkSocket
	ioctl   int // a socket for ethtool
	changes chan struct{}
}

// Open makes a Watcher. Except on Linux it fails with errors.ErrUnsupported.
func Open() (w *Watcher, err error) {
	w = &Watcher{ioctl: -1, changes: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			w.Close()
			w, err = nil, fmt.Errorf("netwatch: %w", err)
		}
	}()
	if w.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return w, err
	}
	if w.ioctl, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return w, err
	}
	w.events, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return w, err
	}
	go w.listen(w.events)
	return w, nil
}

// Changes has a value whenever something may have changed since the last was
// taken. It is closed when no more will come: after Close, or because the
// kernel's events cannot be read any more.
func (w *Watcher) Changes() <-chan struct{} { return w.changes }

// Close ends the Watcher.
func (w *Watcher) Close() {
	if w.handle != nil {
		w.handle.Close()
	}
	if w.ioctl >= 0 {
		unix.Close(w.ioctl)
	}
	if w.events != nil {
		w.events.Close()
	}
}

func (w *Watcher) listen(events *nl.NetlinkSocket) {
	defer close(w.changes)
	for {
		_, _, err := events.Receive()
		// A socket that overflowed has lost events; that is an event too.
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			return
		}
		select {
		case w.changes <- struct{}{}:
		default:
		}
	}
}

// dumpTries is how often a dump that was interrupted by a change is asked for
// again.
const dumpTries = 5

// Read tells the present State.
func (w *Watcher) Read() (s State, err error) {
	links, err := dump(w.handle.LinkList)
	if err != nil {
		return s, fmt.Errorf("netwatch: listing the network devices: %w", err)
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return w.handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return s, fmt.Errorf("netwatch: listing the addresses: %w", err)
	}
	for _, l := range links {
		link := linkOf(l)
		for _, a := range addrs {
			if a.LinkIndex == link.Index && a.IPNet != nil && a.Flags&unix.IFA_F_TENTATIVE == 0 {
				link.Addrs = append(link.Addrs, prefixOf(a.IPNet))
			}
		}
		if info, err := unix.IoctlGetEthtoolDrvinfo(w.ioctl, link.Name); err == nil {
			link.Driver = unix.ByteSliceToString(info.Driver[:])
		}
		link.USB = usbPort("/sys/class/net", link.Name)
		s.Links = append(s.Links, link)
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := dump(func() ([]netlink.Route, error) {
			return w.handle.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return s, fmt.Errorf("netwatch: listing the routes: %w", err)
		}
		for _, r := range routes {
			s.Routes = append(s.Routes, routesOf(r)...)
		}
	}
	return s, nil
}

// dump repeats a dump that did not come out consistent.
func dump[T any](list func() ([]T, error)) (out []T, err error) {
	for range dumpTries {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return out, nil // the last one; the next look will be better
}

// usbShape is a port's name, hubs included: BUS-PORT.PORT…
var usbShape = regexp.MustCompile(`^[0-9]+-[0-9]+(\.[0-9]+)*$`)

// usbPort finds the port that a device hangs from: among the parents of its
// hardware in sysfs, which net is the place of, the one nearest to it that is
// named like a port.
func usbPort(net, device string) string {
	real, err := filepath.EvalSymlinks(filepath.Join(net, device, "device"))
	for err == nil && len(real) > 1 {
		if base := filepath.Base(real); usbShape.MatchString(base) && strings.Contains(real, "/usb") {
			return base
		}
		real = filepath.Dir(real)
	}
	return ""
}

func prefixOf(n *net.IPNet) netip.Prefix {
	ip, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), ones)
}

func linkOf(l netlink.Link) Link {
	a := l.Attrs()
	kind := l.Type()
	if kind == "device" {
		kind = ""
	}
	carrier := a.OperState == netlink.OperUp || a.OperState == netlink.OperUnknown
	return Link{
		Index: a.Index,
		Name:  a.Name,
		Kind:  kind,
		Up:    a.Flags&net.FlagUp != 0 && carrier,
		Loop:  a.Flags&net.FlagLoopback != 0,
	}
}

func routesOf(r netlink.Route) []Route {
	route := Route{Link: r.LinkIndex, Table: r.Table, Metric: r.Priority}
	if r.Dst != nil {
		route.Dst = prefixOf(r.Dst)
	}
	const broken = unix.RTNH_F_DEAD | unix.RTNH_F_LINKDOWN
	route.Unusable = r.Type != unix.RTN_UNICAST || r.Flags&broken != 0
	if len(r.MultiPath) == 0 {
		return []Route{route}
	}
	var ways []Route
	for _, hop := range r.MultiPath {
		way := route
		way.Link = hop.LinkIndex
		way.Unusable = route.Unusable || hop.Flags&broken != 0
		ways = append(ways, way)
	}
	return ways
}
