package relayd

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/relayd/access"
	"github.com/wg-bond/wg-bond/relayd/ledger"
	"github.com/wg-bond/wg-bond/relayd/when"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// Config says what is lent to whom.
type Config struct {
	// Listen has the addresses where borrowers reach us.
	Listen []netip.AddrPort
	// Device is the network device to lend: leases' sockets are bound to it.
	// Empty: whatever the routing rules say.
	Device string
	// PrivateKey is the relay's own; borrowers know its public key.
	PrivateKey control.Key
	// Allow has the WireGuard public keys of those who may borrow.
	Allow []control.Key
	// Invitations is the file of invitations (package access), made when
	// needed; empty: nobody is invited.
	Invitations string
	// Open is what whoever is near may borrow.
	Open access.Open
	// Ledger says how much is lent, and When says when; Sys is where it is read
	// what feeds this machine.
	Ledger ledger.Config
	When   when.Rules
	Sys    when.Sys
	// Audit gets a line for all that the lender may want to know later: who
	// borrowed what from when to when. Nil: none.
	Audit *slog.Logger
	// Tunnel reports whether a device is a WireGuard tunnel of this machine.
	// By those nothing is lent: what was borrowed is not lent on, and a relay
	// that reaches its targets through its own borrowers would go in circles.
	// Nil: none is.
	Tunnel func(device string) bool

	// AllowPrivateTargets allows targets in private address ranges, which may
	// be the lender's own network: for laboratories and tests.
	AllowPrivateTargets bool
	// AllowLoopbackTargets allows targets on this machine: for tests in one
	// process. No configuration file sets it.
	AllowLoopbackTargets bool

	MaxLeases   int           // at once; 0: DefaultMaxLeases
	MaxPerPeer  int           // leases of one borrower; 0: DefaultMaxPerPeer
	MaxLifetime time.Duration // of a lease without renewal; 0: DefaultMaxLifetime
	IdleTimeout time.Duration // a lease that carries nothing for so long ends; 0: DefaultIdleTimeout

	// Counters reads the lent device's counters. Nil: the system's.
	Counters DeviceCounters

	// Log gets the life of leases. Nil: nothing is logged.
	Log *slog.Logger
}

// What a Config's zeros mean.
const (
	DefaultMaxLeases   = 32
	DefaultMaxPerPeer  = 4
	DefaultMaxLifetime = 10 * time.Minute
	DefaultIdleTimeout = 10 * time.Minute
)

// complete checks the configuration and replaces zeros.
func (c *Config) complete() error {
	if len(c.Listen) == 0 {
		return errors.New("relayd: no address to listen at")
	}
	for _, a := range c.Listen {
		if !a.IsValid() {
			return errors.New("relayd: an address to listen at is empty")
		}
	}
	if c.PrivateKey.IsZero() {
		return errors.New("relayd: the private key is missing")
	}
	if len(c.Allow) == 0 && c.Invitations == "" && c.Open.Leases == 0 {
		return errors.New("relayd: nobody is allowed to borrow: it would serve no one")
	}
	for _, k := range c.Allow {
		if k.IsZero() {
			return errors.New("relayd: a public key among those allowed is empty")
		}
		if k == c.PrivateKey.Public() {
			return errors.New("relayd: our own public key is among those allowed: a lender does not borrow from itself")
		}
	}
	for _, l := range []struct {
		name  string
		value *int
		usual int
	}{{"MaxLeases", &c.MaxLeases, DefaultMaxLeases}, {"MaxPerPeer", &c.MaxPerPeer, DefaultMaxPerPeer}} {
		if *l.value < 0 {
			return fmt.Errorf("relayd: %s is %d, it must be positive", l.name, *l.value)
		}
		if *l.value == 0 {
			*l.value = l.usual
		}
	}
	for _, l := range []struct {
		name  string
		value *time.Duration
		usual time.Duration
	}{{"MaxLifetime", &c.MaxLifetime, DefaultMaxLifetime}, {"IdleTimeout", &c.IdleTimeout, DefaultIdleTimeout}} {
		if *l.value < 0 {
			return fmt.Errorf("relayd: %s is %v, it must be positive", l.name, *l.value)
		}
		if *l.value == 0 {
			*l.value = l.usual
		}
	}
	if c.Tunnel == nil {
		c.Tunnel = func(string) bool { return false }
	}
	if c.Counters == nil {
		c.Counters = linkCounters
	}
	for _, l := range []**slog.Logger{&c.Log, &c.Audit} {
		if *l == nil {
			*l = slog.New(slog.DiscardHandler)
		}
	}
	return nil
}

// ParseListen reads an address to listen at: "ADDRESS:PORT", or ":PORT" for all
// addresses of both IP families.
func ParseListen(text string) ([]netip.AddrPort, error) {
	if port, ok := strings.CutPrefix(text, ":"); ok {
		v4, err := netip.ParseAddrPort("0.0.0.0:" + port)
		if err != nil {
			return nil, fmt.Errorf("%q: the port is a number from 0 to 65535", text)
		}
		return []netip.AddrPort{v4, netip.AddrPortFrom(netip.IPv6Unspecified(), v4.Port())}, nil
	}
	a, err := netip.ParseAddrPort(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not like \":51900\", \"192.0.2.1:51900\" or \"[2001:db8::1]:51900\"", text)
	}
	return []netip.AddrPort{a}, nil
}
