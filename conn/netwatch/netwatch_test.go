package netwatch

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	any4 = netip.MustParsePrefix("0.0.0.0/0")
	any6 = netip.MustParsePrefix("::/0")
	net4 = netip.MustParsePrefix("10.0.0.0/8")
)

func TestCandidates(t *testing.T) {
	links := []Link{
		{Index: 1, Name: "lo", Up: true, Loop: true},
		{Index: 2, Name: "eth0", Up: true},
		{Index: 3, Name: "wwan0", Up: true},
		{Index: 4, Name: "wlan0", Up: false},
		{Index: 5, Name: "wg0", Up: true, Kind: "wireguard"},
		{Index: 6, Name: "wgb0", Up: true, Kind: "tun"},
		{Index: 7, Name: "br0", Up: true, Kind: "bridge"},
	}
	for name, tc := range map[string]struct {
		routes  []Route
		exclude []string
		want    []string
	}{
		"no routes": {},
		"only default routes count": {
			routes: []Route{{Link: 2, Dst: net4, Table: mainTable}, {Link: 3, Dst: any4, Table: mainTable}},
			want:   []string{"wwan0"},
		},
		"by metric, each device once": {
			routes: []Route{
				{Link: 2, Dst: any4, Table: mainTable, Metric: 600},
				{Link: 3, Dst: any4, Table: mainTable, Metric: 100},
				{Link: 2, Dst: any6, Table: mainTable, Metric: 50},
			},
			want: []string{"eth0", "wwan0"},
		},
		"main table first, others after": {
			routes: []Route{
				{Link: 2, Dst: any4, Table: 2, Metric: 1},
				{Link: 7, Dst: any4, Table: 1, Metric: 9},
				{Link: 3, Dst: any4, Table: mainTable, Metric: 600},
			},
			want: []string{"wwan0", "br0", "eth0"},
		},
		"not through ourselves, nor by what is down": {
			routes: []Route{
				{Link: 1, Dst: any6, Table: mainTable},
				{Link: 4, Dst: any4, Table: mainTable},
				{Link: 5, Dst: any4, Table: 51820},
				{Link: 6, Dst: any4, Table: 51820},
				{Link: 2, Dst: any4, Table: mainTable},
			},
			exclude: []string{"wgb0"},
			want:    []string{"eth0"},
		},
		"unreachable is no default route": {
			routes: []Route{{Link: 2, Dst: any6, Table: mainTable, Unusable: true}},
		},
		"a device that has gone meanwhile": {
			routes: []Route{{Link: 99, Dst: any4, Table: mainTable}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, (State{links, tc.routes}).Candidates(tc.exclude)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestMatch(t *testing.T) {
	addr := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	links := []Link{
		{Name: "wwan0", Up: true, Driver: "cdc_mbim", USB: "1-2", Addrs: addr("10.1.2.3/30")},
		{Name: "wwan1", Up: true, Driver: "cdc_mbim", USB: "1-2.4", Addrs: addr("10.2.2.3/30")},
		{Name: "wwan2", Up: true, Driver: "qmi_wwan", USB: "1-21", Addrs: addr("10.1.9.3/30")},
		{Name: "wwan3", Up: false, Driver: "cdc_mbim", USB: "2-1", Addrs: addr("10.1.9.4/30")},
		{Name: "wwan4", Up: true, Driver: "cdc_mbim", USB: "2-2"},
		{Name: "eth0", Up: true, Driver: "r8169", Addrs: addr("2001:db8::1/64")},
	}
	for _, tc := range []struct {
		match Match
		want  []string
	}{
		{Match{}, nil},
		{Match{Device: "wwan*"}, []string{"wwan0", "wwan1", "wwan2"}},
		{Match{Device: "wwan[12]", Driver: "cdc_*"}, []string{"wwan1"}},
		{Match{Driver: "cdc_mbim"}, []string{"wwan0", "wwan1"}},
		{Match{USB: "1-2"}, []string{"wwan0", "wwan1"}}, // and what hangs from a hub there, but not 1-21
		{Match{USB: "1-2.4"}, []string{"wwan1"}},
		{Match{Network: netip.MustParsePrefix("10.1.0.0/16")}, []string{"wwan0", "wwan2"}},
		{Match{Network: netip.MustParsePrefix("2001:db8::/32")}, []string{"eth0"}},
		{Match{Device: "["}, nil}, // no pattern at all
	} {
		if diff := cmp.Diff(tc.want, State{Links: links}.Matching(tc.match, nil)); diff != "" {
			t.Errorf("%v: -want +got:\n%s", tc.match, diff)
		}
	}
}

func TestReach(t *testing.T) {
	prefixes := func(list ...string) (all []netip.Prefix) {
		for _, s := range list {
			all = append(all, netip.MustParsePrefix(s))
		}
		return all
	}
	s := State{
		Links: []Link{
			{Index: 1, Name: "four", Addrs: prefixes("10.0.0.2/24", "fe80::1/64")},
			{Index: 2, Name: "six", Addrs: prefixes("2001:db8::2/64")},
			{Index: 3, Name: "clat", Addrs: prefixes("192.0.0.4/32")},
			{Index: 4, Name: "lan", Addrs: prefixes("10.0.1.2/24", "fd00::2/64")},
			{Index: 5, Name: "none", Addrs: prefixes("fe80::1/64")},
			{Index: 6, Name: "modem", Addrs: prefixes("2001:db8:1::2/64", "10.7.12.6/30", "2001:db8:1::3/128")},
		},
		Routes: []Route{{Link: 1, Dst: any4}, {Link: 2, Dst: any6}, {Link: 3, Dst: any4}, {Link: 5, Dst: any6}, {Link: 4, Dst: any6, Unusable: true}},
	}
	for name, want := range map[string]Reach{
		"four":  {V4: Everywhere, Networks: "10.0.0.0/24"},
		"six":   {V6: Everywhere, Networks: "2001:db8::/32"},
		"clat":  {V4: Everywhere, CLAT: true, Networks: "192.0.0.0/16"},
		"lan":   {V4: Neighbour, V6: Neighbour, Networks: "10.0.1.0/24 fd00::/48"},
		"modem": {V4: Neighbour, V6: Neighbour, Networks: "10.7.0.0/16 2001:db8::/32"},
		"none":  {},
		"gone":  {},
	} {
		got := s.Reach(name)
		got.Addrs = ""
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}
