package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"

	"github.com/wg-bond/wg-bond/conn/netstack"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// host is a machine with a stock WireGuard device and a TCP/IP stack behind
// it, all in this process.
type host struct {
	stack  *netstack.Stack
	device *device.Device
}

// peer is what a host's WireGuard knows of the other one.
type peer struct {
	key      control.Key
	endpoint netip.AddrPort // invalid: it will call
	allowed  netip.Prefix
}

// newHost starts a host that has the address inside the tunnel and reaches
// its peer by bind.
func newHost(inside netip.Addr, bind conn.Bind, private control.Key, p peer) (*host, error) {
	stack, err := netstack.New(inside)
	if err != nil {
		return nil, err
	}
	h := &host{stack, device.NewDevice(stack, bind, device.NewLogger(device.LogLevelSilent, ""))}
	var cfg strings.Builder
	fmt.Fprintf(&cfg, "private_key=%s\n", hex.EncodeToString(private[:]))
	fmt.Fprintf(&cfg, "public_key=%s\nallowed_ip=%s\n", hex.EncodeToString(p.key[:]), p.allowed)
	if p.endpoint.IsValid() {
		fmt.Fprintf(&cfg, "endpoint=%s\n", p.endpoint)
	}
	if err := h.device.IpcSet(cfg.String()); err != nil {
		h.close()
		return nil, err
	}
	if err := h.device.Up(); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

func (h *host) close() { h.device.Close() }

// listenPort is where the host's WireGuard listens.
func (h *host) listenPort() (uint16, error) {
	state, err := h.device.IpcGet()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(state) {
		if port, ok := strings.CutPrefix(strings.TrimSpace(line), "listen_port="); ok {
			n, err := strconv.ParseUint(port, 10, 16)
			return uint16(n), err
		}
	}
	return 0, errors.New("the WireGuard device does not say where it listens")
}

// file is what is downloaded: bytes that no link could compress, the same
// every time.
type file struct {
	content []byte
	sum     [sha256.Size]byte
}

func newFile(size int) *file {
	content := make([]byte, size)
	source := mathrand.NewChaCha8([32]byte{'w', 'g', '-', 'b', 'o', 'n', 'd'})
	_, _ = source.Read(content) // it never fails
	return &file{content, sha256.Sum256(content)}
}

// serve offers the file at http://inside/ from h, until the host is closed.
func (f *file) serve(h *host, inside netip.Addr) error {
	listener, err := h.stack.Listen(netip.AddrPortFrom(inside, 80))
	if err != nil {
		return err
	}
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(f.content)))
			_, _ = w.Write(f.content) // the client sees what is missing
		}),
	}
	go func() { _ = server.Serve(listener) }() // ends with the listener
	return nil
}

// download fetches the file over a new connection and checks it. It calls
// progress with the number of bytes so far, and returns the time from the
// first SYN to the last byte.
func (f *file) download(ctx context.Context, h *host, server netip.Addr, progress func(bytes int)) (time.Duration, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return h.stack.Dial(ctx, netip.AddrPortFrom(server, 80))
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+server.String()+"/", nil)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	sum := sha256.New()
	got := 0
	buf := make([]byte, math.MaxUint16)
	for {
		n, err := response.Body.Read(buf)
		sum.Write(buf[:n])
		got += n
		progress(got)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("after %d of %d bytes: %w", got, len(f.content), err)
		}
	}
	took := time.Since(began)
	if [sha256.Size]byte(sum.Sum(nil)) != f.sum {
		return 0, fmt.Errorf("the %d bytes that came differ from the %d that were sent", got, len(f.content))
	}
	return took, nil
}
