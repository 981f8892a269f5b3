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
	"os"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wg-bond/wg-bond/cmd/internal/metrics/at"
)

// Server serves metrics until Close. A nil Server serves none.
type Server struct {
	http *http.Server
	done chan struct{}
}

// Serve serves what the collectors know, and the process's own use of memory
// and CPU, at a. It returns nil if a is nowhere.
func Serve(a at.Address, all ...prometheus.Collector) (*Server, error) {
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
func listen(a at.Address) (net.Listener, error) {
	l, err := net.Listen(a.Network, a.Place)
	if a.Network != "unix" {
		return l, err
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		c, dialErr := net.Dial("unix", a.Place)
		if dialErr == nil {
			c.Close()
			return nil, err
		}
		if removeErr := os.Remove(a.Place); removeErr != nil {
			return nil, removeErr
		}
		l, err = net.Listen(a.Network, a.Place)
	}
	if err != nil {
		return nil, err
	}
	// Keys of peers and their traffic: for the owner, and whom the
	// directory's group lets in.
	if err := os.Chmod(a.Place, 0o660); err != nil {
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
