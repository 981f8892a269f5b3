// Package discover lets lenders be found on the local link, by DNS-SD over
// multicast DNS (RFC 6762, 6763), service _wg-bond-relay._udp:
//
//	lender, on the links it chose            borrower, on a path's device
//	  Announcer ── PTR SRV TXT A AAAA ──►  224.0.0.251, ff02::fb  ──► Browser
//	      ▲                                                     │       │
//	      └────────────────────── PTR? ◄────────────────────────┘       ▼
//	                                                             []Lender, as they
//	                                                             come, change and go
//
// The TXT record has the lender's public key and its terms:
//
//	v=1
//	key=BASE64          what relayd pubkey prints
//	who=open            open to all nearby; else "invited": by invitation or list
//	rate=BYTES          per second, of whole IP packets; absent: no limit
//	left=BYTES          of this month's volume, or of what is open to all; absent: no limit
//
// Nothing of this is to be trusted: whoever is on the link can say it. A
// borrower believes the key only as far as the handshake bears it out, and the
// terms not at all: those that count come with the lease.
//
// What is announced goes out on the chosen devices and no other, and queries
// that come in by another are not answered. That is why the records are
// hashicorp/mdns's and the sockets are not: its server hears every link that
// any program of the machine has joined, and answers there.
package discover

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/mdns"
	"github.com/miekg/dns"

	"github.com/wg-bond/wg-bond/wgbond/control"
)

const (
	serviceType = "_wg-bond-relay._udp"
	serviceName = serviceType + ".local."
	maxName     = 32
)

// Terms are what a lender says it lends.
type Terms struct {
	Open bool   // to whoever is near; else by invitation, or to those it lists
	Rate uint64 // bytes per second of whole IP packets; 0: no limit
	Left uint64 // bytes, of the month's volume or of what is open to all; 0 with Limited: nothing
	// Limited tells that Left counts.
	Limited bool
}

// Service is what a lender announces.
type Service struct {
	Name  string      // for people; letters, digits, - and _ remain of it
	Key   control.Key // public
	Port  uint16
	Terms Terms
}

// Lender is a Service that was found.
type Lender struct {
	Service
	Device string         // where
	At     netip.AddrPort // on that link; with a zone if it is link-local
}

// records answers a question about the service at the given addresses; ttl
// replaces the usual one if it is not negative.
func (s *Service) records(q dns.Question, addrs []netip.Addr, ttl int) ([]dns.RR, error) {
	if len(addrs) == 0 {
		return nil, errors.New("discover: no address to announce")
	}
	var ips []net.IP
	for _, a := range addrs {
		ips = append(ips, a.AsSlice())
	}
	txt := []string{"v=1", "key=" + s.Key.String(), "who=invited"}
	if s.Terms.Open {
		txt[2] = "who=open"
	}
	if s.Terms.Rate > 0 {
		txt = append(txt, "rate="+strconv.FormatUint(s.Terms.Rate, 10))
	}
	if s.Terms.Limited {
		txt = append(txt, "left="+strconv.FormatUint(s.Terms.Left, 10))
	}
	// The key's beginning makes the name one of its own.
	name := cleanName(s.Name) + "-" + fmt.Sprintf("%x", s.Key[:3])
	zone, err := mdns.NewMDNSService(name, serviceType, "local.", name+".wg-bond.local.", int(s.Port), ips, txt)
	if err != nil {
		return nil, fmt.Errorf("discover: %w", err)
	}
	rrs := zone.Records(q)
	for _, rr := range rrs {
		if ttl >= 0 {
			rr.Header().Ttl = uint32(ttl)
		}
	}
	return rrs, nil
}

// browseQuestion is what a Browser asks.
var browseQuestion = dns.Question{Name: serviceName, Qtype: dns.TypePTR, Qclass: dns.ClassINET}

// cleanName leaves what needs no quoting anywhere.
func cleanName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		case r == ' ' || r == '.':
			return '-'
		}
		return -1
	}, s)
	s = s[:min(len(s), maxName)]
	if s == "" {
		return "lender"
	}
	return s
}

// parse reads the lenders of one message that came by a device. A lifetime of
// zero says that it is leaving. Whoever does not say all in one message, as
// Announcer does, is passed over.
func parse(m *dns.Msg, device string) map[Lender]time.Duration {
	found := map[Lender]time.Duration{}
	var srvs []*dns.SRV
	txts, addrs := map[string]*dns.TXT{}, map[string][]netip.Addr{}
	for _, rr := range append(m.Answer[:len(m.Answer):len(m.Answer)], m.Extra...) {
		name := strings.ToLower(rr.Header().Name)
		switch rr := rr.(type) {
		case *dns.SRV:
			if strings.HasSuffix(name, "."+serviceName) {
				srvs = append(srvs, rr)
			}
		case *dns.TXT:
			txts[name] = rr
		case *dns.A:
			addrs[name] = append(addrs[name], usable(rr.A, device)...)
		case *dns.AAAA:
			addrs[name] = append(addrs[name], usable(rr.AAAA, device)...)
		}
	}
	for _, srv := range srvs {
		txt, at := txts[strings.ToLower(srv.Hdr.Name)], addrs[strings.ToLower(srv.Target)]
		if txt == nil || len(at) == 0 || srv.Port == 0 {
			continue
		}
		label, _, _ := strings.Cut(srv.Hdr.Name, ".")
		l := Lender{Service: Service{Name: cleanName(label), Port: srv.Port}, Device: device, At: netip.AddrPortFrom(best(at), srv.Port)}
		if readText(txt.Txt, &l.Service) {
			found[l] = time.Duration(srv.Hdr.Ttl) * time.Second
		}
	}
	return found
}

// usable is an address that a lender on a device may have.
func usable(ip net.IP, device string) []netip.Addr {
	a, ok := netip.AddrFromSlice(ip)
	a = a.Unmap()
	if !ok || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() {
		return nil
	}
	if a.Is6() && a.IsLinkLocalUnicast() {
		a = a.WithZone(device)
	}
	return []netip.Addr{a}
}

// best prefers IPv4, whose headers are shorter, then what needs no zone.
func best(as []netip.Addr) netip.Addr {
	rank := func(a netip.Addr) int {
		switch {
		case a.Is4() && !a.IsLinkLocalUnicast():
			return 0
		case a.Zone() == "" && a.Is6():
			return 1
		case a.Is6():
			return 2
		}
		return 3
	}
	b := as[0]
	for _, a := range as[1:] {
		if rank(a) < rank(b) {
			b = a
		}
	}
	return b
}

// readText reads a TXT record; false if it is not one of ours.
func readText(txt []string, s *Service) bool {
	ok := false
	for _, t := range txt {
		key, value, _ := strings.Cut(t, "=")
		var err error
		switch key {
		case "key":
			var b []byte
			if b, err = base64.StdEncoding.DecodeString(value); err == nil && len(b) == len(s.Key) {
				s.Key = control.Key(b)
				ok = !s.Key.IsZero()
			}
		case "who":
			s.Terms.Open = value == "open"
		case "rate":
			s.Terms.Rate, err = strconv.ParseUint(value, 10, 64)
		case "left":
			s.Terms.Left, err = strconv.ParseUint(value, 10, 64)
			s.Terms.Limited = true
		}
		if err != nil {
			return false
		}
	}
	return ok
}
