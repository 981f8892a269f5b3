package conn

import (
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/conn/internal/wgtest"
	"github.com/wg-bond/wg-bond/conn/memory"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/trace"
)

// TestRemembered: a path begins with what is remembered of it in its network, and
// tells the server; in another network both begin anew; and what is learned is kept.
func TestRemembered(t *testing.T) {
	book, err := memory.Open(filepath.Join(t.TempDir(), "rates.json"))
	if err != nil {
		t.Fatal(err)
	}
	home := memory.Key{Path: "a", Device: "a", Networks: "192.168.8.0/24"}
	told := wgbond.Memory{Up: 1e6, Down: 2e6, RTT: time.Hour} // so that any round trip is news
	book.Learn(home, told, time.Now())

	f, seen := newFakeDevices("a"), &traces{}
	p := &pair{net: wgtest.NewNet(), serverBind: bindWith(t, Config{Trace: seen.open}, wgtest.NewNet())}
	p.clientBind = bindWith(t, Config{Memory: book, Watch: f.open}, p.net, "a")
	p.connect(t)
	p.client.Up(t)
	p.bonded(t, 1)
	wgtest.Transfer(t, p.client, p.server, true, 1<<18)

	elsewhere := devices("a")
	elsewhere.Links[0].Addrs = []netip.Prefix{netip.MustParsePrefix("192.168.9.7/24")}
	f.set(elsewhere)
	wgtest.Eventually(t, "what was learned at home is noted when the path leaves", func() bool {
		m := book.Recall(home)
		return m.RTT < time.Minute && m.Up > 0 && m.Down > 0
	})
	wgtest.Transfer(t, p.client, p.server, true, 1<<18)
	if err := p.clientBind.Shutdown(); err != nil {
		t.Error(err)
	}
	if err := p.serverBind.Shutdown(); err != nil {
		t.Error(err)
	}
	atHome, elsewhereToo := false, false
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for _, w := range seen.all {
		if w.Len() == 0 {
			continue
		}
		_, entries, err := trace.Read(&w.Buffer)
		if err != nil {
			t.Fatal(err)
		}
		for e, err := range entries {
			if err != nil {
				t.Fatal(err)
			}
			if c, ok := e.Event.(*trace.ControlGot); ok {
				has := func(kind string) bool {
					return slices.ContainsFunc(c.Frames, func(f trace.Frame) bool { return f.Kind == kind })
				}
				atHome = atHome || has("reached") && has("attach")
				elsewhereToo = elsewhereToo || has("reached") && !has("attach")
			}
		}
	}
	if !atHome || !elsewhereToo {
		t.Errorf("the server was told at home: %v, and elsewhere: %v", atHome, elsewhereToo)
	}
}
