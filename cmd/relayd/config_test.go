package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/wg-bond/wg-bond/relayd"
	"github.com/wg-bond/wg-bond/relayd/access"
	"github.com/wg-bond/wg-bond/relayd/ledger"
	"github.com/wg-bond/wg-bond/relayd/when"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// Keys that wg genkey and wg pubkey made.
const (
	private = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	public  = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=" // of private
	other   = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
)

func parsed(t *testing.T, text string) control.Key {
	t.Helper()
	k, err := control.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestConfig(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "relay.key"), []byte(private+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "relayd.toml")
	const key = `private-key = "` + private + `"`
	for _, c := range []struct {
		name, text string
		want       relayd.Config
	}{
		{"all", `listen = "192.0.2.1:1234"
device = "wwan0"
private-key = "` + private + `"
allow-private-targets = true
[[allow]]
public-key = "` + other + `"
`, relayd.Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1234")}, Device: "wwan0",
			PrivateKey: parsed(t, private), Allow: []control.Key{parsed(t, other)}, AllowPrivateTargets: true}},
		{"least", `private-key-file = "relay.key"
allow = [{ public-key = "` + other + `" }]
`, relayd.Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:51900"), netip.MustParseAddrPort("[::]:51900")},
			PrivateKey: parsed(t, private), Allow: []control.Key{parsed(t, other)}}},
		{"open, invitations", key + `
device = "wwan0"
announce = ["wlan0"]
state-dir = "/var/lib/relayd"
[open]
rate = "2 Mbit/s"
`, relayd.Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:51900"), netip.MustParseAddrPort("[::]:51900")}, Device: "wwan0",
			PrivateKey: parsed(t, private), Invitations: "/var/lib/relayd/invitations.json", Ledger: ledger.Config{File: "/var/lib/relayd/ledger.json"},
			Open: access.Open{Leases: access.OpenLeases, Rate: 250e3, PerDay: access.OpenPerDay}}},
		{"limits", `
private-key = "` + private + `"
state-dir = "/s"
rate = "8 Mbit/s"
volume = "20 GB"
reset-day = 5
hours = ["22:00-06:30", "12:00-13:00"]
battery-floor = 30
only-on-mains = true
not-on-wifi = true
`, relayd.Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:51900"), netip.MustParseAddrPort("[::]:51900")},
			PrivateKey: parsed(t, private), Invitations: "/s/invitations.json",
			Ledger: ledger.Config{File: "/s/ledger.json", Quota: 20e9, ResetDay: 5, Rate: 1e6},
			When: when.Rules{BatteryFloor: 30, OnlyOnMains: true, NotOnWiFi: true, Hours: []when.Hours{
				{From: 22 * time.Hour, To: 6*time.Hour + 30*time.Minute}, {From: 12 * time.Hour, To: 13 * time.Hour}}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := loadConfig(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.Config, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestConfigErrors(t *testing.T) {
	const key, allow = `private-key = "` + private + "\"\n", "[[allow]]\npublic-key = \"" + other + "\"\n"
	for _, c := range []struct {
		name, text string
		want       []string // each at the beginning of a line of its own, in this order
	}{
		{"syntax", "listen = = 1\n" + key + allow, []string{"r.toml:1: found what is not TOML"}},
		{"empty", "", []string{
			`r.toml: found no private key; want private-key-file = "FILE"`,
			`r.toml: found nobody who may borrow; want [[allow]]`}},
		{"unknown key", key + "lisen = \":1\"\n" + allow, []string{`r.toml:2: found the unknown key "lisen"; want "listen" (did you mean`}},
		{"key of a table", key + "public-key = \"x\"\n" + allow, []string{`r.toml:2: found the unknown key "public-key"; want it under [[allow]]`}},
		{"unknown key of a table", key + allow + "name = \"x\"\n", []string{`r.toml:4: allow 1: found the unknown key "name"; want one of public-key`}},
		{"wrong types", "listen = 51900\ndevice = true\nallow-private-targets = \"yes\"\nprivate-key = 1\nallow = \"x\"\n", []string{
			`r.toml:1: listen: found the number 51900; want an address and port in quotes`,
			`r.toml:2: device: found true; want an interface's name`,
			`r.toml:3: allow-private-targets: found the string "yes"; want true or false`,
			`r.toml:4: private-key: found the number 1; want 44 characters`,
			`r.toml:5: allow: found the string "x"; want tables [[allow]]`}},
		{"impossible values", "listen = \":99999\"\ndevice = \"a device whose name is long\"\nprivate-key = \"secret\"\n[[allow]]\npublic-key = \"short\"\n", []string{
			`r.toml:1: listen: found ":99999"; want an address`,
			`r.toml:2: device: found "a device whose name is long"; want`,
			`r.toml:3: private-key: found what is no key; want`,
			`r.toml:5: allow 1: public-key: found "short"; want`}},
		{"port 0", "listen = \":0\"\n" + key + allow, []string{`r.toml:1: listen: found ":0"`}},
		{"two private keys", key + "private-key-file = \"x\"\n" + allow, []string{`r.toml:2: private-key-file: found a second private key; want either`}},
		{"no key file", "private-key-file = \"missing\"\n" + allow, []string{`r.toml:1: private-key-file: found open missing: no such file`}},
		{"allow without key", key + "[[allow]]\n" + allow, []string{`r.toml:2: allow 1: found no public-key; want`}},
		{"twice", key + allow + allow, []string{`r.toml:5: allow 2: public-key: found the key of line 3 again; want each borrower once`}},
		{"wrong type in a table", key + "[[allow]]\npublic-key = 5\n", []string{`r.toml:3: allow 1: public-key: found the number 5`}},
		{"our own key", key + "[[allow]]\npublic-key = \"" + public + "\"\n", []string{`r.toml:2: allow: found this relayd's own public key`}},
		{"empty list", key + "allow = []\n", []string{"r.toml: found nobody who may borrow"}},
		{"announced on the WAN side", key + "device = \"wwan0\"\nannounce = [\"wlan0\", \"wwan0\"]\n" + allow, []string{`r.toml:3: announce: found "wwan0", the device that is lent; want those on which`}},
		{"announced, and lent as the routes say", key + "announce = [\"wlan0\"]\n" + allow, []string{`r.toml:2: announce: found no device beside it`}},
		{"open in the wrong units", key + "[open]\nrate = \"2\"\nper-day = 7\nleases = 0\nfor = 1\n", []string{
			`r.toml:3: open: rate: found the string "2"; want a rate`, `r.toml:4: open: per-day: found the number 7; want an amount`,
			`r.toml:5: open: leases: found the number 0; want a number from 1`, `r.toml:6: open: found the unknown key "for"; want one of leases, rate, per-day`}},
		{"limits", key + "rate = 5\nvolume = \"0 GB\"\nreset-day = 32\nbattery-floor = \"low\"\nhours = [\"25:00-26:00\"]\nonly-on-mains = 1\n" + allow, []string{
			`r.toml:2: rate: found the number 5; want a rate`, `r.toml:3: volume: found the string "0 GB"; want an amount`,
			`r.toml:4: reset-day: found the number 32; want a day`, `r.toml:4: reset-day: found no volume beside it; want volume`,
			`r.toml:5: battery-floor: found the string "low"; want a number`,
			`r.toml:6: hours: found the string "25:00-26:00"; want times of day`, `r.toml:7: only-on-mains: found the number 1; want true or false`}},
		{"a volume that is forgotten", key + "volume = \"1 GB\"\n" + allow, []string{`r.toml:2: volume: found no state-dir beside it`}},
		{"list of others", key + "allow = [1]\n", []string{"r.toml:2: allow 1: found the number 1; want tables"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parseConfig("r.toml", []byte(c.text))
			if err == nil {
				t.Fatal("it is taken")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(c.want) {
				t.Errorf("got\n%v\nwant %d lines", err, len(c.want))
				return
			}
			for i, want := range c.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("line %d is\n%s\nwant\n%s", i+1, lines[i], want)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows the private key: %v", err)
			}
		})
	}
}

func TestFlags(t *testing.T) {
	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte(private+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := settings{PrivateKeyFile: keyFile, Allow: []string{other}, Device: "wwan0", Listen: "[::1]:5"}
	cfg, err := good.config()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.PrivateKey != parsed(t, private) || len(cfg.Allow) != 1 || cfg.Device != "wwan0" || cfg.Listen[0].String() != "[::1]:5" {
		t.Errorf("got %+v", cfg)
	}
	for _, c := range []struct {
		s    settings
		want string
	}{
		{settings{}, "no private key"},
		{settings{PrivateKey: private}, "nobody may borrow"},
		{settings{PrivateKey: private, PrivateKeyFile: keyFile, Allow: []string{other}}, "one of them"},
		{settings{PrivateKey: "x", Allow: []string{other}}, "--private-key: a key is 44"},
		{settings{PrivateKeyFile: "missing", Allow: []string{other}}, "--private-key-file: open missing"},
		{settings{PrivateKey: private, Allow: []string{"x"}}, "--allow=x: a key is 44"},
		{settings{PrivateKey: private, Allow: []string{other}, Listen: "here"}, `--listen="here" is not like`},
		{settings{PrivateKey: private, Allow: []string{other}, Listen: ":0"}, `--listen=":0"`},
		{settings{PrivateKey: private, Allow: []string{other}, Device: "a/b"}, `--device="a/b"`},
	} {
		if _, err := c.s.config(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want it to say %s", c.s, err, c.want)
		}
	}
	if _, err := (&runCommand{Config: "x", settings: good}).config(); err == nil || !strings.Contains(err.Error(), "not from both") {
		t.Errorf("file and flags: %v", err)
	}
}

// TestMetricsAddress: on loopback or a Unix socket, and nowhere else.
func TestMetricsAddress(t *testing.T) {
	const rest = "\nprivate-key = \"" + private + "\"\nallow = [{ public-key = \"" + other + "\" }]\n"
	cfg, err := parseConfig("f", []byte(`metrics = "localhost:9587"`+rest))
	if err != nil || cfg.Metrics.String() != "127.0.0.1:9587" {
		t.Errorf("%v, %v", cfg, err)
	}
	if _, err = parseConfig("f", []byte(`metrics = ":9587"`+rest)); err == nil || !strings.Contains(err.Error(), `f:1: metrics: found ":9587"; want a loopback address`) {
		t.Errorf("everywhere: %v", err)
	}
}
