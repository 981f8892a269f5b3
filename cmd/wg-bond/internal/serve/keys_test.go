package serve

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
	"github.com/wg-bond/wg-bond/conn/shim"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// oneDevice is a system with one WireGuard device, or an error.
type oneDevice struct {
	device *wgtypes.Device
	err    error
}

func (o oneDevice) Device(string) (*wgtypes.Device, error) { return o.device, o.err }

var compare = cmp.Options{
	cmp.AllowUnexported(identity{}),
	cmp.Comparer(func(a, b control.Key) bool { return a == b }),
}

func TestIdentify(t *testing.T) {
	cfg := &wgconf.Config{
		Interface: wgconf.Interface{PrivateKey: wgconf.Key{1}, ListenPort: 5, FwMark: 6},
		Peers:     []wgconf.Peer{{PublicKey: wgconf.Key{9}}, {PublicKey: wgconf.Key{3}, PresharedKey: wgconf.Key{4}}},
	}
	device := &wgtypes.Device{PrivateKey: wgtypes.Key{2}, ListenPort: 7, Peers: []wgtypes.Peer{{PublicKey: wgtypes.Key{8}, PresharedKey: wgtypes.Key{5}}}}
	for _, c := range []struct {
		name string
		all  devices
		want identity
		from bool
		err  string
	}{
		{"the device knows best", oneDevice{device: device},
			identity{private: control.Key{2}, port: 7, peers: []shim.Peer{{PublicKey: control.Key{8}, PresharedKey: control.Key{5}}}}, true, ""},
		{"without a device, the file", oneDevice{err: fmt.Errorf("x: %w", os.ErrNotExist)},
			identity{private: control.Key{1}, port: 5, mark: 6, peers: []shim.Peer{{PublicKey: control.Key{3}, PresharedKey: control.Key{4}}, {PublicKey: control.Key{9}}}}, false, ""},
		{"a device that may not be read", oneDevice{err: os.ErrPermission}, identity{}, false,
			"the WireGuard device wg0 may not be read: permission denied; run it as root (sudo)"},
		{"something else", oneDevice{err: errors.New("odd")}, identity{}, false, "reading the WireGuard device wg0: odd"},
	} {
		got, from, err := identify(c.all, "wg0", cfg)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if diff := cmp.Diff(c.want, got, compare); diff != "" || from != c.from || text != c.err {
			t.Errorf("%s: from device %v, error %q\n%s", c.name, from, text, diff)
		}
	}
}

func TestIdentitiesIgnoreTheOrderOfPeers(t *testing.T) {
	a := fromState(&wgtypes.Device{Peers: []wgtypes.Peer{{PublicKey: wgtypes.Key{1}}, {PublicKey: wgtypes.Key{2}}}})
	b := fromState(&wgtypes.Device{Peers: []wgtypes.Peer{{PublicKey: wgtypes.Key{2}}, {PublicKey: wgtypes.Key{1}}}})
	c := fromState(&wgtypes.Device{Peers: []wgtypes.Peer{{PublicKey: wgtypes.Key{2}}, {PublicKey: wgtypes.Key{1}, PresharedKey: wgtypes.Key{3}}}})
	if !a.equal(b) || a.equal(c) {
		t.Errorf("equal: %v, %v", a.equal(b), a.equal(c))
	}
}

func TestUpstream(t *testing.T) {
	given := netip.MustParseAddrPort("127.0.0.1:9")
	for _, c := range []struct {
		id    identity
		given netip.AddrPort
		want  string
	}{
		{identity{port: 5}, given, "127.0.0.1:9"},
		{identity{port: 5}, netip.AddrPort{}, "127.0.0.1:5"},
		{identity{}, netip.AddrPort{}, `found neither upstream in [serve] nor a ListenPort of the stock WireGuard; want one of them, upstream = "127.0.0.1:51821" for example`},
	} {
		got, err := c.id.upstream(c.given)
		text := got.String()
		if err != nil {
			text = err.Error()
		}
		if text != c.want {
			t.Errorf("got %s, want %s", text, c.want)
		}
	}
}
