package netwatch

import (
	"net/netip"
	"path"
	"slices"
	"strings"
)

// Match says which devices are meant, by what they are rather than by one
// name: a modem's name depends on the order in which things are plugged in.
// Fields that are set must all fit; the zero Match fits none.
type Match struct {
	Device  string       // a pattern of path.Match, like "wwan*"
	Driver  string       // likewise, of the driver's name
	USB     string       // the port: "1-2" is also what hangs from a hub there, "1-2.4"
	Network netip.Prefix // that one of its addresses is in
}

// IsZero reports whether m says nothing.
func (m Match) IsZero() bool { return m == Match{} }

// Fits reports whether l is meant.
func (m Match) Fits(l *Link) bool {
	fits := func(pattern, name string) bool {
		ok, err := path.Match(pattern, name)
		return pattern == "" || ok && err == nil
	}
	return !m.IsZero() && fits(m.Device, l.Name) && fits(m.Driver, l.Driver) &&
		(m.USB == "" || m.USB == l.USB || strings.HasPrefix(l.USB, m.USB+".")) &&
		(!m.Network.IsValid() || slices.ContainsFunc(l.Addrs, func(a netip.Prefix) bool { return m.Network.Contains(a.Addr()) }))
}

// Matching names the devices that m means and that can be used: up, with an
// address, no loopback, not WireGuard's, not in exclude. They come by name.
func (s State) Matching(m Match, exclude []string) []string {
	var names []string
	for _, l := range s.Links {
		if m.Fits(&l) && l.usable(exclude) && len(l.Addrs) > 0 {
			names = append(names, l.Name)
		}
	}
	slices.Sort(names)
	return names
}

// String describes m as a side file does.
func (m Match) String() string {
	var words []string
	for _, f := range []struct{ key, value string }{{"device", m.Device}, {"driver", m.Driver}, {"usb", m.USB}} {
		if f.value != "" {
			words = append(words, f.key+" "+f.value)
		}
	}
	if m.Network.IsValid() {
		words = append(words, "network "+m.Network.String())
	}
	return strings.Join(words, ", ")
}
