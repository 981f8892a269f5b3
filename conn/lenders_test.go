package conn

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

func lenderNo(n byte) Lender {
	return Lender{Name: string('a' + rune(n)), Key: control.Key{1: n + 1}, At: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 51900)}
}

func TestLendersAreChosen(t *testing.T) {
	var l lenders
	at, now := seat{0, "wlan0"}, time.Minute
	open := map[control.Key]bool{}
	choose := func() (names string, again time.Duration) {
		use, again := l.choose(at, control.Key{}, now, func(f Lender) bool { return open[f.Key] })
		for _, f := range use {
			names += f.Name
		}
		return names, again
	}
	expect := func(what, want string) {
		t.Helper()
		if got, _ := choose(); got != want {
			t.Errorf("%s: %q are used, want %q", what, got, want)
		}
	}
	expect("nobody is there", "")
	l.set("wlan0", []Lender{lenderNo(0), lenderNo(1)})
	l.set("eth0", []Lender{lenderNo(9)})
	expect("two are there", "ab")
	open[lenderNo(0).Key] = true
	l.set("wlan0", nil)
	expect("somebody says farewell for them, but a's lease is in force", "a")
	open[lenderNo(0).Key] = false
	expect("and then it is not", "")

	var many []Lender
	for n := range byte(6) {
		many = append(many, lenderNo(n))
	}
	l.set("wlan0", many)
	expect("six are there", "abcd")
	open[lenderNo(1).Key] = true
	_, again := choose()
	if again != now+lenderTries {
		t.Errorf("asked again at %v", again)
	}
	now = again
	expect("only b lends", "bef"+"a") // a had its turn, and has it again now that a place is left
	now += lenderTries
	expect("they take turns", "bcd"+"a")
	open[lenderNo(2).Key], open[lenderNo(3).Key], open[lenderNo(0).Key] = true, true, true
	now += 10 * lenderTries
	expect("four lend", "bcda")
	if use, _ := l.choose(seat{1, "wlan0"}, lenderNo(5).Key, now, func(Lender) bool { return false }); len(use) != 1 || use[0].Name != "f" {
		t.Errorf("of one key alone: %v", use)
	}
}

func TestEntryByLenders(t *testing.T) {
	code, err := lease.NewCode(zeros{}, lenderNo(1).Key)
	if err != nil {
		t.Fatal(err)
	}
	var s pathSet
	found := []Lender{lenderNo(0), lenderNo(1)}
	choose := func(at seat, _ control.Key) ([]Lender, time.Duration) {
		if at.device != "wlan0" {
			return nil, 0
		}
		return found, 0
	}
	s.update([]mux.PathSpec{
		{Name: "own", Device: "wwan0"},
		{Name: "street", Device: "wlan0", Auto: true, Code: code, Metered: true},
		{Name: "eth0-relay", Device: "eth0", Auto: true},
	}, devices("wwan0", "wlan0", "eth0"), nil, 0, choose)
	var got []mux.PathSpec
	for _, p := range s.paths {
		got = append(got, p.PathSpec)
	}
	want := []mux.PathSpec{
		{Name: "own", Device: "wwan0"},
		{Name: "street-a", Device: "wlan0", Relay: found[0].At, RelayKey: found[0].Key, Metered: true},
		{Name: "street-b", Device: "wlan0", Relay: found[1].At, RelayKey: found[1].Key, Metered: true, Code: code},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b mux.PathSpec) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(s.absent) != 1 || s.absent[0].Device != "eth0" || len(s.seeking) != 2 {
		t.Errorf("absent %+v, sought on %v", s.absent, s.seeking)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { b[0] = 1; return len(b), nil }
