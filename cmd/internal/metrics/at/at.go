// Package at reads where metrics are served, apart from what serves them:
// programs that only read our files need not link a client of Prometheus.
package at

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
)

// Want is what an address to serve metrics at looks like, for errors.
const Want = `a loopback address and port like "127.0.0.1:9586", or a Unix socket like "unix:/run/wg-bond/wg0.metrics"`

// Address is where metrics are served. The zero Address is nowhere.
type Address struct {
	Network string // "tcp" or "unix", as net.Listen takes it
	Place   string // a loopback address and port, or a socket's whole path
}

func (a Address) String() string {
	if a.Network == "unix" {
		return "unix:" + a.Place
	}
	return a.Place
}

// IsZero reports whether metrics are off.
func (a Address) IsZero() bool { return a == Address{} }

// Parse reads an address as Want describes it.
func Parse(text string) (Address, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if !filepath.IsAbs(path) {
			return Address{}, fmt.Errorf("found %q; want the socket's whole path, like unix:/run/wg-bond/wg0.metrics", text)
		}
		return Address{"unix", path}, nil
	}
	at, err := netip.ParseAddrPort(strings.Replace(text, "localhost:", "127.0.0.1:", 1))
	switch {
	case err != nil || at.Port() == 0:
		return Address{}, fmt.Errorf("found %q; want %s", text, Want)
	case !at.Addr().Unmap().IsLoopback():
		return Address{}, fmt.Errorf("found %q, which others could reach: there is no password; want %s", text, Want)
	}
	return Address{"tcp", at.String()}, nil
}
