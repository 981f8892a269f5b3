//go:build linux

package lab

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/relayd"
)

// Client is a borrower's end of a tunnel.
type Client struct {
	lab     *Lab
	host    string
	program *sandbox.Program
	bonds   bool
	undo    []func() error
}

// StartBond starts `wg-bond up` on the borrower over these links and waits
// until the web host answers through the tunnel.
func (l *Lab) StartBond(links []*Link) (*Client, error) {
	c, err := l.startBond(l.parties()[0], links)
	if err != nil || l.Options.StockServer {
		return c, err
	}
	return c, c.schedule()
}

// StartNeighbour is StartBond on the neighbour that borrows, too, over all links.
func (l *Lab) StartNeighbour() (*Client, error) { return l.startBond(l.parties()[1], l.Links) }

func (l *Lab) startBond(p party, links []*Link) (*Client, error) {
	conf, err := l.writeFile(p.host, "wg0.conf", fmt.Sprintf(
		"[Interface]\nPrivateKey = %s\nAddress = %s\nMTU = %d\n\n[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = %s, %s\nEndpoint = %s\n",
		p.key, p.tunnel, wireGuardMTU, l.keys.server.PublicKey(), l.keys.preshared, tunnelNet, lanNet,
		l.Endpoint()))
	if err != nil {
		return nil, err
	}
	var side strings.Builder
	for _, link := range links {
		fmt.Fprintf(&side, "[[path]]\nname = %q\n", link.Name)
		if link.Host == p.host {
			fmt.Fprintf(&side, "device = %q\n", link.Device)
		} else {
			if l.relays[link.Host] == nil { // a stock server needs none before
				if err := l.StartRelay(link.Host); err != nil {
					return nil, err
				}
			}
			fmt.Fprintf(&side, "device = \"wlan0\"\nrelay = %q\nrelay-key = %q\n",
				netip.AddrPortFrom(l.AirAddr(link.Host), relayPort), l.keys.relays[link.Host].PublicKey())
		}
	}
	if _, err := l.writeFile(p.host, "wg0.bond.toml", side.String()); err != nil {
		return nil, err
	}
	program, err := l.Start(p.host, "wg-bond", l.traced("client", "up", conf, "-f")...)
	if err != nil {
		return nil, err
	}
	c := &Client{lab: l, host: p.host, program: program, bonds: !l.Options.StockServer}
	if err := c.ready(); err != nil || l.Options.StockServer {
		return c, err
	}
	return c, c.bonded(len(links))
}

// bonded waits until the session has keys and all paths carry.
func (c *Client) bonded(paths int) error {
	var last string
	err := c.program.Until(fmt.Sprintf("bonded over %d paths", paths), patience, func() bool {
		s, err := c.lab.Status(c.host)
		if err != nil {
			last = err.Error()
			return false
		}
		for _, peer := range s.Peers {
			if b := peer.Bond; b != nil && b.Bonded {
				active := 0
				last = "paths:"
				for _, p := range b.Paths {
					last += fmt.Sprintf(" %s %s (%s)", p.Name, p.State, p.Reason)
					if p.State == "active" {
						active++
					}
				}
				return active == paths
			} else if b != nil {
				last = "plain: " + b.PlainReason
			}
		}
		return false
	})
	if err != nil {
		return fmt.Errorf("%w\nits status: %s", err, last)
	}
	return nil
}

// Status asks the wg-bond of a host for its state.
func (l *Lab) Status(host string) (s status.Interface, err error) {
	path, err := l.program("wg-bond")
	if err != nil {
		return s, err
	}
	out, err := l.hosts[host].Output(path, "status", "wg0", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	if err != nil {
		return s, fmt.Errorf("wg-bond status of host %s: %w", host, err)
	}
	return s, nil
}

// Lent asks the relayd of a lender what it has lent so far.
func (l *Lab) Lent(host string) (r relayd.Report, err error) {
	path, err := l.program("relayd")
	if err != nil {
		return r, err
	}
	out, err := l.hosts[host].Output(path, "status", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &r)
	}
	if err != nil {
		return r, fmt.Errorf("relayd status of host %s: %w", host, err)
	}
	return r, nil
}

// LogStatus writes the wg-bonds' state to the log, if there is one.
func (l *Lab) LogStatus() {
	if l.Options.Log == nil {
		return
	}
	hosts := []string{Server}
	for _, p := range l.parties() {
		hosts = append(hosts, p.host)
	}
	for _, host := range hosts {
		path, err := l.program("wg-bond")
		var out string
		if err == nil {
			out, err = l.hosts[host].Output(path, "status", "wg0")
		}
		fmt.Fprintf(l.Options.Log, "%s: wg-bond status (error: %v)\n%s\n", host, err, out)
	}
}

// StartStock starts a stock wireguard-go on the borrower, routed over one
// link; a neighbour's is reached through the neighbour as a plain gateway.
func (l *Lab) StartStock(link *Link) (*Client, error) {
	c := &Client{lab: l, host: Borrower}
	server := single(l.ServerAddr())
	to := sandbox.Route{To: server, Via: link.Gate.Addr(), Dev: link.Device}
	if link.Via != "" {
		to.Via, to.Dev = l.AirAddr(link.Via), "wlan0"
		// The way back to an address that the internet otherwise does not know.
		back := sandbox.Route{To: single(l.AirAddr(Borrower)), Via: link.Mobile.Addr(), Dev: l.wan(link)}
		if err := c.route(internet, back); err != nil {
			return c, err
		}
	}
	if err := c.route(Borrower, to); err != nil {
		return c, err
	}
	conf := fmt.Sprintf("[Interface]\nPrivateKey = %s\n\n[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = %s, %s\nEndpoint = %s\n",
		l.keys.client, l.keys.server.PublicKey(), l.keys.preshared, tunnelNet, lanNet, l.Endpoint())
	if err := l.stockWireGuard(Borrower, conf, tunnelClient, lanNet); err != nil {
		return c, err
	}
	c.program = l.programs[len(l.programs)-1]
	return c, c.ready()
}

// CPU is the processor time used so far by the client and, if it bonds, by the
// server's shim: what carries packets over the links, but for lenders.
func (c *Client) CPU() time.Duration {
	var sum time.Duration
	if c.program != nil {
		sum = c.program.CPU()
	}
	if c.bonds && c.lab.serve != nil {
		sum += c.lab.serve.CPU()
	}
	return sum
}

func (c *Client) route(host string, r sandbox.Route) error {
	h := c.lab.hosts[host]
	if err := h.Route(r); err != nil {
		return err
	}
	c.undo = append(c.undo, func() error { return h.RemoveRoute(r) })
	return nil
}

// ready waits until the web host answers through the tunnel.
func (c *Client) ready() error {
	return c.program.Until("connected to the web host", patience, func() bool {
		_, err := measure.Echo(c.lab.hosts[c.host], WebAddr, 500*time.Millisecond)
		return err == nil
	})
}

// Stop ends the client and undoes its routes.
func (c *Client) Stop() error {
	if c.program != nil {
		c.program.Stop(5 * time.Second)
	}
	for _, undo := range slices.Backward(c.undo) {
		if err := undo(); err != nil {
			return err
		}
	}
	return nil
}

// AirAddr is where neighbours reach a host.
func (l *Lab) AirAddr(host string) netip.Addr {
	if host == Borrower {
		return l.net.air(1).Addr()
	}
	return l.net.air(2 + slices.Index(l.Scenario.Neighbours(), host)).Addr()
}

// single is the prefix that holds an address alone.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// wan is the internet's device of a link.
func (l *Lab) wan(link *Link) string { return fmt.Sprintf("wan%d", 1+slices.Index(l.Links, link)) }
