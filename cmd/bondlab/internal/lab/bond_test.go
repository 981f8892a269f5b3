//go:build linux

package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/pcap"
)

// download fetches size bytes from the web host.
func download(t *testing.T, l *Lab, size int64) {
	t.Helper()
	a, err := measure.Curl{Host: l.Host(Borrower), URL: l.URL(size, "cubic"), Patience: 2 * time.Minute}.Run()
	if err != nil || a.Total() != size {
		t.Errorf("%d bytes, %v; expected %d", a.Total(), err, size)
	}
}

// datagrams returns the UDP payloads of a capture that went to a port, and
// those that came from it. It fails for packets that are cut into fragments.
func datagrams(t *testing.T, file string, port uint16) (to, from [][]byte) {
	t.Helper()
	packets, err := pcap.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packets {
		if len(p) < 28 || p[0] != 0x45 || p[9] != 17 {
			continue // not UDP over IPv4 without options
		}
		if binary.BigEndian.Uint16(p[6:])&0x3fff != 0 {
			t.Errorf("%s: a fragment of %d bytes", file, len(p))
			continue
		}
		udp := p[20:]
		payload := udp[8:binary.BigEndian.Uint16(udp[4:])]
		switch port {
		case binary.BigEndian.Uint16(udp[2:]):
			to = append(to, payload)
		case binary.BigEndian.Uint16(udp):
			from = append(from, payload)
		}
	}
	return to, from
}

// isWireGuard reports whether a datagram begins as WireGuard's four messages do.
func isWireGuard(d []byte) bool {
	return len(d) >= 32 && d[0] >= 1 && d[0] <= 4 && bytes.Equal(d[1:4], []byte{0, 0, 0})
}

// Data packets travel byte for byte as WireGuard makes them: what comes out
// of any path is what the stock WireGuard behind the shim sent, and what that
// gets is what went into some path.
func TestBytesUntouched(t *testing.T) {
	dir := t.TempDir()
	l := buildWith(t, "seed", Options{Bin: buildPrograms(t), Captures: dir})
	c, err := l.StartBond(l.Links)
	if err != nil {
		t.Fatal(err)
	}
	download(t, l, 300_000)
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if err := l.endCaptures(); err != nil {
		t.Fatal(err)
	}

	got, sent := datagrams(t, filepath.Join(dir, "server-lo.pcap"), upstreamPort)
	known := map[string]bool{} // what the stock WireGuard sent
	for _, d := range sent {
		known[string(d)] = true
	}
	up := map[string]bool{} // what went into the paths
	for _, link := range l.Links {
		sent, got := datagrams(t, filepath.Join(dir, fmt.Sprintf("%s-%s-%s.pcap", link.Name, link.Host, link.Device)), ServerPort)
		data := 0
		for _, d := range got {
			switch {
			case isWireGuard(d) && !known[string(d)]:
				t.Errorf("%s: a WireGuard datagram of %d bytes, type %d, came that the stock WireGuard did not send", link.Name, len(d), d[0])
			case isWireGuard(d) && d[0] == 4:
				data++
			}
		}
		if data < 50 {
			t.Errorf("%s carried %d data messages of a download of 300 kB", link.Name, data)
		}
		for _, d := range sent {
			up[string(d)] = true
		}
		for _, d := range append(got, sent...) {
			if !isWireGuard(d) && len(d) > 0 && d[0] != 0xb0 {
				t.Errorf("%s: a datagram of type %#x: neither WireGuard's nor our control", link.Name, d[0])
			}
		}
	}
	for _, d := range got {
		if !up[string(d)] {
			t.Errorf("the stock WireGuard got a datagram of %d bytes that went into no path", len(d))
		}
	}
	if len(got) < 20 {
		t.Errorf("the stock WireGuard got %d datagrams during a download", len(got))
	}
}

// The tunnel ends of both sides are what wg knows.
func TestWgShow(t *testing.T) {
	l := buildWith(t, "cold", Options{Bin: buildPrograms(t)})
	c, err := l.StartBond(l.Links)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{Borrower, Server} {
		out, err := l.Host(host).Output("wg", "show", "wg0", "latest-handshakes")
		var key string
		var at int64
		if err == nil {
			_, err = fmt.Sscan(out, &key, &at)
		}
		if err != nil || at == 0 {
			t.Errorf("host %s: wg show says %q, %v; expected a handshake", host, out, err)
		}
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
}

// A stock client is served through the shim's port.
func TestStockClientAtShim(t *testing.T) {
	l := buildWith(t, "cold", Options{Bin: buildPrograms(t)})
	c, err := l.StartStock(l.Links[0])
	if err != nil {
		t.Fatal(err)
	}
	download(t, l, 100_000)
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
}

// A bonding client works against a stock server, over one path at a time.
func TestBondClientAtStockServer(t *testing.T) {
	l := buildWith(t, "cold", Options{Bin: buildPrograms(t), StockServer: true})
	c, err := l.StartBond(l.Links[:1])
	if err != nil {
		t.Fatal(err)
	}
	download(t, l, 100_000)
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
}
