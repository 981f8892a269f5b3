package decide

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/cmd/internal/bondconf"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/plugins/host"
	"github.com/wg-bond/wg-bond/schedulers"
)

// start begins with a side file of that text; $FILE in errors is its path.
func start(t *testing.T, text string) (*Decider, string, error) {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "wg0.conf")
	write(t, conf, text)
	bond, err := bondconf.Load(conf, Names())
	if err != nil {
		t.Fatal(err)
	}
	d, err := Start(conf, bond, slog.New(slog.DiscardHandler))
	if err == nil {
		t.Cleanup(d.Close)
	}
	return d, conf, err
}

func write(t *testing.T, conf, text string) {
	t.Helper()
	if err := os.WriteFile(bondconf.PathFor(conf), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// capOf is the cap of the one path there is: queue × 1 MB/s for minrtt.
func capOf(s schedulers.Scheduler) int {
	var p schedulers.Plan
	s.Plan(&schedulers.Snapshot{Seq: 1, Paths: []schedulers.Path{{State: schedulers.Active, Rate: 1e6, MinRTT: 1e6, SRTT: 1e6}}}, &p)
	return p.Classes[schedulers.Bulk].Paths[0].Cap
}

// TestBuiltinParameters: a built-in takes parameters from its table, also those
// of a file that has changed.
func TestBuiltinParameters(t *testing.T) {
	d, conf, err := start(t, "scheduler = \"minrtt\"\n[plugin.minrtt]\nqueue = \"40 ms\"\n")
	if err != nil {
		t.Fatal(err)
	}
	session := d.NewScheduler()
	if got := capOf(session); got != 40_000 {
		t.Errorf("a cap of %d bytes, want 40 ms at 1 MB/s", got)
	}
	write(t, conf, "scheduler = \"minrtt\"\n[plugin.minrtt]\nqueue = \"50 ms\"\n")
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := capOf(session); got != 50_000 {
		t.Errorf("after the change a cap of %d bytes, want 50 ms at 1 MB/s", got)
	}
	// A mistake leaves everything as it was.
	write(t, conf, "scheduler = \"minrtt\"\n[plugin.minrtt]\nqueue = 60\n")
	if err := d.Reload(); err == nil || !strings.Contains(err.Error(), ":3: [plugin.minrtt] queue: found 60; want a duration") {
		t.Errorf("error %v", err)
	}
	if got := capOf(session); got != 50_000 {
		t.Errorf("after the mistake a cap of %d bytes, want 50 ms at 1 MB/s", got)
	}
}

// TestTrouble: what status says of a plugin.
func TestTrouble(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, c := range []struct {
		st   host.Status
		want string
	}{
		{host.Status{Running: true}, ""},
		{host.Status{Reason: "ended: signal: killed", At: now}, "it does not run, earliest decides: ended: signal: killed"},
		{host.Status{Running: true, Reason: "ended: signal: killed", At: ago(3 * time.Minute)}, "last trouble, " + status.Ago(3*time.Minute) + ": ended: signal: killed"},
		{host.Status{Running: true, Missed: "its plans come late", MissedAt: ago(time.Second), Reason: "it hung", At: ago(time.Minute)},
			"its plans come late; earliest decides meanwhile"},
		{host.Status{Running: true, Missed: "its plans come late", MissedAt: ago(time.Minute)}, ""},
	} {
		if got := troubleOf(&c.st, now); got != c.want {
			t.Errorf("%+v:\n got %q\nwant %q", c.st, got, c.want)
		}
	}
}

// TestMistakes: each with file, line and key, and what would be right, in the
// tables of schedulers that are not in charge too.
func TestMistakes(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"value", "[plugin.earliest]\n\nmargin = 10",
			`$FILE:3: [plugin.earliest] margin: found 10; want a duration in quotes, from "0s" to "10s"`},
		{"key", "scheduler = \"backup\"\n[plugin.backup]\nordre = [\"a\"]",
			`$FILE:3: [plugin.backup] ordre: found the unknown key "ordre"; want one of order`},
		{"two, of others than who is in charge", "scheduler = \"backup\"\n[plugin.auto]\nwait = \"1 ms\"\n[plugin.redundant]\nbulk = 1",
			"$FILE:3: [plugin.auto] wait: found \"1 ms\"; want a duration in quotes, from \"1s\" to \"1h0m0s\"\n" +
				"$FILE:5: [plugin.redundant] bulk: found 1; want true or false, without quotes"},
		{"no parameters", "[plugin.weighted]\nweights = { a = 1 }",
			`$FILE:2: [plugin.weighted] weights: found the unknown key "weights"; want nothing: it takes no parameters`},
		{"a built-in's name for a program", "[plugin.earliest]\npath = \"/opt/mine\"",
			`$FILE:2: [plugin.earliest] path: found the key of a program; want another name for the plugin: earliest is built in`},
		{"a program's own keys", "scheduler = \"mine\"\n[plugin.mine]\npath = 1\nnetwork = \"yes\"",
			"$FILE:3: [plugin.mine] path: found the number 1; want a text in quotes\n" +
				`$FILE:4: [plugin.mine] network: found the string "yes"; want true or false, without quotes`},
		{"a program that is not there", "scheduler = \"mine\"\n[plugin.mine]\npath = \"/nowhere/mine\"",
			`$FILE:2: [plugin.mine]: refused: the plugin /nowhere/mine: lstat /nowhere: no such file or directory`},
	} {
		_, conf, err := start(t, c.text)
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		if got := strings.ReplaceAll(err.Error(), bondconf.PathFor(conf), "$FILE"); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}
