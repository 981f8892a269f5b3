//go:build linux

package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/emulator"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/pcap"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/scenario"
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
		header, next := ipHeader(p)
		switch next {
		case ipv6Fragment:
			t.Errorf("%s: a fragment of %d bytes", file, len(p))
			continue
		case udpHeader:
		default:
			continue
		}
		udp := p[header:]
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

// Numbers of what follows an IP header.
const (
	udpHeader    = 17
	ipv6Fragment = 44
)

// ipHeader tells how long the IP header is and what follows: ipv6Fragment
// stands for the fragments of IPv4, too, 0 for nothing that matters here.
func ipHeader(p []byte) (size int, next byte) {
	switch {
	case len(p) >= 28 && p[0] == 0x45:
		if binary.BigEndian.Uint16(p[6:])&0x3fff != 0 {
			return 20, ipv6Fragment
		}
		return 20, p[9]
	case len(p) >= 48 && p[0]>>4 == 6:
		return 40, p[6]
	}
	return 0, 0
}

// isWireGuard reports whether a datagram begins as WireGuard's four messages do.
func isWireGuard(d []byte) bool {
	return len(d) >= 32 && d[0] >= 1 && d[0] <= 4 && bytes.Equal(d[1:4], []byte{0, 0, 0})
}

// Data packets travel byte for byte as WireGuard makes them: what comes out
// of any path is what the stock WireGuard behind the shim sent, and what that
// gets is what went into some path.
func TestBytesUntouched(t *testing.T) {
	for _, name := range []string{"seed", "seed6"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := buildWith(t, name, Options{Bin: buildPrograms(t), Captures: dir})
			c, err := l.StartBond(l.Links)
			if err != nil {
				t.Fatal(err)
			}
			// A path that a busy machine was late to serve is left alone for a while:
			// then another download shows it.
			for deadline, some := time.Now().Add(patience), false; !some && !t.Failed(); {
				download(t, l, 300_000)
				some = !slices.ContainsFunc(l.Links, func(link *Link) bool { return link.wire.Stats(emulator.BA).DeliveredBytes < 100_000 })
				if time.Now().After(deadline) {
					t.Fatal("a path carries nothing to speak of")
				}
			}
			if err := c.Stop(); err != nil {
				t.Error(err)
			}
			awaitQuiet(l)
			if err := l.endCaptures(); err != nil {
				t.Fatal(err)
			}
			checkBytes(t, l, dir)
			t.Run("tshark", func(t *testing.T) { checkTshark(t, l, dir) })
		})
	}
}

// awaitQuiet waits until half a second has passed in which nothing entered a
// path upwards: what a relay still held would else be in one capture and not in
// another.
func awaitQuiet(l *Lab) {
	pushed := func() (n uint64) {
		for _, link := range l.Links {
			n += link.wire.Stats(emulator.AB).Pushed
		}
		return n
	}
	deadline := time.Now().Add(patience)
	for was := pushed(); time.Now().Before(deadline); {
		time.Sleep(500 * time.Millisecond)
		now := pushed()
		if now == was {
			return
		}
		was = now
	}
}

// capture names the capture of a link at its host's end.
func capture(dir string, link *Link) string {
	return filepath.Join(dir, fmt.Sprintf("%s-%s-%s.pcap", link.Name, link.Host, link.Device))
}

func checkBytes(t *testing.T, l *Lab, dir string) {
	t.Helper()
	got, sent := datagrams(t, filepath.Join(dir, "server-lo.pcap"), upstreamPort)
	known := map[string]bool{} // what the stock WireGuard sent
	for _, d := range sent {
		known[string(d)] = true
	}
	up := map[string]bool{} // what went into the paths
	for _, link := range l.Links {
		sent, got := datagrams(t, capture(dir, link), ServerPort)
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

// checkTshark has an independent judge look at the paths: every datagram to or
// from the server is WireGuard to it, but for those that begin with our control
// type, and all data that came is WireGuard's transport data.
func checkTshark(t *testing.T, l *Lab, dir string) {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("needs tshark: " + packageOf("tshark"))
	}
	for _, link := range l.Links {
		out, err := exec.Command("tshark", "-r", capture(dir, link), "-Y", fmt.Sprintf("udp.port == %d", ServerPort),
			"-T", "fields", "-e", "frame.protocols", "-e", "wg.type", "-e", "udp.payload", "-E", "separator=/t").Output()
		if err != nil {
			t.Fatalf("tshark: %v", err)
		}
		data := 0
		for line := range strings.Lines(string(out)) {
			f := strings.Split(strings.TrimRight(line, "\n"), "\t")
			if len(f) != 3 {
				t.Fatalf("tshark says %q", line)
			}
			switch decoded := strings.HasSuffix(f[0], ":wg"); {
			case strings.HasPrefix(f[2], "b0"):
				if decoded {
					t.Errorf("%s: tshark takes our control message for WireGuard's type %s", link.Name, f[1])
				}
			case !decoded:
				t.Errorf("%s: not WireGuard to tshark: %s %.32s…", link.Name, f[0], f[2])
			case f[1] == "4":
				data++
			}
		}
		if data < 50 {
			t.Errorf("%s: tshark found %d transport data messages of a download of 300 kB", link.Name, data)
		}
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
		var out, key string
		var err error
		var at int64
		for deadline := time.Now().Add(patience); at == 0 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if out, err = l.Host(host).Output("wg", "show", "wg0", "latest-handshakes"); err == nil {
				_, err = fmt.Sscan(out, &key, &at)
			}
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

// A bonding client works against a stock server, over one path at a time; when
// that dies during a download, over the other.
func TestBondClientAtStockServer(t *testing.T) {
	l := buildWith(t, "killed", Options{Bin: buildPrograms(t), StockServer: true})
	c, err := l.StartBond(l.Links[:2])
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Status(Borrower)
	if err != nil || len(s.Peers) != 1 || s.Peers[0].Bond == nil || s.Peers[0].Bond.Bonded || s.Peers[0].Bond.PlainReason == "" {
		t.Fatalf("status: %+v, %v; expected plain WireGuard and why", s, err)
	}
	// Which path it has is a matter of whose handshake came back first.
	used := l.Links[0]
	if a, b := used.wire.Stats(emulator.BA).Delivered, l.Links[1].wire.Stats(emulator.BA).Delivered; b > a {
		used = l.Links[1]
	}
	err = l.ConfigureLinks(false, []scenario.Event{{What: scenario.EventOutage, Link: used.Name, At: scenario.Duration(time.Second)}})
	if err != nil {
		t.Fatal(err)
	}
	const size = 1_000_000
	a, err := measure.Curl{Host: l.Host(Borrower), URL: l.URL(size, "cubic"), Patience: 2 * time.Minute}.Run()
	if err != nil || a.Total() != size {
		t.Errorf("%d bytes, %v; expected %d", a.Total(), err, size)
	}
	t.Logf("longest gap %v", a.Gap(0, a.Last()))
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
}

// A download goes on when every path but one dies, and when the shim is killed
// and started again.
func TestDownloadSurvives(t *testing.T) {
	for _, c := range []struct {
		name   string
		events bool
		strike func(*Lab) error // after a second
	}{
		{"killed", true, func(*Lab) error { return nil }},
		{"restart", false, func(l *Lab) error { l.KillServe(); return l.StartServe() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := buildWith(t, c.name, Options{Bin: buildPrograms(t)})
			client, err := l.StartBond(l.Links)
			if err != nil {
				t.Fatal(err)
			}
			var events []scenario.Event
			if c.events {
				events = l.Scenario.Events
			}
			if err := l.ConfigureLinks(false, events); err != nil {
				t.Fatal(err)
			}
			struck := make(chan error)
			time.AfterFunc(time.Second, func() { struck <- c.strike(l) })
			download(t, l, 1_500_000)
			if err := <-struck; err != nil {
				t.Error(err)
			}
			if err := client.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestMutual: borrower and neighbour each have a tunnel over both links, and each
// lends its own to the other.
func TestMutual(t *testing.T) {
	l := buildWith(t, "mutual", Options{Bin: buildPrograms(t)})
	for _, start := range []func() (*Client, error){func() (*Client, error) { return l.StartBond(l.Links) }, l.StartNeighbour} {
		c, err := start()
		if c != nil {
			defer c.Stop()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for lender, borrower := range map[string]string{"r": Borrower, Borrower: "r"} {
		got, err := l.Lent(lender)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Leases) != 1 || got.Leases[0].Address.Addr() != l.AirAddr(borrower) || got.Leases[0].Device != "wwan0" {
			t.Errorf("%s lends %+v, want its wwan0 to %s", lender, got.Leases, borrower)
		}
	}
}
