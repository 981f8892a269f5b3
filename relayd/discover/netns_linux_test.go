package discover

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netns"
)

const patience = time.Minute

// home is two machines:
//
//	borrower 10.77.0.1 ── wlan0 10.77.0.2 lender 10.77.1.1 wan0 ── provider 10.77.1.2
type home struct {
	t                          *testing.T
	borrower, lender, provider string
}

func newHome(t *testing.T) *home {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("the ip command is not installed")
	}
	pid := os.Getpid()
	h := &home{t: t, borrower: fmt.Sprintf("wgbt-db%d", pid), lender: fmt.Sprintf("wgbt-dl%d", pid), provider: fmt.Sprintf("wgbt-dp%d", pid)}
	for _, ns := range []string{h.borrower, h.lender, h.provider} {
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() }) // gone if making it failed
		if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
			t.Skipf("cannot make network namespaces here: %v: %s", err, out)
		}
	}
	h.wire(h.borrower, "wlan0", "10.77.0.1/24", h.lender, "wlan0", "10.77.0.2/24")
	h.wire(h.lender, "wan0", "10.77.1.1/24", h.provider, "wan0", "10.77.1.2/24")
	return h
}

func (h *home) ip(ns, args string) {
	h.t.Helper()
	if out, err := exec.Command("ip", append([]string{"-n", ns}, strings.Fields(args)...)...).CombinedOutput(); err != nil {
		h.t.Fatalf("ip -n %s %s: %v: %s", ns, args, err, out)
	}
}

func (h *home) wire(a, aDev, aAddr, b, bDev, bAddr string) {
	h.t.Helper()
	h.ip(a, "link add "+aDev+" type veth peer name "+bDev+" netns "+b)
	for _, end := range [][3]string{{a, aDev, aAddr}, {b, bDev, bAddr}} {
		h.ip(end[0], "address add "+end[2]+" dev "+end[1])
		h.ip(end[0], "link set "+end[1]+" up")
	}
}

// in runs f in a namespace, in a goroutine of its own whose thread ends with
// it. What f opens stays there. The answer waits for it.
func (h *home) in(ns string, f func()) (wait func()) {
	h.t.Helper()
	done, entered := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(done)
		runtime.LockOSThread()
		n, err := netns.GetFromName(ns)
		if err == nil {
			defer n.Close()
			err = netns.Set(n)
		}
		if entered <- err; err == nil {
			f()
		}
	}()
	if err := <-entered; err != nil {
		h.t.Fatal(err)
	}
	return func() { <-done }
}

func (h *home) open(ns, device string) *link {
	h.t.Helper()
	var l *link
	var err error
	h.in(ns, func() { l, err = openLink(device) })()
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(l.close)
	return l
}

var quiet = slog.New(slog.DiscardHandler)

// announce has the lender announce on wlan0 until stop.
func (h *home) announce() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	a := &Announcer{Service: func() (Service, bool) { return lent, true }, Log: quiet}
	wait := h.in(h.lender, func() {
		keepLink(ctx, "wlan0", quiet, func(l *link, changed <-chan struct{}) { a.serve(ctx, l, changed) })
	})
	stop = sync.OnceFunc(func() { cancel(); wait() })
	h.t.Cleanup(stop)
	return stop
}

func TestLendersComeAndGo(t *testing.T) {
	h := newHome(t)
	ctx, cancel := context.WithCancel(context.Background())
	news := make(chan []Lender, 64)
	wait := h.in(h.borrower, func() { Browse(ctx, "wlan0", quiet, func(ls []Lender) { news <- ls }) })
	defer func() { cancel(); wait() }()
	await := func(what string, n int) []Lender {
		t.Helper()
		select {
		case ls := <-news:
			if len(ls) != n {
				t.Fatalf("%s: %v", what, ls)
			}
			return ls
		case <-time.After(patience):
			t.Fatalf("%s: no news", what)
			return nil
		}
	}
	stop := h.announce()
	l := await("it comes", 1)[0]
	if l.Key != lent.Key || l.Device != "wlan0" || l.At != netip.MustParseAddrPort("10.77.0.2:51900") || l.Terms != lent.Terms {
		t.Errorf("found %+v", l)
	}
	stop()
	await("it says farewell", 0)
	h.announce()
	await("it comes again", 1)
}

func TestNothingOnTheWANSide(t *testing.T) {
	h := newHome(t)
	provider, borrower := h.open(h.provider, "wan0"), h.open(h.borrower, "wlan0")
	// Another program of the lender's machine, such as a printer's, has joined
	// the group there: the kernel then hands what comes by wan0 to every socket
	// on this port.
	h.open(h.lender, "wan0")
	h.announce()
	ask := &dns.Msg{MsgHdr: dns.MsgHdr{Id: 7}, Question: []dns.Question{browseQuestion}}
	alone := ask.Copy()
	alone.Question[0].Qclass |= unicastBit
	// The borrower asks until a question of its own is answered: none is while
	// the announcer is not there yet, or has only just answered one.
	own := alone.Copy()
	borrowerAsks := func() {
		t.Helper()
		own.Id += 1000
		for end := time.Now().Add(patience); time.Now().Before(end); {
			if err := borrower.multicast(own); err != nil {
				t.Fatal(err)
			}
			for again := time.After(2 * everyUnicast); again != nil; {
				select {
				case m := <-borrower.in:
					if m.msg.Response && m.msg.Id == own.Id {
						return
					}
				case <-again:
					again = nil
				}
			}
		}
		t.Fatal("the borrower gets no answer")
	}
	borrowerAsks()
	// One goes straight to the lender's address there.
	var straight net.Conn
	var err error
	h.in(h.provider, func() { straight, err = net.Dial("udp4", "10.77.1.1:5353") })()
	if err != nil {
		t.Fatal(err)
	}
	defer straight.Close()
	for range 3 {
		if b, err := alone.Pack(); err != nil {
			t.Fatal(err)
		} else if _, err := straight.Write(b); err != nil {
			t.Fatal(err)
		}
		for _, m := range []*dns.Msg{ask, alone} {
			if err := provider.multicast(m); err != nil {
				t.Fatal(err)
			}
		}
		// The announcer takes what comes in turn: once the borrower, who asks
		// later, has its answer, those above have had theirs, if any.
		borrowerAsks()
	}
	for n := len(provider.in); n > 0; n-- {
		if m := <-provider.in; m.msg.Response {
			t.Errorf("an answer or announcement went out on the WAN side: %v", m.msg)
		}
	}
	if err := straight.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := straight.Read(make([]byte, 1500)); err == nil {
		t.Errorf("the lender answers a query to its WAN address by %d bytes", n)
	}
}
