// Package uapi speaks WireGuard's cross-platform configuration protocol
// (https://www.wireguard.com/xplatform/) on both ends: it serves a device to
// wg(8) and the like, telling us of every change, and it reads a device's
// state.
//
//	wg set wg0 …  ── set=1, key=value…, blank line ─→  Serve ─→ Operator.IpcSetOperation
//	wg show wg0   ── get=1, blank line ─────────────→        └→ changed()
//	              ←─ key=value…, errno=0, blank line ──
package uapi

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
)

// SocketDir is where wg(8) looks for the sockets of userspace devices, each
// called NAME.sock.
const SocketDir = "/var/run/wireguard"

// Names are the interfaces that have a socket NAME.sock in dir, in order:
// SocketDir, or any other with sockets of that form.
func Names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".sock"); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// maxSet bounds the size of a set operation, bytes: a hundred thousand peers.
const maxSet = 32 << 20

// Error numbers in answers are those of Linux, negated, on every system.
const (
	errnoProtocol = -71 // EPROTO
	errnoUnknown  = -55 // ENOANO, as wireguard-go answers
)

// Operator is a WireGuard device: wireguard-go's *device.Device.
type Operator interface {
	IpcGetOperation(w io.Writer) error
	IpcSetOperation(r io.Reader) error
}

// Serve answers the operations that come by c until it ends, and closes it.
// changed is called after every set operation, and before its answer, so that
// who has the answer can rely on it; an operation that failed may have
// changed something, too.
func Serve(c net.Conn, device Operator, changed func()) {
	defer c.Close()
	r, w := bufio.NewReader(c), bufio.NewWriter(c)
	for {
		operation, body, err := readRequest(r)
		if err != nil {
			return
		}
		switch {
		case operation == "get=1" && len(body) == 0:
			err = device.IpcGetOperation(w)
		case operation == "set=1":
			err = device.IpcSetOperation(bytes.NewReader(body))
			changed()
		default:
			fmt.Fprintf(w, "errno=%d\n\n", errnoProtocol)
			_ = w.Flush()
			return
		}
		fmt.Fprintf(w, "errno=%d\n\n", errno(err))
		if w.Flush() != nil {
			return
		}
	}
}

// readRequest reads the first line of a request and the lines up to a blank
// one. What ends without a blank line is complete all the same if it is a set
// operation: wireguard-go takes it, too.
func readRequest(r *bufio.Reader) (operation string, body []byte, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil && err != bufio.ErrBufferFull {
		return "", nil, err
	}
	operation = strings.TrimSuffix(string(line), "\n")
	if operation != "get=1" && operation != "set=1" {
		return operation, nil, nil // of which nothing more matters
	}
	for {
		chunk, err := r.ReadSlice('\n')
		if len(body)+len(chunk) > maxSet {
			return "", nil, errors.New("uapi: request too long")
		}
		if err == nil && len(chunk) == 1 && (len(body) == 0 || body[len(body)-1] == '\n') {
			return operation, body, nil
		}
		body = append(body, chunk...)
		switch {
		case err == io.EOF && operation == "set=1":
			return operation, body, nil
		case err != nil && err != bufio.ErrBufferFull:
			return "", nil, err
		}
	}
}

func errno(err error) int64 {
	var coded interface{ ErrorCode() int64 }
	switch {
	case err == nil:
		return 0
	case errors.As(err, &coded):
		return coded.ErrorCode()
	}
	return errnoUnknown
}

// Device is the state of a WireGuard device.
type Device struct {
	PrivateKey wgconf.Key // zero: none
	ListenPort uint16     // 0 while it is down
	FwMark     uint32
	Peers      []Peer
}

// Peer is the state of one peer.
type Peer struct {
	PublicKey           wgconf.Key
	PresharedKey        wgconf.Key     // zero: none
	Endpoint            netip.AddrPort // invalid: not known
	AllowedIPs          []netip.Prefix
	PersistentKeepalive uint16    // seconds; 0: off
	LastHandshake       time.Time // zero: never
	RxBytes, TxBytes    uint64
}

// Parse reads the answer to a get operation. Keys that it does not know it
// ignores, as the protocol wants it.
func Parse(text string) (*Device, error) {
	d := new(Device)
	var p *Peer
	var seconds, nanoseconds int64
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok {
			continue
		}
		var err error
		switch {
		case key == "errno":
			if value != "0" {
				err = errors.New("the device refused")
			}
		case key == "public_key":
			d.Peers = append(d.Peers, Peer{})
			p = &d.Peers[len(d.Peers)-1]
			seconds, nanoseconds = 0, 0
			p.PublicKey, err = parseKey(value)
		case p == nil:
			err = d.set(key, value)
		case key == "last_handshake_time_sec":
			seconds, err = strconv.ParseInt(value, 10, 64)
			p.LastHandshake = moment(seconds, nanoseconds)
		case key == "last_handshake_time_nsec":
			nanoseconds, err = strconv.ParseInt(value, 10, 64)
			p.LastHandshake = moment(seconds, nanoseconds)
		default:
			err = p.set(key, value)
		}
		if err != nil {
			return nil, fmt.Errorf("uapi: %s: %w", key, err)
		}
	}
	return d, nil
}

func (d *Device) set(key, value string) (err error) {
	switch key {
	case "private_key":
		d.PrivateKey, err = parseKey(value)
	case "listen_port":
		d.ListenPort, err = parse[uint16](value, 16)
	case "fwmark":
		d.FwMark, err = parse[uint32](value, 32)
	}
	return err
}

func (p *Peer) set(key, value string) (err error) {
	switch key {
	case "preshared_key":
		p.PresharedKey, err = parseKey(value)
	case "endpoint":
		p.Endpoint, err = netip.ParseAddrPort(value)
	case "allowed_ip":
		var prefix netip.Prefix
		prefix, err = netip.ParsePrefix(value)
		p.AllowedIPs = append(p.AllowedIPs, prefix)
	case "persistent_keepalive_interval":
		p.PersistentKeepalive, err = parse[uint16](value, 16)
	case "rx_bytes":
		p.RxBytes, err = parse[uint64](value, 64)
	case "tx_bytes":
		p.TxBytes, err = parse[uint64](value, 64)
	}
	return err
}

func moment(seconds, nanoseconds int64) time.Time {
	if seconds == 0 && nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, nanoseconds)
}

func parse[T uint16 | uint32 | uint64](value string, bits int) (T, error) {
	n, err := strconv.ParseUint(value, 10, bits)
	return T(n), err
}

func parseKey(value string) (k wgconf.Key, err error) {
	if hex.DecodedLen(len(value)) != len(k) {
		return k, fmt.Errorf("a key of %d characters", len(value))
	}
	_, err = hex.Decode(k[:], []byte(value))
	return k, err
}

// Get asks the device called name, which must be a userspace one, for its
// state.
func Get(name string) (*Device, error) {
	c, err := net.Dial("unix", SocketDir+"/"+name+".sock")
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, "get=1\n\n"); err != nil {
		return nil, err
	}
	var answer strings.Builder
	for lines := bufio.NewReader(c); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("uapi: the answer of %s breaks off: %w", name, err)
		}
		if line == "\n" {
			return Parse(answer.String())
		}
		answer.WriteString(line)
	}
}
