package ledger

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func at(text string) time.Time {
	t, err := time.Parse(time.DateTime, text)
	if err != nil {
		panic(err)
	}
	return t
}

func open(t *testing.T, cfg Config) *Ledger {
	t.Helper()
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestResetDay(t *testing.T) {
	if _, err := Open(Config{ResetDay: 32}); err == nil {
		t.Error("day 32 is taken")
	}
}

// TestQuota: lending stops at the quota exactly, also over restarts, and begins
// anew on the reset day.
func TestQuota(t *testing.T) {
	const quota = 1_000_003
	cfg := Config{File: filepath.Join(t.TempDir(), "ledger.json"), Quota: quota, ResetDay: 5}
	now := at("2026-11-22 13:00:00")
	carried, restarts := uint64(0), 0
	l := open(t, cfg)
	if l.Meter().Take(0, 1) {
		t.Error("a byte was lent that nobody debited")
	}
	for {
		if err := l.Settle(now); err != nil {
			t.Fatal(err)
		}
		before := carried
		for l.Meter().Take(0, 1) {
			if carried++; carried%150_000 == 0 {
				break
			}
		}
		l.Add("alice", Carried{Down: carried - before})
		if carried == before {
			break
		}
		if carried%150_000 == 0 { // stopped in peace
			restarts++
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = open(t, cfg)
		}
		now = now.Add(time.Second)
	}
	if carried != quota || restarts < 5 {
		t.Errorf("%d bytes were lent of %d, with %d restarts", carried, quota, restarts)
	}
	if m := l.Month(now); m.Used != quota || m.Borrowers["alice"].Down != quota || l.Left() != 0 {
		t.Errorf("the books say %+v, %d left", m, l.Left())
	}
	now = at("2026-12-05 00:00:00")
	if err := l.Settle(now); err != nil {
		t.Fatal(err)
	}
	if m := l.Month(now); m.Used != 0 || len(m.Borrowers) != 0 || l.Left() != quota || !l.Meter().Take(0, 1500) {
		t.Errorf("on the reset day the books say %+v, %d left", m, l.Left())
	}
	// A clock that is set back does not open the quota anew.
	if err := l.Settle(at("2026-11-30 00:00:00")); err != nil || l.Left() != quota-1500 {
		t.Errorf("with the clock set back %d are left, %v", l.Left(), err)
	}
}

// TestWriteFails: what cannot be written down is not lent.
func TestWriteFails(t *testing.T) {
	l := open(t, Config{File: filepath.Join(t.TempDir(), "missing", "ledger.json"), Quota: 1e9})
	if err := l.Settle(at("2026-11-22 13:00:00")); err == nil {
		t.Error("no error")
	}
	if l.Meter().Take(0, 1) || l.Left() != 1e9 {
		t.Errorf("something was lent; %d left", l.Left())
	}
}

func TestUnreadable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ledger.json")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{File: file}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v, want the file's name and what to do", err)
	}
}

// TestNoQuota: without one all goes, and is counted.
func TestNoQuota(t *testing.T) {
	l := open(t, Config{})
	now := at("2026-11-22 13:00:00")
	if err := l.Settle(now); err != nil || !l.Meter().Take(0, 1<<40) {
		t.Errorf("%v", err)
	}
	l.Add("alice", Carried{1, 2})
	l.Add("bob", Carried{3, 4})
	l.Add("alice", Carried{5, 6})
	if m := l.Month(now); m.Used != 21 || m.Borrowers["alice"] != (Carried{6, 8}) {
		t.Errorf("%+v", m)
	}
}

const borrowEnv = "WGBT_LEDGER"

// TestMain is also a lender that lends as fast as it can and says how much,
// until it is killed.
func TestMain(m *testing.M) {
	if file := os.Getenv(borrowEnv); file != "" {
		lendUntilKilled(file)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const killQuota = 300_000_000

func lendUntilKilled(file string) {
	quota, err := strconv.ParseUint(os.Getenv(borrowEnv+"_QUOTA"), 10, 64)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	l, err := Open(Config{File: file, Quota: quota})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	fmt.Println("left", l.Left())
	seed, _ := strconv.ParseUint(os.Getenv(borrowEnv+"_SEED"), 10, 64)
	r := rand.New(rand.NewPCG(seed, 1))
	for lent := 0; ; {
		if err := l.Settle(time.Now()); err != nil {
			fmt.Println("error", err)
			return
		}
		if l.Left() == 0 {
			fmt.Println("over", lent)
			return
		}
		for range 200 {
			// It is carried once it is said, and not before.
			n := 1 + r.IntN(min(1500, int(max(1, l.Left()))))
			if !l.Meter().Take(0, n) {
				break
			}
			lent += n
		}
		fmt.Println("lent", lent)
	}
}

func lenderEnv(file string, quota int, seed uint64) []string {
	return append(os.Environ(), borrowEnv+"="+file, fmt.Sprintf("%s_QUOTA=%d", borrowEnv, quota), fmt.Sprintf("%s_SEED=%d", borrowEnv, seed))
}

// lives runs a lender, strikes it once it has said so many things, and tells how
// much it found left, how much it lent, and whether that was all.
func lives(t *testing.T, cmd *exec.Cmd, until int, strike func()) (left, lent int, over bool) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		what, value, _ := strings.Cut(lines.Text(), " ")
		if what == "error" {
			t.Fatal(value)
		}
		said, err := strconv.Atoi(value)
		if err != nil {
			t.Fatal(lines.Text())
		}
		if what == "left" {
			left = said
		} else {
			lent, over = said, what == "over"
		}
		if n == until {
			strike()
		}
	}
	_ = cmd.Wait()
	return left, lent, over
}

// TestKilled: a lender that is killed again and again, without notice and at
// whatever moment, lends no byte beyond its quota.
func TestKilled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ledger.json")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	total, kills := 0, 0
	for over := false; !over; kills++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = lenderEnv(file, killQuota, seed+uint64(kills))
		left, lent, ended := lives(t, cmd, 1+r.IntN(300), func() { _ = cmd.Process.Kill() })
		if total+left > killQuota {
			t.Fatalf("after %d kills %d bytes were lent, and %d are left of %d", kills, total, left, killQuota)
		}
		total, over = total+lent, ended
	}
	if total > killQuota {
		t.Errorf("%d bytes were lent of %d", total, killQuota)
	}
	if kills < 4 {
		t.Errorf("only %d kills: this showed less than it says", kills)
	}
	t.Logf("%d kills; %d bytes lent of %d: %.2f %% lost by the kills", kills, total, killQuota, 100-100*float64(total)/killQuota)
}
