package memory

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond"
)

var (
	noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	home = Key{"wifi", "wlan0", "192.168.1.0/24 2001:db8::/32"}
	dsl  = wgbond.Memory{Up: 125_000, Down: 2_500_000, RTT: 30_500 * time.Microsecond}
)

func open(t *testing.T, file string) *Book {
	t.Helper()
	b, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBook: what was learned is there again after a restart, for the same path,
// device and network alone, and the file is its owner's.
func TestBook(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "wg0.rates.json")
	b := open(t, file)
	b.Learn(home, dsl, noon)
	b.Learn(Key{"wifi", "wlan0", "10.0.0.0/16"}, wgbond.Memory{Down: 1000, RTT: time.Millisecond}, noon)
	if err := b.Close(noon); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want mode 0600: it names networks that were visited", info.Mode(), err)
	}
	b = open(t, file)
	for _, c := range []struct {
		at   Key
		want wgbond.Memory
	}{
		{home, dsl},
		{Key{"wifi", "wlan0", "192.168.1.0/24"}, dsl}, // no IPv6 yet
		{Key{"wifi", "wlan0", "2001:db8::/32 192.168.7.0/24"}, dsl},
		{Key{"wifi", "wlan0", "10.0.0.0/16"}, wgbond.Memory{Down: 1000, RTT: time.Millisecond}},
		{Key{"wifi", "wlan0", "192.168.7.0/24"}, wgbond.Memory{}},
		{Key{"wifi", "wlan1", home.Networks}, wgbond.Memory{}},
		{Key{"other", "wlan0", home.Networks}, wgbond.Memory{}},
		{Key{"wifi", "wlan0", ""}, wgbond.Memory{}},
	} {
		if got := b.Recall(c.at); got != c.want {
			t.Errorf("%+v: %+v, want %+v", c.at, got, c.want)
		}
	}
	var none *Book
	none.Learn(home, dsl, noon)
	if m := none.Recall(home); m != (wgbond.Memory{}) || none.Tick(noon) != nil || none.Close(noon) != nil {
		t.Errorf("the nil Book remembers %+v", m)
	}
}

// TestRarely: the file is written when there is news, and that not often.
func TestRarely(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	b := open(t, file)
	written := func(now time.Time) bool {
		t.Helper()
		os.Remove(file)
		if err := b.Tick(now); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(file)
		return err == nil
	}
	twice := dsl
	twice.Down *= 2
	for _, step := range []struct {
		after time.Duration
		learn wgbond.Memory
		want  bool
	}{
		{0, wgbond.Memory{}, false},
		{0, dsl, true},
		{time.Hour, dsl, false},
		{time.Hour, wgbond.Memory{Up: dsl.Up * 1.2, Down: dsl.Down * 0.8, RTT: dsl.RTT}, false},
		{2 * time.Hour, twice, true},
		{2*time.Hour + writeEvery - 1, dsl, false},
		{2*time.Hour + writeEvery, dsl, true},
		{27 * time.Hour, dsl, true}, // its date
	} {
		b.Learn(home, step.learn, noon.Add(step.after))
		if got := written(noon.Add(step.after)); got != step.want {
			t.Errorf("after %v, %+v: written %v", step.after, step.learn, got)
		}
	}
}

// TestForgets: what is old goes, and the oldest of too many; a clock that is not
// set makes nothing old.
func TestForgets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	b := open(t, file)
	at := func(i int) Key { return Key{"wifi", "wlan0", fmt.Sprintf("10.%d.0.0/16", i)} }
	for i := range 100 {
		b.Learn(at(i), dsl, noon.Add(time.Duration(i)*time.Minute))
	}
	count := func(now time.Time) (n int) {
		b.changed = true
		if err := b.Close(now); err != nil {
			t.Fatal(err)
		}
		b = open(t, file)
		for i := range 100 {
			if b.Recall(at(i)).Down > 0 {
				n++
			}
		}
		return n
	}
	if n := count(noon.Add(2 * time.Hour)); n != keepMost || b.Recall(at(99)).Down == 0 {
		t.Errorf("%d of 100 are left, want the newest %d", n, keepMost)
	}
	if n := count(time.Unix(0, 0)); n != keepMost {
		t.Errorf("with a clock at 1970 %d are left", n)
	}
	if n := count(noon.Add(keepFor + 90*time.Minute)); n != 10 {
		t.Errorf("after 30 days and an hour and a half %d are left, want those of the last ten minutes", n)
	}
}

// TestDamaged: a file that says nonsense costs what it said, with a warning.
func TestDamaged(t *testing.T) {
	good := `{"path":"wifi","device":"wlan0","networks":"192.168.1.0/24","up":125000,"down":2500000,"rtt_ms":30.5,"learnt":"2026-11-22T12:00:00Z"}`
	for _, c := range []struct{ content, warns string }{
		{"", "found what wg-bond did not write"},
		{"[" + good, "found what wg-bond did not write"},
		{`{"x":1}`, "found what wg-bond did not write"},
		{"[" + good + `,{}]`, "1 of 2 entries"},
		{"[" + good + "," + strings.Replace(good, "2500000", "-1", 1) + "]", "1 of 2 entries"},
		{"[" + good + "," + strings.Replace(good, "2500000", "1e300", 1) + "]", "1 of 2 entries"},
		{"[" + good + "," + strings.Replace(good, "30.5", "0", 1) + "]", "1 of 2 entries"},
		{"[" + good + "]", ""},
		{"[]", ""},
	} {
		file := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := Open(file)
		if (err != nil) != (c.warns != "") || err != nil && (!strings.Contains(err.Error(), c.warns) || !strings.Contains(err.Error(), file)) {
			t.Errorf("%s: %v, want a warning with %q", c.content, err, c.warns)
		}
		if want := strings.HasPrefix(c.content, "["+good) && c.content != "["+good; want != (b.Recall(home) == dsl) {
			t.Errorf("%s: %+v is remembered", c.content, b.Recall(home))
		}
		b.Learn(home, dsl, noon)
		b.changed = true
		if err := b.Close(noon); err != nil {
			t.Error(err)
		}
		if got := open(t, file).Recall(home); got != dsl {
			t.Errorf("%s: %+v after it was written anew", c.content, got)
		}
	}
	b, err := Open(t.TempDir())
	if err == nil || b == nil {
		t.Errorf("a directory in its place: %v, %v", b, err)
	}
}
