package quota

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func date(s string) time.Time {
	t, err := time.ParseInLocation("2006-01-02 15:04", s, time.Local)
	if err != nil {
		panic(err)
	}
	return t
}

const mb = 1_000_000

// open opens a ledger with a limit of 100 MB, reset on the 15th, for one path.
func open(t *testing.T, file string) *Ledger {
	t.Helper()
	l, err := Open(file, func(path string) Limit {
		if path == "modem" {
			return Limit{100 * mb, 15}
		}
		return Limit{}
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func tick(t *testing.T, l *Ledger, now time.Time) bool {
	t.Helper()
	changed, err := l.Tick(now)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// TestRestartAndPowerCut: a restart keeps the exact count; after a power cut at
// any moment the count is at least what was carried, and hardly more.
func TestRestartAndPowerCut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wg0", "usage.json")
	now := date("2026-11-22 12:00")
	l := open(t, file)
	var carried uint64
	for range 50 {
		l.Counter("modem").Add(mb)
		l.Counter("free").Add(mb)
		carried += mb
		tick(t, l, now)
		now = now.Add(time.Second)
		if got := open(t, file).Use("modem", now).Used; got < carried || got > carried+aheadLeast+mb {
			t.Fatalf("after a power cut at %d bytes the count is %d", carried, got)
		}
	}
	l.Counter("modem").Add(123)
	if err := l.Close(now); err != nil {
		t.Fatal(err)
	}
	u := open(t, file).Use("modem", now)
	if u.Used != carried+123 || u.Limit != 100*mb || !u.Until.Equal(date("2026-12-15 00:00")) || u.Exhausted {
		t.Errorf("after a restart: %+v", u)
	}
	if free := open(t, file).Use("free", now); free != (Use{}) {
		t.Errorf("a path without a limit: %+v", free)
	}
	data, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(data), "free") {
		t.Errorf("the file is %s, %v", data, err)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 1 {
		t.Errorf("in its directory are %v, %v", left, err)
	}
}

// TestExhaustion: the path ends before its limit, and begins anew on the day,
// whatever a clock that is not set yet shows meanwhile.
func TestExhaustion(t *testing.T) {
	file := filepath.Join(t.TempDir(), "usage.json")
	now := date("2026-11-22 12:00")
	l := open(t, file)
	for !tick(t, l, now) {
		l.Counter("modem").Add(7 * mb)
		now = now.Add(time.Second)
	}
	if u := l.Use("modem", now); !u.Exhausted || u.Used > 100*mb || u.Used < 86*mb {
		t.Errorf("at the end: %+v", u)
	}
	tick(t, l, now.Add(time.Second)) // it carries nothing more, and is no less exhausted for that
	if u := l.Use("modem", now); u.Used < 86*mb {
		t.Errorf("a second later: %+v", u)
	}
	l.Counter("modem").Add(20 * mb)
	tick(t, l, now)
	if err := l.Close(now); err != nil {
		t.Fatal(err)
	}
	l = open(t, file)
	if u := l.Use("modem", date("1970-01-01 00:01")); !u.Exhausted {
		t.Errorf("the clock is not set: %+v", u)
	}
	if !tick(t, l, date("1970-01-01 00:01")) || tick(t, l, date("1970-01-01 00:02")) {
		t.Error("that it is exhausted must be told once after the start, whatever the clock")
	}
	if u := l.Use("modem", date("2026-12-14 23:59")); !u.Exhausted {
		t.Errorf("a minute before: %+v", u)
	}
	if !tick(t, l, date("2026-12-15 00:00")) {
		t.Error("the reset is not told")
	}
	if u := l.Use("modem", date("2026-12-15 00:00")); u.Exhausted || u.Used != 0 {
		t.Errorf("on the day: %+v", u)
	}
}

func TestBroken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "usage.json")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(file, nil)
	if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("the error %v does not say where and what to do", err)
	}
	if data, _ := os.ReadFile(file); string(data) != "{" {
		t.Error("the file was touched")
	}
}
