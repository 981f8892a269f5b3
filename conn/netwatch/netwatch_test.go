package netwatch

import (
	"errors"
	"net/netip"
	"runtime"
	"slices"
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
			if diff := cmp.Diff(tc.want, Candidates(links, tc.routes, tc.exclude...)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestDevices reads the machine's own routes, whatever they are: every device
// found must be among its links, and one that is excluded must not.
func TestDevices(t *testing.T) {
	names, err := Devices()
	if runtime.GOOS != "linux" {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Fatalf("error %v, want errors.ErrUnsupported", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	links, _, err := read()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if !slices.ContainsFunc(links, func(l Link) bool { return l.Name == n && l.Up }) {
			t.Errorf("device %q is not among the links that are up: %+v", n, links)
		}
		rest, err := Devices(n)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(rest, n) {
			t.Errorf("device %q is found although excluded", n)
		}
	}
	if !slices.ContainsFunc(links, func(l Link) bool { return l.Loop }) {
		t.Errorf("the loopback is not among the links: %+v", links)
	}
}
