package up

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// lookup finds the addresses of endpoints' names while the tunnel is up, and
// perhaps dead: it must not ask through it. It asks the name servers that there
// were before, for those of the tunnel's DNS key may answer through it alone,
// with the sockets' mark, which takes the question around a default route
// through the tunnel.
type lookup struct {
	servers []string // ADDRESS:PORT; empty: as the system does
	turn    atomic.Uint32
}

// newLookup takes note of the name servers of now.
func newLookup() *lookup {
	data, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return &lookup{}
	}
	return &lookup{servers: nameServers(string(data))}
}

// nameServers reads them from a resolv.conf(5).
func nameServers(text string) (servers []string) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) >= 2 && words[0] == "nameserver" {
			if a, err := netip.ParseAddr(words[1]); err == nil {
				servers = append(servers, netip.AddrPortFrom(a, 53).String())
			}
		}
	}
	return servers
}

// find is conn.Config.Lookup.
func (l *lookup) find(ctx context.Context, mark uint32, name string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(name)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%s: found the port %q; want a number up to 65535", name, service)
	}
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		if mark == 0 {
			return nil
		}
		var err error
		if cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark)) }); cerr != nil {
			return cerr
		}
		return err
	}}
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, server string) (net.Conn, error) {
		if n := len(l.servers); n > 0 {
			server = l.servers[int(l.turn.Add(1)-1)%n]
		}
		return dialer.DialContext(ctx, network, server)
	}}
	addrs, err := resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var found []netip.AddrPort
	for _, a := range addrs {
		found = append(found, netip.AddrPortFrom(a.Unmap(), uint16(port)))
	}
	return found, nil
}
