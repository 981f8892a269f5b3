package bondconf

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/wg-bond/wg-bond/cmd/internal/metrics/at"
	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
	"github.com/wg-bond/wg-bond/conn/netwatch"
)

const relayKey = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="

var (
	builtin = []string{"earliest", "lowest-rtt", "redundant"}
	compare = cmp.Options{cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b at.Address) bool { return a == b })}
)

const everything = `
scheduler = "mine"
metrics = "localhost:9586"
remember = false
[[path]]
device = "wwan0"
max-rate = "3.6 Mbit/s"
metered = true
monthly-quota = "5 GB"
quota-reset-day = 31
[[path]]
name = "neighbour"
device = "wlan0"
relay = "10.9.0.2:51900"
relay-key = "` + relayKey + `"
backup = true
weight = 2
[[path]]
device = "usb*"
[[path]]
name = "stick"
device = "wwan1"
driver = "cdc_mbim"
usb = "1-2"
network = "10.1.2.3/16"
[serve]
listen = ":51820"
upstream = "127.0.0.1:51821"
[plugin.mine]
command = "./mine"
any = { thing = [1, 2] }
`

func TestParse(t *testing.T) {
	key, err := wgconf.ParseKey(relayKey)
	if err != nil {
		t.Fatal(err)
	}
	served, err := at.Parse("127.0.0.1:9586")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("wg0.bond.toml", []byte(everything), builtin)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Scheduler: "mine", Metrics: served, Forget: true,
		Paths: []Path{
			{Name: "wwan0", Device: "wwan0", Metered: true, Weight: 1, MaxRate: 450e3, MonthlyQuota: 5e9, QuotaDay: 31},
			{Name: "neighbour", Device: "wlan0", Relay: netip.MustParseAddrPort("10.9.0.2:51900"), RelayKey: key, Backup: true, Weight: 2, QuotaDay: 1},
			{Match: netwatch.Match{Device: "usb*"}, Weight: 1, QuotaDay: 1},
			{Name: "stick", Match: netwatch.Match{Device: "wwan1", Driver: "cdc_mbim", USB: "1-2", Network: netip.MustParsePrefix("10.1.0.0/16")}, Weight: 1, QuotaDay: 1},
		},
		Serve: Serve{Listen: netip.MustParseAddrPort("[::]:51820"), Upstream: netip.MustParseAddrPort("127.0.0.1:51821")},
		Plugins: map[string]map[string]any{"mine": {
			"command": "./mine",
			"any":     map[string]any{"thing": []any{int64(1), int64(2)}},
		}},
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Error(diff)
	}
}

func TestLoad(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "wg0.conf")
	got, err := Load(conf, builtin)
	if err != nil || len(got.Paths) != 0 {
		t.Errorf("without a side file: %+v, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(conf), "wg0.bond.toml"), []byte("[[path]]\ndevice = \"a\""), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err = Load(conf, builtin)
	if err != nil || len(got.Paths) != 1 || got.Paths[0].Device != "a" {
		t.Errorf("with a side file: %+v, %v", got, err)
	}
}

func TestErrors(t *testing.T) {
	path := "[[path]]\ndevice = \"wwan0\"\n"
	const pathKeys = "one of name, device, driver, usb, network, relay, relay-key, relay-code, backup, metered, weight, max-rate, monthly-quota, quota-reset-day"
	for _, c := range []struct{ name, text, want string }{
		{"not TOML", "[[path]]\ndevice = wwan0",
			`f:2: found what is not TOML: unexpected character U+0077 'w' at start of value; want a TOML file (https://toml.io)`},
		{"misspelt scheduler", `scheduler = "earlist"`,
			`f:1: scheduler: found "earlist"; want "earliest" (did you mean that?) or one of earliest, lowest-rtt, redundant, mine`},
		{"scheduler of a wrong type", `scheduler = 3`,
			`f:1: scheduler: found the number 3; want a scheduler's name in quotes, one of earliest, lowest-rtt, redundant, mine`},
		{"unknown top key", "colour = 1",
			`f:1: found the unknown key "colour"; want one of scheduler, metrics, remember, path, serve, plugin`},
		{"misspelt top key", "\nshceduler = \"earliest\"",
			`f:2: found the unknown key "shceduler"; want "scheduler" (did you mean that?) or one of scheduler, metrics, remember, path, serve, plugin`},
		{"metrics for everybody", `metrics = ":9586"`,
			`f:1: metrics: found the string ":9586"; want a loopback address and port like "127.0.0.1:9586", or a Unix socket like "unix:/run/wg-bond/wg0.metrics"; others must not reach it, for there is no password`},
		{"metrics of a wrong type", "metrics = true",
			`f:1: metrics: found true; want a loopback address and port like "127.0.0.1:9586", or a Unix socket like "unix:/run/wg-bond/wg0.metrics"; others must not reach it, for there is no password`},
		{"path's key at the top", "device = \"wwan0\"",
			`f:1: found the unknown key "device"; want it under [[path]]`},
		{"one [path]", "[path]\ndevice = \"wwan0\"",
			`f:1: path: found a table; want tables [[path]], one for each path`},
		{"a list of something else", "path = [1]",
			`f:1: path 1: found the number 1; want tables [[path]], one for each path`},
		{"misspelt path key", path + "relay_key = \"x\"",
			`f:3: path 1: found the unknown key "relay_key"; want "relay-key" (did you mean that?) or ` + pathKeys},
		{"no device", path + "[[path]]\nname = \"x\"",
			`f:3: path 2: found no device; want device = "…", the interface that this path uses, or driver, usb or network to find it by`},
		{"not a pattern", "[[path]]\ndevice = \"wwan[\"",
			`f:2: path 1: device: found the string "wwan["; want an interface's name in quotes, like "wwan0", or a pattern, like "wwan*"`},
		{"not a port", "[[path]]\nusb = \"usb1\"",
			`f:2: path 1: usb: found the string "usb1"; want a port in quotes as in /sys/bus/usb/devices, like "1-2" or "1-2.4"`},
		{"not a network", "[[path]]\nnetwork = \"10.1\"",
			`f:2: path 1: network: found the string "10.1"; want a network in quotes, like "10.1.0.0/16", that the device has an address in`},
		{"a yes in words", `remember = "no"`,
			`f:1: remember: found the string "no"; want true or false, without quotes`},
		{"a quota without a unit", path + "monthly-quota = 5",
			`f:3: path 1: monthly-quota: found the number 5; want an amount with its unit in quotes, like "5 GB" or "500 MB" (powers of 1000)`},
		{"a quota of bits", path + "monthly-quota = \"5 Gbit\"",
			`f:3: path 1: monthly-quota: found "5 Gbit"; want an amount with its unit in quotes, like "5 GB" or "500 MB" (powers of 1000)`},
		{"a quota of nothing", path + "monthly-quota = \"0 GB\"",
			`f:3: path 1: monthly-quota: found "0 GB"; want an amount with its unit in quotes, like "5 GB" or "500 MB" (powers of 1000), from 1 MB to 1000 TB`},
		{"a day that no month has", path + "monthly-quota = \"5 GB\"\nquota-reset-day = 32",
			`f:4: path 1: quota-reset-day: found the number 32; want a day of the month, 1 to 31, without quotes; in a shorter month it is the last day`},
		{"a day without a quota", path + "quota-reset-day = 3",
			`f:3: path 1: quota-reset-day: found no monthly-quota beside it; want monthly-quota = "5 GB"`},
		{"impossible device", "[[path]]\ndevice = \"a/b\"",
			`f:2: path 1: device: found the string "a/b"; want an interface's name in quotes, like "wwan0", or a pattern, like "wwan*"`},
		{"long device", "[[path]]\ndevice = \"sixteencharacter\"",
			`f:2: path 1: device: found the string "sixteencharacter"; want an interface's name in quotes, like "wwan0", or a pattern, like "wwan*"`},
		{"name", path + "name = \"a b\"",
			`f:3: path 1: name: found the string "a b"; want a name of up to 32 letters, digits, and . _ - @, in quotes`},
		{"relay without key", path + "relay = \"10.9.0.2:51900\"",
			"f:3: path 1: relay: found no relay-key beside it; want relay-key = \"…\", what `relayd pubkey` prints at the lender's"},
		{"key without relay", path + "relay-key = \"" + relayKey + "\"",
			`f:3: path 1: relay-key: found no relay beside it; want relay = "ADDRESS:PORT" of a relayd near us`},
		{"relay-code without relay", path + `relay-code = "0000-0000-0000-0000-0000-0077"`,
			`f:3: path 1: relay-code: found what is none: the invitation's letters do not belong together: is one of them misread?; want an invitation in quotes, as ` + "`relayd invite` prints it"},
		{"relay without port", path + "relay = \"10.9.0.2\"",
			`f:3: path 1: relay: found the string "10.9.0.2"; want a relayd's address and port in quotes, like "10.9.0.2:51900" or "[fe80::2%wlan0]:51900"; or "auto"`},
		{"relay on another link", path + "relay = \"[fe80::2%wlan0]:51900\"\nrelay-key = \"" + relayKey + "\"",
			`f:3: path 1: relay: found the link "wlan0" in "[fe80::2%wlan0]:51900"; want the path's own device, "wwan0"`},
		{"relay key", path + "relay-key = \"abc\"",
			"f:3: path 1: relay-key: found 3 characters instead of 44 characters of base64; want a public key, as `relayd pubkey` prints it: 44 characters of base64 in quotes"},
		{"flag in quotes", path + "backup = \"yes\"",
			`f:3: path 1: backup: found the string "yes"; want true or false, without quotes`},
		{"weight of zero", path + "weight = 0",
			`f:3: path 1: weight: found the number 0; want a positive number without quotes, from 0.000001 to 1000000`},
		{"weight that is no number", path + "weight = nan",
			`f:3: path 1: weight: found the number NaN; want a positive number without quotes, from 0.000001 to 1000000`},
		{"rate without unit", path + "max-rate = 3600000",
			`f:3: path 1: max-rate: found the number 3600000; want a rate with its unit in quotes, like "3.6 Mbit/s" or "450 kB/s"`},
		{"rate with half a unit", path + "max-rate = \"3.6 Mb/s\"",
			`f:3: path 1: max-rate: found "3.6 Mb/s"; want a rate with its unit in quotes, like "3.6 Mbit/s" or "450 kB/s"`},
		{"same link twice", path + path,
			`f:4: path 2: device: found "wwan0", as path 1 has, and the same relay; want another device or another relay: twice the same link carries no more`},
		{"same name twice", path + "[[path]]\ndevice = \"b\"\nname = \"wwan0\"",
			`f:5: path 2: name: found "wwan0", which path 1 has; want a name = "…" of its own for each path`},
		{"too many paths", strings.Repeat("[[path]]\n", 17),
			`f:17: path: found 17 paths; want at most 16`},
		{"serve without listen", "[serve]\nupstream = \"127.0.0.1:1\"",
			`f:1: serve: found no listen; want listen = ":51820", the port that clients know`},
		{"listen", "[serve]\nlisten = 51820",
			`f:2: serve: listen: found the number 51820; want a port with or without an address in quotes, like ":51820" or "192.0.2.1:51820"`},
		{"upstream nowhere", "[serve]\nlisten = \":1\"\nupstream = \":2\"",
			`f:3: serve: upstream: found the string ":2"; want where the stock WireGuard listens, in quotes, like "127.0.0.1:51821"`},
		{"upstream on our own port", "[serve]\nlisten = \":51820\"\nupstream = \"127.0.0.1:51820\"",
			`f:3: serve: upstream: found "127.0.0.1:51820", which listen = ":51820" takes for itself; want another port there, and as ListenPort of the stock WireGuard`},
		{"serve of a wrong type", "serve = true",
			`f:1: serve: found true; want a table [serve]`},
		{"plugin of a wrong type", "[plugin]\nx = 1979-05-27",
			`f:2: plugin.x: found the date 1979-05-27; want tables [plugin.NAME]`},
		{"several at once, in order", "[[path]]\ndevice = 1\nbackup = 2\n[serve]\nlisten = 3",
			"f:2: path 1: device: found the number 1; want an interface's name in quotes, like \"wwan0\", or a pattern, like \"wwan*\"\n" +
				"f:3: path 1: backup: found the number 2; want true or false, without quotes\n" +
				"f:5: serve: listen: found the number 3; want a port with or without an address in quotes, like \":51820\" or \"192.0.2.1:51820\""},
	} {
		text := c.text
		if strings.Contains(c.want, "mine") {
			text += "\n[plugin.mine]"
		}
		cfg, err := Parse("f", []byte(text), builtin)
		if err == nil {
			t.Errorf("%s: no error, but %+v", c.name, cfg)
			continue
		}
		if diff := cmp.Diff(c.want, err.Error()); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// FuzzParse: no input may crash, every error names the file, and what is
// accepted keeps the promises of the types.
func FuzzParse(f *testing.F) {
	f.Add(everything)
	f.Add("path = [{device = \"a\"}, {device = \"b\", weight = 1e3}]\nserve.listen = \"1.2.3.4:5\"")
	f.Add("[[path]]\n[path.device]\n[plugin]\na.b.c = 1")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := Parse("file", []byte(text), builtin)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "file:") {
				t.Fatalf("the error does not name the file: %v", err)
			}
			return
		}
		seen := map[string]bool{}
		for _, p := range cfg.Paths {
			if (p.Device == "") == p.Match.IsZero() || p.Name == "" && p.Match.IsZero() || p.Name != "" && seen[p.Name] || !(p.Weight > 0) || p.MaxRate < 0 || p.Relay.IsValid() == p.RelayKey.IsZero() {
				t.Fatalf("accepted %+v", p)
			}
			seen[p.Name] = true
		}
	})
}
