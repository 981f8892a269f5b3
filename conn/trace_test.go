package conn

import (
	"bytes"
	"io"
	"net/netip"
	"sync"
	"testing"

	"github.com/wg-bond/wg-bond/conn/internal/wgtest"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/wgbond/trace"
)

// traces keeps what sessions write; those that write nothing do not count.
type traces struct {
	mu  sync.Mutex
	all []*written
}

type written struct {
	*traces
	session string
	bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Buffer.Write(p)
}

func (a *traces) open(session string) io.Writer {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, &written{traces: a, session: session})
	return a.all[len(a.all)-1]
}

// read counts the one trace's events, and data messages that came.
func (a *traces) read(t *testing.T, role string) (h trace.Header, got uint64, events map[string]int) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	events = map[string]int{}
	n := 0
	for _, w := range a.all {
		if w.Len() == 0 {
			continue
		}
		n++
		header, entries, err := trace.Read(&w.Buffer)
		if err != nil {
			t.Fatal(err)
		}
		if h = header; h.Session != w.session || h.Role != role || h.Started == "" {
			t.Errorf("header %+v of the %s's session %s", h, role, w.session)
		}
		for e, err := range entries {
			if err != nil {
				t.Fatal(err)
			}
			events[e.Event.Name()]++
		}
	}
	if n != 1 {
		t.Errorf("%d traces of a %s with one session", n, role)
	}
	return h, uint64(events["got"]), events
}

// TestTrace: real sessions' traces are whole once the Binds are shut down.
func TestTrace(t *testing.T) {
	net := wgtest.NewNet()
	var ofClient, ofServer traces
	bind := func(tr *traces, paths ...mux.PathSpec) *Bind {
		b, err := NewBind(Config{Scheduler: newEven, Listen: net.Listen, Trace: tr.open, Paths: paths})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	p := &pair{net: net, serverBind: bind(&ofServer), clientBind: bind(&ofClient, mux.PathSpec{Name: "a", Device: "a"}, mux.PathSpec{Name: "b", Device: "b"})}
	p.connect(t)
	p.client.Up(t)
	p.bonded(t, 2)
	wgtest.Transfer(t, p.client, p.server, true, 1<<20)
	wgtest.Transfer(t, p.client, p.server, false, 1<<20)
	var got [2]uint64
	binds := []*Bind{p.clientBind, p.serverBind}
	for i, b := range binds { // both before the first says farewell to the other
		got[i] = sessionOf(t, b).Got
	}
	for _, b := range binds {
		if err := b.Shutdown(); err != nil {
			t.Fatal(err)
		}
	}
	h, n, events := ofClient.read(t, "client")
	if want := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), p.port).String(); h.Session != want {
		t.Errorf("session %q, want the address dialled, %s", h.Session, want)
	}
	if n < got[0] || got[0] == 0 {
		t.Errorf("the client's trace has %d data messages, the session got %d by then", n, got[0])
	}
	for _, name := range []string{"path", "state", "mode", "bond", "plan", "bind", "sent", "ack", "control_sent", "control_got"} {
		if events[name] == 0 {
			t.Errorf("no event %q in the client's trace: %v", name, events)
		}
	}
	if events["path"] < 2 || events["untraced"] > 0 {
		t.Errorf("the client's trace: %v", events)
	}
	if _, n, _ := ofServer.read(t, "server"); n < got[1] || got[1] == 0 {
		t.Errorf("the server's trace has %d data messages, the session got %d by then", n, got[1])
	}
}
