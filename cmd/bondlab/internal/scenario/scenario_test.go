package scenario

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim"
)

const good = `
about = "two links"
[[link]]
name = "own"
down = { rate = "3.6Mbit", delay = "30ms", queue = "150ms" }
up = { rate = "1.4Mbit", delay = "30ms", queue = "64KiB" }
[[link]]
name = "lent"
via = "r"
[link.down]
trace = "lte.down"
delay = "25ms"
[link.up]
rate = "500kbit"
loss = "1%"
[workload]
download = "3MB"
[[event]]
what = "outage"
link = "lent"
at = "1s"
for = "2s"
`

var dir = fstest.MapFS{"lte.down": {Data: []byte("1\n2\n4\n")}}

func TestParse(t *testing.T) {
	s, err := Parse("x/two.toml", []byte(good), dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "two" || len(s.Links) != 2 || s.Workload.Download != 3e6 {
		t.Errorf("parsed %+v", s)
	}
	if n := s.Neighbours(); len(n) != 1 || n[0] != "r" {
		t.Errorf("neighbours %q, expected r", n)
	}
	c := s.Links[0].Down.Config(false)
	if c.Rate != 3.6e6 || c.Delay != 30*time.Millisecond || c.Queue != 67500 {
		t.Errorf("own down %+v: expected 3.6 Mbit/s, 30 ms, 150 ms of queue = 67500 bytes", c)
	}
	if c := s.Links[0].Up.Config(false); c.Queue != 65536 {
		t.Errorf("own up: queue %d, expected 65536", c.Queue)
	}
	if c := s.Links[1].Down.Config(false, s.Events[0].Outage()); c.Trace == nil || len(c.Outages) != 1 ||
		c.Outages[0] != (sim.Outage{From: time.Second, To: 3 * time.Second}) {
		t.Errorf("lent down %+v: expected the trace and the event's outage", c)
	}
	if c := s.Links[1].Up.Config(false); c.Loss != .01 {
		t.Errorf("lent up: loss %g, expected .01", c.Loss)
	}
	if c := s.Links[1].Up.Config(true); c.Loss != 0 {
		t.Errorf("lent up, clean: loss %g, expected none", c.Loss)
	}
}

// Every error names the file, the line, the key, what was found and what
// would be right.
func TestErrors(t *testing.T) {
	change := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("the good scenario has no %q", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", change(`about =`, `abuot =`), `f.toml:2: abuot: no such key`},
		{"mutual with a download", change("[[event]]", "[mutual]\nphase = \"1s\"\n[[event]]"), `f.toml:18: mutual: has flows of its own`},
		{"unknown inner key", change(`delay = "25ms"`, `dealy = "25ms"`), `f.toml:12: link[1].down.dealy: no such key`},
		{"rate without unit", change(`"3.6Mbit"`, `"3.6"`), `f.toml:5: link[0].down.rate: "3.6": want a rate like "3.6Mbit"`},
		{"rate a number", change(`"3.6Mbit"`, `true`), `f.toml:5: link[0].down.rate: "true": want a rate`},
		{"negative delay", change(`"25ms"`, `"-25ms"`), `f.toml:12: link[1].down.delay: "-25ms": want a time`},
		{"loss over 100 %", change(`"1%"`, `"101%"`), `f.toml:15: link[1].up.loss: "101%": want a share`},
		{"queue", change(`"64KiB"`, `"64 potatoes"`), `f.toml:6: link[0].up.queue: "64 potatoes": want a size`},
		{"no name", change(`name = "own"`, ``), `f.toml:3: link[0].name: ""`},
		{"same name", change(`name = "lent"`, `name = "own"`), `f.toml:8: link[1].name: "own": another link`},
		{"reserved neighbour", change(`via = "r"`, `via = "s"`), `f.toml:9: link[1].via: "s"`},
		{"two sources", change(`rate = "500kbit"`, "rate = \"500kbit\"\ntrace = \"lte.down\""), `f.toml:13: link[1].up: want one of`},
		{"no such trace", change(`"lte.down"`, `"lte.up"`), `f.toml:11: link[1].down.trace: open lte.up`},
		{"nothing to do", change(`download = "3MB"`, ``), `f.toml:16: workload: want one of`},
		{"event for nobody", change(`link = "lent"`, `link = "lost"`), `f.toml:20: event[0].link: "lost": no link`},
		{"unknown event", change(`what = "outage"`, `what = "flood"`), `f.toml:19: event[0].what: "flood": want`},
		{"syntax", change(`[workload]`, `[workload`), `f.toml:16: `},
		{"family", change(`[[link]]
name = "own"`, "family = 5\n[[link]]\nname = \"own\""), `family: 5: want 4 or 6`},
		{"behind nobody", change(`via = "r"`, "via = \"r\"\nbehind = \"x\""), `f.toml:10: link[1].behind: "x": want an earlier link`},
		{"behind, and its own", change(`via = "r"`, "via = \"r\"\nbehind = \"own\""), `f.toml:10: link[1].behind: "own" has its down and up`},
		{"overtaken share", change(`loss = "1%"`, `overtaken = { share = "5%", late = "soon" }`), `f.toml:15: link[1].up.overtaken.late: "soon": want a time`},
		{"flows", change(`download = "3MB"`, "download = \"3MB\"\nflows = -1"), `workload.flows: -1: want 1 to 100`},
		{"repeat", change(`download = "3MB"`, "bulk = \"9s\"\nrepeat = 2"), `workload.repeat: 2: want 1 or more, with a download`},
		{"empty", ``, `f.toml:1: link: none`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("f.toml", []byte(c.text), dir)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant …%s…", err, c.want)
			}
		})
	}
}

// The scenarios that come with the program all parse.
func TestLibrary(t *testing.T) {
	library := os.DirFS("../../scenarios")
	names := Names(library)
	if len(names) == 0 {
		t.Fatal("no scenarios")
	}
	for _, n := range names {
		s, err := Find(library, n)
		if err != nil {
			t.Error(err)
		} else if s.About == "" {
			t.Errorf("%s.toml says nothing about itself", n)
		}
	}
	if _, err := Find(library, "no-such"); err == nil || !strings.Contains(err.Error(), "seed") {
		t.Errorf("an unknown scenario's error should list the known ones, got %v", err)
	}
}

func TestCell(t *testing.T) {
	c := Cell{Seed: 1, Mean: 8e6, HandoverEvery: Duration(10 * time.Second), HandoverFor: Duration(time.Second)}
	a, err := c.trace()
	if err != nil {
		t.Fatal(err)
	}
	if r := a.Rate(); r < .97*8e6 || r > 1.03*8e6 {
		t.Errorf("mean rate %.3g bit/s, expected 8e6", r)
	}
	b, _ := c.trace()
	if a.Rate() != b.Rate() || a.Period() != b.Period() {
		t.Error("the same seed made two different links")
	}
	c.Seed = 2
	if d, _ := c.trace(); d.Rate() == a.Rate() && d.Period() == a.Period() {
		t.Error("two seeds made the same link")
	}
}
