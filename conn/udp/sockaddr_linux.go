package udp

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddr has room for either family's address; its first field says which.
type sockaddr = unix.RawSockaddrInet6

// putSockaddr writes an address and returns how many bytes of sa it takes.
// scope is the device's index for a link-local address.
func putSockaddr(sa *sockaddr, to netip.AddrPort, scope uint32) uint32 {
	if to.Addr().Is4() {
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		*sa4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
		binary.BigEndian.PutUint16(portBytes(&sa4.Port), to.Port())
		return unix.SizeofSockaddrInet4
	}
	*sa = sockaddr{Family: unix.AF_INET6, Addr: to.Addr().As16(), Scope_id: scope}
	binary.BigEndian.PutUint16(portBytes(&sa.Port), to.Port())
	return unix.SizeofSockaddrInet6
}

// fromSockaddr reads an address; false if it is neither family's.
func fromSockaddr(sa *sockaddr, zones *zoneNames) (netip.AddrPort, bool) {
	switch sa.Family {
	case unix.AF_INET:
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), binary.BigEndian.Uint16(portBytes(&sa4.Port))), true
	case unix.AF_INET6:
		a := zones.with(netip.AddrFrom16(sa.Addr), sa.Scope_id)
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(portBytes(&sa.Port))), true
	}
	return netip.AddrPort{}, false
}

// portBytes is a port as it lies in memory, which is big-endian everywhere.
func portBytes(p *uint16) []byte { return (*[2]byte)(unsafe.Pointer(p))[:] }

// zone is a device as link-local IPv6 addresses name it and its index.
type zone struct {
	name  string
	index uint32
}

// Names and indices are looked up through the socket itself, because the
// calling thread may be in another network namespace than the socket.

// scopeOf looks up the index of an address's zone, 0 for an address without.
// The last answer is remembered: a path's socket writes to one zone.
func (s *Socket) scopeOf(a netip.Addr) (uint32, error) {
	name := a.Zone()
	if name == "" {
		return 0, nil
	}
	if z := s.scope.Load(); z != nil && z.name == name {
		return z.index, nil
	}
	index, err := s.deviceIndex(name)
	if err != nil {
		number, notNumber := strconv.ParseUint(name, 10, 31)
		if notNumber != nil {
			return 0, err
		}
		index = uint32(number)
	}
	s.scope.Store(&zone{name, index})
	return index, nil
}

// forgetScope makes the next scopeOf look afresh: a device that went and came
// back has another index.
func (s *Socket) forgetScope() { s.scope.Store(nil) }

// deviceIndex fails with ENODEV if there is no device of that name.
func (s *Socket) deviceIndex(name string) (index uint32, err error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, unix.ENODEV // no device has such a long name
	}
	cerr := s.raw.Control(func(fd uintptr) { err = unix.IoctlIfreq(int(fd), unix.SIOCGIFINDEX, ifr) })
	if cerr != nil {
		return 0, cerr
	}
	return ifr.Uint32(), err
}

// deviceName is the name of the device with an index, or the index in digits
// if there is none.
func (s *Socket) deviceName(index uint32) string {
	name := strconv.FormatUint(uint64(index), 10)
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return name
	}
	ifr.SetUint32(index)
	// A closed socket can no longer ask, but still hands out what it received.
	_ = s.raw.Control(func(fd uintptr) {
		if unix.IoctlIfreq(int(fd), unix.SIOCGIFNAME, ifr) == nil {
			name = ifr.Name()
		}
	})
	return name
}

// zoneNames remembers the names of the devices that link-local IPv6 datagrams
// came by. A device that is renamed keeps its first name here. It is not safe
// for concurrent use.
type zoneNames struct {
	lookUp func(index uint32) string
	names  map[uint32]string
}

// with adds to a link-local address its zone, the name of the device with an
// index.
func (z *zoneNames) with(a netip.Addr, index uint32) netip.Addr {
	if index == 0 || !a.Is6() || !a.IsLinkLocalUnicast() {
		return a
	}
	name, ok := z.names[index]
	if !ok {
		name = z.lookUp(index)
		z.names[index] = name
	}
	return a.WithZone(name)
}
