package wgconf

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	private   = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	public    = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
	preshared = "FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE="
)

var compare = cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(Config{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}

func mustKey(t *testing.T, s string) Key {
	t.Helper()
	k, err := ParseKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func prefixes(s ...string) (all []netip.Prefix) {
	for _, p := range s {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// everything uses each key, and each freedom of the format.
const everything = "# a comment\r\n" +
	"[interface]   # another\r\n" +
	"Address = 10.0.0.2/24, 10.0.1.2\t10.0.2.2/16\r\n" +
	"address=fd00::2/64\r\n" +
	"PRIVATEKEY = " + private + "\r\n" +
	"Listen Port = 51820\r\n" +
	"fwmark = 0xca6c\r\n" +
	"DNS = 9.9.9.9, example.com, 2620:fe::fe\r\n" +
	"MTU = 1400\r\nMTU=1380\r\n" +
	"Table = 1234\r\n" +
	"PreUp = echo a = b; true # not this\r\n" +
	"PostUp = one\r\nPostUp = two %i\r\n" +
	"PreDown = three\r\nPostDown = four\r\n" +
	"SaveConfig = TRUE\r\n" +
	"\r\n" +
	"[ Peer ]\r\n" +
	"PublicKey = " + public + "\r\n" +
	"PresharedKey = " + preshared + "\r\n" +
	"AllowedIPs = 10.0.0.7/24, 0.0.0.0/0\r\n" +
	"AllowedIPs = ::/0 , fd00::5\r\n" +
	"Endpoint = [2001:db8::1]:51820\r\n" +
	"PersistentKeepalive = 25\r\n" +
	"[PEER]\r\n" +
	"PublicKey = " + preshared + "\r\n" +
	"Endpoint = vpn.example.com:1000\r\n" +
	"PersistentKeepalive = off"

func TestParseEverything(t *testing.T) {
	got, err := Parse("wg0.conf", []byte(everything))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Interface: Interface{
			PrivateKey: mustKey(t, private),
			ListenPort: 51820,
			FwMark:     0xca6c,
			Addresses:  prefixes("10.0.0.2/24", "10.0.1.2/32", "10.0.2.2/16", "fd00::2/64"),
			DNS:        []netip.Addr{netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("2620:fe::fe")},
			Search:     []string{"example.com"},
			MTU:        1380,
			Table:      "1234",
			PreUp:      []string{"echo a = b; true # not this"},
			PostUp:     []string{"one", "two %i"},
			PreDown:    []string{"three"},
			PostDown:   []string{"four"},
			SaveConfig: true,
		},
		Peers: []Peer{{
			PublicKey:           mustKey(t, public),
			PresharedKey:        mustKey(t, preshared),
			Endpoint:            Endpoint{Host: "2001:db8::1", Port: 51820},
			AllowedIPs:          prefixes("10.0.0.0/24", "0.0.0.0/0", "::/0", "fd00::5/128"),
			PersistentKeepalive: 25,
		}, {
			PublicKey: mustKey(t, preshared),
			Endpoint:  Endpoint{Host: "vpn.example.com", Port: 1000},
		}},
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Error(diff)
	}
	again, err := Parse("again", []byte(got.String()))
	if err != nil {
		t.Fatalf("what String wrote: %v\n%s", err, got)
	}
	if diff := cmp.Diff(want, again, compare); diff != "" {
		t.Error("after a round trip:", diff)
	}
}

func TestParseSmall(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Interface
	}{
		{"empty file", "", Interface{}},
		{"only comments", "# nothing\n\n  #[Interface]\n", Interface{}},
		{"empty values of wg-quick's keys", "[Interface]\nAddress=\nDNS=\nMTU=\nTable=\nPostUp=\n", Interface{}},
		{"table off in capitals", "[Interface]\nTable = OFF", Interface{Table: TableOff}},
		{"table auto", "[Interface]\nTable = auto", Interface{Table: TableAuto}},
		{"table in hex", "[Interface]\nTable = 0x10", Interface{Table: "16"}},
		{"table by name", "[Interface]\nTable = vpn", Interface{Table: "vpn"}},
		{"mark off", "[Interface]\nFwMark = Off", Interface{}},
		{"the last value holds", "[Interface]\nListenPort=1\n[Interface]\nListenPort = 2", Interface{ListenPort: 2}},
		{"a hook keeps its #", "[Interface]\nPostUp = echo '#1'", Interface{PostUp: []string{"echo '#1'"}}},
		{"a comment hides a hook", "[Interface]\n#PostUp = echo '#1'", Interface{}},
	} {
		got, err := Parse("wg0.conf", []byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.want, got.Interface, compare); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestSignsOfAllowedIPs(t *testing.T) {
	got, err := Parse("wg0.conf", []byte("[Peer]\nPublicKey="+public+"\nAllowedIPs = 10.0.0.0/8, +10.1.0.0/16, -10.0.0.0/8, 10.1.0.0/16"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(prefixes("10.1.0.0/16"), got.Peers[0].AllowedIPs, compare); diff != "" {
		t.Error(diff)
	}
}

func TestErrors(t *testing.T) {
	peer := "[Peer]\nPublicKey = " + public + "\n"
	for _, c := range []struct{ name, text, want string }{
		{"misspelt key", "[Interface]\nAdress = 10.0.0.1/24",
			`wg0.conf:2: [Interface]: found the unknown key "Adress"; want "Address" (did you mean that?) or one of PrivateKey, ListenPort, FwMark, Address, DNS, MTU, Table, PreUp, PostUp, PreDown, PostDown, SaveConfig`},
		{"unknown key", "[Interface]\nscheduler = earliest",
			`wg0.conf:2: [Interface]: found the unknown key "scheduler"; want one of PrivateKey, ListenPort, FwMark, Address, DNS, MTU, Table, PreUp, PostUp, PreDown, PostDown, SaveConfig`},
		{"key of the other section", "[Interface]\nEndpoint = a:1",
			`wg0.conf:2: [Interface] Endpoint: found a key of [Peer] in [Interface]; want it under [Peer]`},
		{"key of [Interface] in [Peer]", peer + "DNS = 1.1.1.1",
			`wg0.conf:3: [Peer] DNS: found a key of [Interface] in [Peer]; want it under [Interface]`},
		{"before the first section", "ListenPort = 1",
			`wg0.conf:1: found "ListenPort = 1" before the first section; want [Interface] or [Peer] first`},
		{"unknown section, its lines unreported", "[Path]\ndevice = x\n[Interface]\nMTU = 1",
			"wg0.conf:1: found the section \"[Path]\"; want [Interface] or [Peer]\n" +
				`wg0.conf:4: [Interface] MTU: found "1"; want a size in bytes from 68 to 65535 (IPv6 needs 1280)`},
		{"no value", "[Interface]\nListenPort =",
			`wg0.conf:2: [Interface] ListenPort: found no value; want ListenPort = …`},
		{"no equals sign, the key not shown", "[Interface]\nPrivateKey " + private,
			`wg0.conf:2: [Interface] PrivateKey: found no "=" after the key; want PrivateKey = …`},
		{"no key, the secret not shown", "[Interface]\n" + private,
			`wg0.conf:2: [Interface]: found the unknown key "…"; want one of PrivateKey, ListenPort, FwMark, Address, DNS, MTU, Table, PreUp, PostUp, PreDown, PostDown, SaveConfig`},
		{"no key at all", "[Interface]\nhello",
			`wg0.conf:2: [Interface]: found "hello"; want KEY = VALUE`},
		{"short key, not shown", "[Interface]\nPrivateKey = " + private[1:],
			`wg0.conf:2: [Interface] PrivateKey: found 43 characters; want a private key: 44 characters of base64, the last of them "="`},
		{"loose base64", "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBml=",
			`wg0.conf:2: [Interface] PrivateKey: found 44 characters that are not 32 bytes in base64; want a private key: 44 characters of base64, the last of them "="`},
		{"port", "[Interface]\nListenPort = 70000",
			`wg0.conf:2: [Interface] ListenPort: found "70000"; want a port number from 0 (any) to 65535`},
		{"mark", "[Interface]\nFwMark = ten",
			`wg0.conf:2: [Interface] FwMark: found "ten"; want off, or a mark from 0 to 0xffffffff`},
		{"address", "[Interface]\nAddress = 10.0.0.2/33",
			`wg0.conf:2: [Interface] Address: found "10.0.0.2/33"; want an address with its prefix length, like 10.0.0.2/24 or fd00::2/64`},
		{"dns", "[Interface]\nDNS = 1.1.1.256",
			`wg0.conf:2: [Interface] DNS: found "1.1.1.256"; want addresses of name servers and domains to search`},
		{"table", "[Interface]\nTable = -1",
			`wg0.conf:2: [Interface] Table: found "-1"; want auto, off, a routing table's number from 1 to 4294967295, or its name in /etc/iproute2/rt_tables`},
		{"save", "[Interface]\nSaveConfig = yes",
			`wg0.conf:2: [Interface] SaveConfig: found "yes"; want true or false`},
		{"peer without a key", "[Peer]\nAllowedIPs = 10.0.0.0/8\n" + peer,
			`wg0.conf:1: [Peer]: found no PublicKey in this section; want PublicKey = the peer's key, as ` + "`wg pubkey`" + ` prints it`},
		{"peer with a wrong key: one error", "[Peer]\nPublicKey = x",
			`wg0.conf:2: [Peer] PublicKey: found 1 characters; want a public key: 44 characters of base64, the last of them "="`},
		{"allowed ranges without commas", peer + "AllowedIPs = 10.0.0.0/8 10.1.0.0/16",
			`wg0.conf:3: [Peer] AllowedIPs: found "10.0.0.0/810.1.0.0/16"; want address ranges like 10.0.0.0/24 or fd00::/64, with commas between them`},
		{"endpoint without port", peer + "Endpoint = vpn.example.com",
			`wg0.conf:3: [Peer] Endpoint: found "vpn.example.com", which has no port; want an address or name with a port, like 192.0.2.1:51820, [2001:db8::1]:51820 or vpn.example.com:51820`},
		{"endpoint's port", peer + "Endpoint = 192.0.2.1:http",
			`wg0.conf:3: [Peer] Endpoint: found the port "http"; want a port number from 1 to 65535`},
		{"endpoint's brackets", peer + "Endpoint = [2001:db8::1",
			`wg0.conf:3: [Peer] Endpoint: found "[2001:db8::1"; want an address or name with a port, like 192.0.2.1:51820, [2001:db8::1]:51820 or vpn.example.com:51820`},
		{"keepalive", peer + "PersistentKeepalive = 25s",
			`wg0.conf:3: [Peer] PersistentKeepalive: found "25s"; want off, or seconds from 1 to 65535`},
		{"byte order mark", "\ufeff[Interface]\n",
			`wg0.conf:1: found a byte order mark before the first line; want a file saved as UTF-8 without one: wg(8) refuses it too`},
		{"binary", "\x7fELF\x00\x01",
			`wg0.conf:1: found a zero byte; want a text file`},
	} {
		cfg, err := Parse("wg0.conf", []byte(c.text))
		if err == nil {
			t.Errorf("%s: no error, but %+v", c.name, cfg)
			continue
		}
		if diff := cmp.Diff(c.want, err.Error()); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestUAPI(t *testing.T) {
	cfg, err := Parse("wg0.conf", []byte(everything))
	if err != nil {
		t.Fatal(err)
	}
	got := cfg.UAPI([]netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:51820")})
	want := strings.Join([]string{
		"private_key=" + mustKey(t, private).Hex(),
		"listen_port=51820",
		"fwmark=51820",
		"replace_peers=true",
		"public_key=" + mustKey(t, public).Hex(),
		"preshared_key=" + mustKey(t, preshared).Hex(),
		"endpoint=[2001:db8::1]:51820",
		"persistent_keepalive_interval=25",
		"replace_allowed_ips=true",
		"allowed_ip=10.0.0.0/24",
		"allowed_ip=0.0.0.0/0",
		"allowed_ip=::/0",
		"allowed_ip=fd00::5/128",
		"public_key=" + mustKey(t, preshared).Hex(),
		"persistent_keepalive_interval=0",
		"replace_allowed_ips=true",
		"",
	}, "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if hex := mustKey(t, private).Hex(); hex != "c809f3e5317e9575c9b5ed78b638b7ce530dabe85ddab614220241801ddf0669" {
		t.Errorf("Hex() = %s", hex)
	}
}

// FuzzParse: no input may crash, and what Parse understood must survive a
// round trip through String.
func FuzzParse(f *testing.F) {
	f.Add(everything)
	f.Add("[Interface]\nTable = off\nDNS = a,b\n[Peer]\nPublicKey=" + public + "\nEndpoint = fd00::1:7\nAllowedIPs=::ffff:1.2.3.4")
	f.Add("[Peer\n]\n=\n[Interface]=\n Mtu == 1")
	f.Fuzz(func(t *testing.T, text string) {
		first, err := Parse("f", []byte(text))
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without text")
			}
			return
		}
		second, err := Parse("f", []byte(first.String()))
		if err != nil {
			t.Fatalf("String wrote what Parse refuses: %v\n%s", err, first)
		}
		if diff := cmp.Diff(first, second, compare); diff != "" {
			t.Fatal(diff)
		}
	})
}
