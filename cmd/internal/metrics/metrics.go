// Package metrics tells Prometheus what `wg-bond status` tells people.
//
//	Prometheus ── GET /metrics ──→ Server ──→ collectors ──→ one look at the state
//
// Nothing is counted here: each scrape asks anew. There is no password, so a
// Server listens on a Unix socket or on loopback only.
package metrics

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Want is what an address to serve metrics at looks like, for errors.
const Want = `a loopback address and port like "127.0.0.1:9586", or a Unix socket like "unix:/run/wg-bond/wg0.metrics"`

// Address is where metrics are served. The zero Address is nowhere.
type Address struct{ network, address string }

func (a Address) String() string {
	if a.network == "unix" {
		return "unix:" + a.address
	}
	return a.address
}

// IsZero reports whether metrics are off.
func (a Address) IsZero() bool { return a == Address{} }

// ParseAddress reads an address as Want describes it.
func ParseAddress(text string) (Address, error) {
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

// Server serves metrics until Close. A nil Server serves none.
type Server struct {
	http *http.Server
	done chan struct{}
}

// Serve serves what the collectors know, and the process's own use of memory
// and CPU, at a. It returns nil if a is nowhere.
func Serve(a Address, all ...prometheus.Collector) (*Server, error) {
	if a.IsZero() {
		return nil, nil
	}
	registry := prometheus.NewRegistry()
	for _, c := range append(all, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})) {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	l, err := listen(a)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("metrics: another program serves at %s; each interface needs an address of its own: %w", a, err)
	}
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	s := &Server{
		http: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute},
		done: make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(l) // ErrServerClosed
	}()
	return s, nil
}

// listen opens a. A socket that nobody answers at was left behind and is
// replaced.
func listen(a Address) (net.Listener, error) {
	l, err := net.Listen(a.network, a.address)
	if a.network != "unix" {
		return l, err
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		c, dialErr := net.Dial("unix", a.address)
		if dialErr == nil {
			c.Close()
			return nil, err
		}
		if removeErr := os.Remove(a.address); removeErr != nil {
			return nil, removeErr
		}
		l, err = net.Listen(a.network, a.address)
	}
	if err != nil {
		return nil, err
	}
	// Keys of peers and their traffic: for the owner, and whom the
	// directory's group lets in.
	if err := os.Chmod(a.address, 0o660); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Close ends the server at once.
func (s *Server) Close() error {
	if s == nil {
		return nil
	}
	err := s.http.Close()
	<-s.done
	return err
}

// Bool is 1 for true.
func Bool(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
