//go:build linux

// Package web is the laboratory's web server: it sends as many bytes as the
// URL says, with the TCP congestion control that the URL says.
//
//	GET /bytes/3000000?cc=bbr    3 MB
//	GET /bytes/-1                bytes without end
package web

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type connKey struct{}

// Serve serves on addr until it fails.
func Serve(addr string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /bytes/{n}", send)
	s := &http.Server{
		Addr: addr, Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	return s.ListenAndServe()
}

var zeros [64 << 10]byte

func send(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
	if err != nil || n < -1 {
		http.Error(w, fmt.Sprintf("%q: want a number of bytes, or -1 for no end", r.PathValue("n")), http.StatusBadRequest)
		return
	}
	if cc := r.FormValue("cc"); cc != "" {
		raw, err := r.Context().Value(connKey{}).(*net.TCPConn).SyscallConn()
		if err == nil {
			err = SetCongestion(raw, cc)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if n >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	}
	for n != 0 {
		chunk := zeros[:]
		if n >= 0 {
			chunk = chunk[:min(n, int64(len(chunk)))]
		}
		k, err := w.Write(chunk)
		if err != nil {
			return // the client has gone
		}
		if n > 0 {
			n -= int64(k)
		}
	}
}

// SetCongestion chooses the congestion control of a TCP socket's sending half.
func SetCongestion(raw syscall.RawConn, name string) error {
	var e error
	err := raw.Control(func(fd uintptr) { e = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name) })
	if err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("congestion control %q: %w", name, err)
	}
	return nil
}
