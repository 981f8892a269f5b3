package up

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wg-bond/wg-bond/conn/nat64"
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

// around has a socket leave by a device, with a mark; empty and 0: as the routes
// say.
func around(mark uint32, device string) func(_, _ string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) {
			if mark != 0 {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark))
			}
			if device != "" && err == nil {
				err = unix.BindToDevice(int(fd), device)
			}
		})
		return errors.Join(cerr, err)
	}
}

// Where the name servers of all links are, whatever /etc/resolv.conf says:
// systemd-resolved's and NetworkManager's.
var uplinks = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"}

// mostServers bounds how many name servers are asked for a prefix, each for at
// most askServer.
const (
	mostServers = 8
	askServer   = 2 * time.Second
)

// nat64 is conn.Config.NAT64. The device's network may have come after us, so
// the servers of now are asked as well; only IPv6 leads anywhere there.
func (l *lookup) nat64(ctx context.Context, mark uint32, device string) (netip.Prefix, error) {
	servers := slices.Clone(l.servers)
	for _, file := range uplinks {
		data, _ := os.ReadFile(file)
		servers = append(servers, nameServers(string(data))...)
	}
	var asked []string
	dialer := net.Dialer{Control: around(mark, device)}
	for _, server := range servers {
		at := netip.MustParseAddrPort(server).Addr()
		if at.Is4() || at.IsLoopback() || at.Zone() != "" && at.Zone() != device || slices.Contains(asked, server) || len(asked) == mostServers {
			continue
		}
		asked = append(asked, server)
		resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, server)
		}}
		one, cancel := context.WithTimeout(ctx, askServer)
		answers, _ := resolver.LookupNetIP(one, "ip6", nat64.WellKnown)
		cancel()
		if prefix, ok := nat64.Prefix(answers); ok {
			return prefix, nil
		}
	}
	if len(asked) == 0 {
		return netip.Prefix{}, errors.New("there is no name server with an IPv6 address to ask for the network's NAT64 prefix; want its DNS64 in /etc/resolv.conf")
	}
	return netip.Prefix{}, fmt.Errorf("none of the name servers %v knows %s by an IPv6 address", asked, nat64.WellKnown)
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
	dialer := net.Dialer{Control: around(mark, "")}
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
