package udp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// world is a network namespace without a name: it ends with the last handle
// and socket in it, whatever becomes of the test.
type world struct {
	t  *testing.T
	ns netns.NsHandle
	*netlink.Handle
}

// newWorlds makes network namespaces with their loopback up. The test's thread
// is put into the first; enter changes that.
func newWorlds(t *testing.T, n int) []*world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A thread that cannot go home stays locked and ends with the test.
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		_ = home.Close()
	})
	worlds := make([]*world, n)
	for i := range worlds {
		w := &world{t: t}
		if w.ns, err = netns.New(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.ns.Close() })
		if w.Handle, err = netlink.NewHandleAt(w.ns); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Handle.Close)
		w.up("lo")
		worlds[i] = w
	}
	worlds[0].enter()
	return worlds
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// enter puts the thread into the namespace.
func (w *world) enter() { w.t.Helper(); w.must(netns.Set(w.ns)) }

// open opens a socket in the namespace.
func (w *world) open(cfg Config) *Socket {
	w.t.Helper()
	before, err := netns.Get()
	w.must(err)
	w.enter()
	s := open(w.t, cfg)
	w.must(netns.Set(before))
	w.must(before.Close())
	return s
}

func (w *world) link(name string) netlink.Link {
	w.t.Helper()
	l, err := w.LinkByName(name)
	w.must(err)
	return l
}

// up gives a device addresses ("10.0.0.1/24") and brings it up.
func (w *world) up(name string, addrs ...string) {
	w.t.Helper()
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		w.must(err)
		addr.Flags = unix.IFA_F_NODAD // usable at once
		w.must(w.AddrAdd(w.link(name), addr))
	}
	w.must(w.LinkSetUp(w.link(name)))
}

// ready waits until the kernel has taken in that a device, whose other end has
// come up, carries: a worker of its own does that, and until then the device
// loses packets and its IPv6 addresses cannot be used.
func (w *world) ready(name string) {
	w.t.Helper()
	eventually(w.t, name+" carries", func() bool {
		link := w.link(name)
		addrs, err := w.AddrList(link, netlink.FAMILY_V6)
		w.must(err)
		for _, a := range addrs {
			if a.Flags&unix.IFA_F_NODAD != 0 && a.Flags&unix.IFA_F_TENTATIVE != 0 {
				return false
			}
		}
		return link.Attrs().OperState == netlink.OperUp
	})
}

// cable joins two namespaces by a veth pair with the same name at both ends.
func cable(a, b *world, name string) {
	a.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	a.must(a.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name + "-"}))
	a.must(a.LinkSetNsFd(a.link(name+"-"), int(b.ns)))
	b.must(b.LinkSetName(b.link(name+"-"), name))
}

// Two modems with the same addresses: only the binding tells them apart.
func TestBindToDevice(t *testing.T) {
	w := newWorlds(t, 2)
	here, there := w[0], w[1]
	for _, dev := range []string{"wgbt-a", "wgbt-b"} {
		cable(here, there, dev)
		here.up(dev, "10.0.0.2/24")
		there.up(dev, "10.0.0.1/24")
		here.ready(dev)
		there.ready(dev)
	}
	for _, dev := range []string{"wgbt-b", "wgbt-a"} {
		tx := here.open(Config{Local: netip.MustParseAddrPort("0.0.0.0:0"), Device: dev})
		right := there.open(Config{Local: netip.MustParseAddrPort("0.0.0.0:0"), Device: dev})
		to := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), right.LocalAddr().Port())
		other := map[string]string{"wgbt-a": "wgbt-b", "wgbt-b": "wgbt-a"}[dev]
		wrong := there.open(Config{Local: netip.AddrPortFrom(netip.IPv4Unspecified(), to.Port()), Device: other})

		bufs := append(equal(20, 1400), []byte(dev))
		if n, err := tx.WriteBatch(bufs, to, netip.Addr{}); n != len(bufs) || err != nil {
			t.Fatalf("%s: WriteBatch = %d, %v", dev, n, err)
		}
		for i, got := range receiveAll(t, right, len(bufs)) {
			if !bytes.Equal(got, bufs[i]) {
				t.Errorf("%s: datagram %d: %d bytes", dev, i, len(got))
			}
		}
		// Had any come by the other device, it would come before this one.
		last := here.open(Config{Local: netip.MustParseAddrPort("0.0.0.0:0"), Device: other})
		if _, err := last.WriteBatch([][]byte{[]byte("last")}, to, netip.Addr{}); err != nil {
			t.Fatal(err)
		}
		if got := receiveAll(t, wrong, 1); string(got[0]) != "last" {
			t.Errorf("%s: %d bytes came by %s", dev, len(got[0]), other)
		}
	}

	// A modem is pulled out.
	s := here.open(Config{Local: netip.MustParseAddrPort("0.0.0.0:0"), Device: "wgbt-a"})
	here.must(here.LinkDel(here.link("wgbt-a")))
	n, err := s.WriteBatch(equal(2, 10), netip.MustParseAddrPort("10.0.0.1:9"), netip.Addr{})
	if n != 0 || !Gone(err) {
		t.Errorf("by a device that was removed: %d, %v", n, err)
	}
}

// A datagram that is too long is refused alone, not fragmented, and not taken
// for the fault of trains.
func TestTooLong(t *testing.T) {
	w := newWorlds(t, 1)[0]
	w.must(w.LinkSetMTU(w.link("lo"), 1500))
	for i, fits := range []int{1500 - 28, 1500 - 48} {
		cfg := Config{Local: netip.AddrPortFrom(families[i].loopback, 0)}
		a, b := w.open(cfg), w.open(cfg)
		bufs := append(append(equal(3, fits), equal(2, fits+1)...), equal(3, 100)...)
		var refused []int
		for sent := 0; sent < len(bufs); sent++ {
			n, err := a.WriteBatch(bufs[sent:], b.LocalAddr(), netip.Addr{})
			if sent += n; err == nil {
				break
			}
			if !TooLong(err) || Gone(err) {
				t.Fatalf("%s: datagram %d: %v", families[i].name, sent, err)
			}
			refused = append(refused, sent)
		}
		if !slices.Equal(refused, []int{3, 4}) {
			t.Errorf("%s: datagrams 3 and 4 should be refused, were %v", families[i].name, refused)
		}
		want := slices.Delete(bufs, 3, 5)
		if got := receiveAll(t, b, len(want)); !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("%s: what arrived is not what was sent", families[i].name)
		}
		if st := a.Stats(); st.TooLong != 2 || st.Sent != 6 || !st.GSO {
			t.Errorf("%s: two too long, six sent, trains still in use: %+v", families[i].name, st)
		}
	}
}

// Packets carry the mark, and SetMark changes it. Loopback keeps marks, and
// SO_RCVMARK shows them.
func TestMark(t *testing.T) {
	w := newWorlds(t, 1)[0]
	rx, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	w.must(err)
	defer rx.Close()
	w.must(rx.SetReadDeadline(time.Now().Add(patience)))
	raw, err := rx.SyscallConn()
	w.must(err)
	w.must(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVMARK, 1) }))
	if err != nil {
		t.Skip("this kernel has no SO_RCVMARK: ", err)
	}
	s := w.open(Config{Local: netip.MustParseAddrPort("127.0.0.1:0"), Mark: 0xca6c})
	for i, mark := range []uint32{0xca6c, 7, 0} {
		if i > 0 {
			w.must(s.SetMark(mark))
		}
		_, err := s.WriteBatch(equal(1, 10), rx.LocalAddr().(*net.UDPAddr).AddrPort(), netip.Addr{})
		w.must(err)
		oob := make([]byte, 100)
		_, n, _, _, err := rx.ReadMsgUDPAddrPort(make([]byte, 100), oob)
		w.must(err)
		h, data, _, err := unix.ParseOneSocketControlMessage(oob[:n])
		w.must(err)
		if got := binary.NativeEndian.Uint32(data); h.Type != unix.SO_MARK || got != mark {
			t.Errorf("the packet carries mark %#x, want %#x", got, mark)
		}
	}
}

func TestNoRoute(t *testing.T) {
	w := newWorlds(t, 1)[0]
	for i, to := range []string{"10.0.0.2:9", "[fd00::2]:9"} {
		local := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}[i]
		s := w.open(Config{Local: netip.AddrPortFrom(local, 0)})
		n, err := s.WriteBatch(equal(3, 10), netip.MustParseAddrPort(to), netip.Addr{})
		if n != 0 || !Gone(err) {
			t.Errorf("to %s: %d, %v", to, n, err)
		}
		if st := s.Stats(); st.Gone != 1 || !st.GSO {
			t.Errorf("to %s: one loss should be counted and trains not be blamed: %+v", to, st)
		}
	}
}

// A multi-homed server's addresses, and link-local ones with their zones.
func TestPacketInfoIPv6(t *testing.T) {
	w := newWorlds(t, 2)
	here, there := w[0], w[1]
	cable(here, there, "wgbt-a")
	here.up("wgbt-a", "fd00::1/64", "fe80::1/64")
	there.up("wgbt-a", "fd00::2/64", "fd00::3/64", "fe80::2/64")
	here.ready("wgbt-a")
	there.ready("wgbt-a")
	server := there.open(Config{Local: netip.MustParseAddrPort("[::]:0"), PacketInfo: true})
	client := here.open(Config{Local: netip.MustParseAddrPort("[::]:0")})
	for _, c := range []struct{ server, client string }{
		{"fd00::2", "fd00::1"},
		{"fd00::3", "fd00::1"},
		{"fe80::2%wgbt-a", "fe80::1%wgbt-a"},
	} {
		at := netip.AddrPortFrom(netip.MustParseAddr(c.server), server.LocalAddr().Port())
		me := netip.AddrPortFrom(netip.MustParseAddr(c.client), client.LocalAddr().Port())
		if n, err := client.WriteBatch(equal(5, 700), at, me.Addr()); n != 5 || err != nil {
			t.Fatalf("%v: WriteBatch = %d, %v", c, n, err)
		}
		ms := messages(5, 700)
		n, err := server.ReadBatch(ms)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms[:n] {
			if m.Peer != me || m.Local != at.Addr() {
				t.Errorf("from %v to %v, want %v to %v", m.Peer, m.Local, me, at.Addr())
			}
		}
		for got := n; got < 5; got += n {
			if n, err = server.ReadBatch(ms); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := server.WriteBatch(equal(5, 700), ms[0].Peer, ms[0].Local); n != 5 || err != nil {
			t.Fatalf("%v: WriteBatch back = %d, %v", c, n, err)
		}
		for got := 0; got < 5; got += n {
			ms := messages(5, 700)
			if n, err = client.ReadBatch(ms); err != nil {
				t.Fatal(err)
			}
			if ms[0].Peer != at {
				t.Errorf("the answer came from %v, want %v", ms[0].Peer, at)
			}
		}
	}
	// A zone that is no device.
	n, err := client.WriteBatch(equal(1, 1), netip.MustParseAddrPort("[fe80::2%wgbt-z]:9"), netip.Addr{})
	if n != 0 || !Gone(err) {
		t.Errorf("to a zone that is no device: %d, %v", n, err)
	}
}

// While a neighbour's address is not resolved, datagrams wait in the kernel
// and fill a small send buffer: WriteBatch waits, until it may go on or the
// socket is closed.
func TestFullSendBuffer(t *testing.T) {
	for _, end := range []string{"resolved", "closed"} {
		t.Run(end, func(t *testing.T) {
			w := newWorlds(t, 2)
			here, there := w[0], w[1]
			cable(here, there, "wgbt-a")
			here.up("wgbt-a", "10.0.0.1/24")
			there.must(there.LinkSetARPOff(there.link("wgbt-a"))) // answers nobody
			there.up("wgbt-a", "10.0.0.2/24")
			here.ready("wgbt-a")
			there.ready("wgbt-a")
			s := here.open(Config{Local: netip.MustParseAddrPort("0.0.0.0:0"), SendBuffer: 1})
			rx := there.open(Config{Local: netip.MustParseAddrPort("10.0.0.2:0")})

			const datagrams = 64
			type result struct {
				n   int
				err error
			}
			done := make(chan result)
			go func() {
				var r result
				// Of unlike sizes, so that they go one by one.
				bufs := make([][]byte, datagrams)
				for i := range bufs {
					bufs[i] = make([]byte, 1000+i)
				}
				r.n, r.err = s.WriteBatch(bufs, rx.LocalAddr(), netip.Addr{})
				done <- r
			}()
			eventually(t, "a wait for the send buffer", func() bool { return s.Stats().SendWaits > 0 })
			if end == "closed" {
				here.must(s.Close())
				if r := <-done; r.n >= datagrams || !errors.Is(r.err, net.ErrClosed) {
					t.Errorf("closed while it waited: %d sent, %v", r.n, r.err)
				}
				return
			}
			here.must(here.NeighSet(&netlink.Neigh{
				LinkIndex:    here.link("wgbt-a").Attrs().Index,
				State:        netlink.NUD_PERMANENT,
				IP:           net.IPv4(10, 0, 0, 2),
				HardwareAddr: there.link("wgbt-a").Attrs().HardwareAddr,
			}))
			select {
			case r := <-done:
				if r.n != datagrams || r.err != nil {
					t.Errorf("resolved while it waited: %d sent, %v", r.n, r.err)
				}
			case <-time.After(patience):
				t.Fatal("WriteBatch still waits though the neighbour is resolved")
			}
			receiveAll(t, rx, datagrams)
		})
	}
}
