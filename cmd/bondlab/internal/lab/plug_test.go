//go:build linux

package lab

import (
	"strings"
	"testing"
	"time"
)

// TestHotPlug: during one download devices are unplugged and plugged in, get
// other addresses, roam, and are forgotten by their NAT. The download survives
// in one piece, and after each change every path works again.
func TestHotPlug(t *testing.T) {
	l := buildWith(t, "hotplug", Options{Bin: buildPrograms(t)})
	c, err := l.StartBond(l.Links)
	if err != nil {
		t.Fatal(err)
	}
	const size = 24_000_000
	fetch := "curl --silent --show-error --max-time 240 '" + l.URL(size, "cubic") + "' | sha256sum"
	want, err := l.Host(Server).Output("sh", "-c", fetch) // not through the tunnel
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		sum string
		err error
	}
	done := make(chan result, 1)
	go func() {
		sum, err := l.Host(Borrower).Output("sh", "-c", fetch)
		done <- result{sum, err}
	}()
	lte, wifi, phone := l.Link("lte"), l.Link("wifi"), l.Link("phone")
	// inUse waits until the borrower uses so many paths.
	inUse := func(n int) {
		t.Helper()
		if err := c.bonded(n); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		name string
		do   func(*Link) error
		link *Link
		uses int
	}{
		{"the phone is unplugged", l.Unplug, phone, 2},
		{"the NAT forgets LTE", l.Rebind, lte, 2},
		{"the phone is back", l.Plug, phone, 3},
		{"Wi-Fi is renumbered", l.Renumber, wifi, 3},
		{"LTE is unplugged", l.Unplug, lte, 2},
		{"the phone's NAT forgets it", l.Rebind, phone, 2},
		{"LTE is back", l.Plug, lte, 3},
		{"Wi-Fi goes", l.Leave, wifi, 2},
		{"and comes elsewhere", l.Arrive, wifi, 3},
	} {
		if err := step.do(step.link); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		t.Log(step.name)
		inUse(step.uses)
	}
	select {
	case got := <-done:
		if got.err != nil || strings.TrimSpace(got.sum) != strings.TrimSpace(want) {
			t.Errorf("the download's sum is %q (%v), want %q", got.sum, got.err, want)
		}
	case <-time.After(4 * time.Minute):
		t.Error("the download does not end")
	}
	st, err := l.Status(Borrower)
	if err != nil {
		t.Fatal(err)
	}
	// A machine that stands still for half a second loses the bond, and makes it
	// again: that changes alone do not, wgbond's tests show.
	t.Logf("the bond was lost %d times", st.Peers[0].Bond.BondsLost)
}
