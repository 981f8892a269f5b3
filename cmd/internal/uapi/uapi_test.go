package uapi

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
)

// fakeDevice remembers what it is told.
type fakeDevice struct {
	log  []string
	fail error
}

func (d *fakeDevice) IpcGetOperation(w io.Writer) error {
	d.log = append(d.log, "get")
	_, err := io.WriteString(w, "listen_port=1\n")
	return err
}

func (d *fakeDevice) IpcSetOperation(r io.Reader) error {
	text, err := io.ReadAll(r)
	d.log = append(d.log, "set "+string(text))
	return errors.Join(err, d.fail)
}

type coded int64

func (c coded) Error() string    { return "coded" }
func (c coded) ErrorCode() int64 { return int64(c) }

func TestServe(t *testing.T) {
	for _, c := range []struct {
		name, in string
		fail     error
		out      string
		log      []string
	}{
		{"get", "get=1\n\n", nil, "listen_port=1\nerrno=0\n\n", []string{"get"}},
		{"set", "set=1\nfwmark=3\n\n", nil, "errno=0\n\n", []string{"set fwmark=3\n", "changed"}},
		{"set that fails", "set=1\nx=y\n\n", coded(-22), "errno=-22\n\n", []string{"set x=y\n", "changed"}},
		{"set that fails oddly", "set=1\nx=y\n\n", errors.New("odd"), "errno=-55\n\n", []string{"set x=y\n", "changed"}},
		{"several, the next not swallowed by the one before", "set=1\na=1\n\nget=1\n\nset=1\nb=2\n\n", nil,
			"errno=0\n\nlisten_port=1\nerrno=0\n\nerrno=0\n\n", []string{"set a=1\n", "changed", "get", "set b=2\n", "changed"}},
		{"no blank line at the end", "set=1\na=1\n", nil, "errno=0\n\n", []string{"set a=1\n", "changed"}},
		{"get with something after it", "get=1\nx=1\n\n", nil, "errno=-71\n\n", nil},
		{"nonsense", "hello\n\n", nil, "errno=-71\n\n", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			device := &fakeDevice{fail: c.fail}
			ours, theirs := socketPair(t)
			done := make(chan struct{})
			go func() {
				Serve(theirs, device, func() { device.log = append(device.log, "changed") })
				close(done)
			}()
			if _, err := io.WriteString(ours, c.in); err != nil {
				t.Fatal(err)
			}
			if err := ours.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			out, err := io.ReadAll(ours)
			if err != nil {
				t.Fatal(err)
			}
			<-done
			if string(out) != c.out {
				t.Errorf("answer %q, want %q", out, c.out)
			}
			if diff := cmp.Diff(c.log, device.log); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// socketPair is a connection with a half-close, as Unix sockets have it.
func socketPair(t *testing.T) (*net.UnixConn, net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours.(*net.UnixConn), theirs
}

func TestParse(t *testing.T) {
	var private, public, preshared, other wgconf.Key
	private[0], public[0], preshared[0], other[0] = 1, 2, 3, 4
	got, err := Parse(strings.Join([]string{
		"private_key=" + private.Hex(),
		"listen_port=51820",
		"fwmark=7",
		"public_key=" + public.Hex(),
		"preshared_key=" + preshared.Hex(),
		"protocol_version=1",
		"endpoint=[2001:db8::1]:5",
		"last_handshake_time_sec=100",
		"last_handshake_time_nsec=5",
		"tx_bytes=12",
		"rx_bytes=34",
		"persistent_keepalive_interval=25",
		"allowed_ip=10.0.0.0/8",
		"allowed_ip=::/0",
		"something_new=1",
		"public_key=" + other.Hex(),
		"last_handshake_time_sec=0",
		"last_handshake_time_nsec=0",
		"errno=0",
		"",
	}, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := &Device{PrivateKey: private, ListenPort: 51820, FwMark: 7, Peers: []Peer{{
		PublicKey: public, PresharedKey: preshared, Endpoint: netip.MustParseAddrPort("[2001:db8::1]:5"),
		AllowedIPs:          []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::/0")},
		PersistentKeepalive: 25, LastHandshake: time.Unix(100, 5), TxBytes: 12, RxBytes: 34,
	}, {PublicKey: other}}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"errno=-1\n", "private_key=00\n", "listen_port=x\n", "public_key=" + public.Hex() + "\nendpoint=nowhere\n"} {
		if d, err := Parse(bad); err == nil {
			t.Errorf("Parse(%q) = %+v", bad, d)
		}
	}
}

// TestServeEndless: a first line without an end is answered once it is longer
// than any operation, and not gathered.
func TestServeEndless(t *testing.T) {
	ours, theirs := socketPair(t)
	go Serve(theirs, &fakeDevice{}, func() {})
	if _, err := ours.Write(bytes.Repeat([]byte("x"), 5000)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 100)
	n, err := io.ReadAtLeast(ours, answer, len("errno=-71\n\n"))
	if err != nil || string(answer[:n]) != "errno=-71\n\n" {
		t.Errorf("answer %q, %v", answer[:n], err)
	}
}
