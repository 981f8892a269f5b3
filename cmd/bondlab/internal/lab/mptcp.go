//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
)

// MPTCP is what a program is run by to use multipath TCP. ErrNoMPTCP: this
// machine lacks something for it.
var (
	MPTCP      = []string{"mptcpize", "run"}
	ErrNoMPTCP = errors.New("no multipath TCP")
)

// CanMPTCP says what is missing for multipath TCP; nil: nothing.
func CanMPTCP() error {
	if on, err := os.ReadFile("/proc/sys/net/mptcp/enabled"); err != nil || strings.TrimSpace(string(on)) != "1" {
		return fmt.Errorf("%w: this kernel has none (net.mptcp.enabled)", ErrNoMPTCP)
	}
	for program, pkg := range map[string]string{"mptcpize": "mptcpize", "ip": "iproute2"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: %s is not installed: apt-get install %s", ErrNoMPTCP, program, pkg)
		}
	}
	return nil
}

// StartMPTCP lets the borrower reach the web host without a tunnel, over the
// first link and, with multipath TCP, over all: each link has an address and a
// routing table of the borrower's; a neighbour is a plain gateway. Stop undoes it.
func (l *Lab) StartMPTCP() (*Client, error) {
	c := &Client{lab: l, host: Borrower}
	if err := CanMPTCP(); err != nil {
		return c, err
	}
	if l.net.anywhere.Addr().Is6() {
		return c, fmt.Errorf("%w: the web host has IPv4 addresses only, the scenario's links IPv6", ErrNoMPTCP)
	}
	do := func(host string, args ...string) error {
		_, err := l.hosts[host].Output("ip", args...)
		return err
	}
	// change does what undo undoes, if it could be done.
	change := func(host, undo, args string) error {
		err := do(host, strings.Fields(args)...)
		if err == nil {
			c.undo = append(c.undo, func() error { return do(host, strings.Fields(undo)...) })
		}
		return err
	}
	if err := c.route(internet, sandbox.Route{To: lanNet, Via: l.net.server.Addr(), Dev: "eth0"}); err != nil {
		return c, err
	}
	for _, host := range []string{Borrower, Web} {
		if err := do(host, "mptcp", "limits", "set", "subflow", "8", "add_addr_accepted", "8"); err != nil {
			return c, err
		}
	}
	for k, link := range l.Links {
		src, via, dev := link.Mobile.Addr(), link.Gate.Addr(), link.Device
		if link.Via != "" {
			src, via, dev = l.net.air(100+k).Addr(), l.AirAddr(link.Via), "wlan0"
			at := netip.PrefixFrom(src, 24)
			if err := change(Borrower, fmt.Sprintf("addr del %s dev %s", at, dev), fmt.Sprintf("addr add %s dev %s", at, dev)); err != nil {
				return c, err
			}
			if err := c.route(internet, sandbox.Route{To: single(src), Via: link.Mobile.Addr(), Dev: l.wan(link)}); err != nil {
				return c, err
			}
		}
		table := 100 + k
		for _, x := range []struct{ undo, args string }{
			{fmt.Sprintf("route flush table %d", table), fmt.Sprintf("route replace default via %s dev %s table %d", via, dev, table)},
			{fmt.Sprintf("rule del from %s table %d", src, table), fmt.Sprintf("rule add from %s table %d", src, table)},
			{fmt.Sprintf("mptcp endpoint delete id %d", k+1), fmt.Sprintf("mptcp endpoint add %s dev %s id %d subflow", src, dev, k+1)},
		} {
			if err := change(Borrower, x.undo, x.args); err != nil {
				return c, err
			}
		}
		if k == 0 {
			if err := c.route(Borrower, sandbox.Route{To: lanNet, Via: via, Dev: dev}); err != nil {
				return c, err
			}
		}
	}
	return c, nil
}
