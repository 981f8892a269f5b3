package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wg-bond/wg-bond/cmd/internal/ctl"
	"github.com/wg-bond/wg-bond/cmd/internal/uapi"
	"github.com/wg-bond/wg-bond/relayd"
	"github.com/wg-bond/wg-bond/relayd/discover"
	"github.com/wg-bond/wg-bond/relayd/lease"
)

// daemon is what a relayd at work does beside forwarding.
type daemon struct {
	cfg   *config
	relay *relayd.Relay
}

// operations are those of the control socket.
func (d *daemon) operations() map[string]ctl.Handler {
	return map[string]ctl.Handler{"invite": d.invite, "invitations": d.invitations, "uninvite": d.uninvite,
		"status": d.status, "pause": d.pause}
}

// announce tells those nearby of us until ctx is done.
func (d *daemon) announce(ctx context.Context, log *slog.Logger) {
	if len(d.cfg.Announce) == 0 {
		return
	}
	name := d.cfg.Name
	if name == "" {
		name, _ = os.Hostname() // without one it is "lender"
	}
	a := discover.Announcer{Devices: d.cfg.Announce, Log: log, Service: func() (discover.Service, bool) {
		s := discover.Service{Name: name, Key: d.cfg.PrivateKey.Public(), Port: d.relay.Addrs()[0].Port()}
		terms, open := d.relay.Offer()
		s.Terms = discover.Terms{Open: open, Rate: terms.Rate}
		if terms.Left != lease.Unlimited {
			s.Terms.Left, s.Terms.Limited = terms.Left, true
		}
		return s, true
	}}
	a.Run(ctx)
}

// isTunnel reports whether a device is a WireGuard tunnel.
func isTunnel(device string) bool {
	names, _ := uapi.Names(uapi.SocketDir) // unreadable: there are none
	if slices.Contains(names, device) {
		return true
	}
	about, _ := os.ReadFile(filepath.Join("/sys/class/net", filepath.Base(device), "uevent")) // as above
	return strings.Contains(string(about), "DEVTYPE=wireguard")
}
