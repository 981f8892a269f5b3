package shim_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/conn"
	"github.com/wg-bond/wg-bond/conn/internal/wgtest"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/conn/shim"
	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// A crowd is many bonded clients at one server. They live in a process of their
// own, this test's program again, so that what the server costs can be told:
//
//	clients' process                         test's process
//	mux.Dialled ═ 4 sockets at 127.1.x.y ═══ shim or Bind ─── echo, in WireGuard's place
//
// They have no WireGuard: their data messages are counters and padding.

const (
	crowdPaths = 4  // of each client
	crowdEach  = 20 // data messages there and back, one after the other
)

// crowd is what the clients' process is told, as JSON in its environment.
type crowd struct {
	Server  netip.AddrPort
	Public  []byte   // the server's key
	Private [][]byte // the clients'
}

const crowdVariable = "WGBT_CROWD"

// TestCrowdOfClients is the clients' process, and nothing when run by itself. It
// says "bonded" when all are, answers a line with "echoed" when each had its data
// back, and ends with its input.
func TestCrowdOfClients(t *testing.T) {
	text := os.Getenv(crowdVariable)
	if text == "" {
		t.Skip("is started by TestCrowd")
	}
	var c crowd
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	var clients []*crowdClient
	bonded := 0
	for i, private := range c.Private {
		clients = append(clients, newCrowdClient(t, uint32(i+1), control.Key(private), &c))
		// All at once they would fill the server's queue for handshakes, and some
		// would try again only after half a minute.
		const atOnce = 10
		for ; bonded < len(clients) && (len(clients)-bonded >= atOnce || len(clients) == len(c.Private)); bonded++ {
			wgtest.Eventually(t, "a client to be bonded by all its paths", func() bool {
				st := clients[bonded].Status()
				return st.Bonded && attached(st.Paths) == crowdPaths
			})
		}
	}
	input := bufio.NewReader(os.Stdin)
	fmt.Println("bonded")
	if _, err := input.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() { c.echoes(t) })
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	fmt.Println("echoed")
	_, _ = io.Copy(io.Discard, input)
	for _, c := range clients {
		c.Close(wire.CloseShutdown)
	}
}

type crowdClient struct {
	*mux.Dialled
	index uint32
	back  chan uint64 // counters that came back
}

func newCrowdClient(t *testing.T, index uint32, private control.Key, c *crowd) *crowdClient {
	t.Helper()
	// An address of its own, as clients have: handshakes are limited by it.
	home := netip.AddrFrom4([4]byte{127, 1, byte(index >> 8), byte(index)})
	shell := mux.NewShell(func(cfg udp.Config) (mux.Socket, error) {
		cfg.Local = netip.AddrPortFrom(home, 0)
		return mux.ListenUDP(cfg)
	}, nil)
	client := &crowdClient{index: index, back: make(chan uint64, 2*crowdEach)}
	d, err := shell.Dial(mux.DialConfig{
		Target: c.Server, Private: private, Remote: control.Key(c.Public), Scheduler: builtin.All[0].New(),
		Sink: sinkFunc(func(pkts [][]byte) {
			for _, p := range pkts {
				select {
				case client.back <- binary.LittleEndian.Uint64(p[8:]):
				default: // more than were sent: copies
				}
			}
			shell.Pool.PutAll(pkts)
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	client.Dialled = d
	var paths []mux.Path
	for i := range crowdPaths {
		paths = append(paths, mux.Path{PathSpec: mux.PathSpec{Name: fmt.Sprint(i)}})
	}
	d.SetPaths(paths)
	d.Start()
	return client
}

type sinkFunc func(pkts [][]byte)

func (f sinkFunc) Deliver(pkts [][]byte) { f(pkts) }

// echoes sends data messages and waits for each; one that is lost, as on a
// busy machine's loopback, is followed by another.
func (c *crowdClient) echoes(t *testing.T) {
	again := time.NewTicker(time.Second)
	defer again.Stop()
	pkt := make([]byte, 1200)
	pkt[0] = wire.TypeWGData
	binary.LittleEndian.PutUint32(pkt[4:], c.index)
	var counter uint64
	for n := range crowdEach {
		deadline := time.After(wgtest.Patience)
		for back := false; !back; counter++ {
			binary.LittleEndian.PutUint64(pkt[8:], counter)
			c.Send([][]byte{pkt})
			select {
			case <-c.back:
				back = true
			case <-again.C:
			case <-deadline:
				t.Errorf("client %d: %d of %d data messages came back", c.index, n, crowdEach)
				return
			}
		}
	}
}

// TestCrowd: one server serves 200 bonded clients with 4 paths each; what that
// costs is bounded, and told.
func TestCrowd(t *testing.T) {
	for name, c := range map[string]struct {
		size  int
		serve func(t *testing.T, private control.Key, peers []control.Key) (port uint16, bonded func() int)
	}{
		"shim": {200, crowdShim}, "bind": {40, crowdBind},
	} {
		t.Run(name, func(t *testing.T) {
			crowdSize, serve := c.size, c.serve
			if wgtest.Slowness > 1 {
				crowdSize = min(c.size/wgtest.Slowness, 10)
			}
			private := wgtest.Key(t)
			public := private.Public()
			c := crowd{Public: public[:]}
			var peers []control.Key
			for range crowdSize {
				k := wgtest.Key(t)
				c.Private = append(c.Private, k[:])
				peers = append(peers, k.Public())
			}
			port, bonded := serve(t, private, peers)
			c.Server = netip.MustParseAddrPort(wgtest.Loopback(port))
			empty := footprint()
			text, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestCrowdOfClients$")
			cmd.Env = append(os.Environ(), crowdVariable+"="+string(text))
			cmd.Stderr = os.Stderr
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			hear := func(want string) {
				t.Helper()
				if !lines.Scan() || lines.Text() != want {
					t.Fatalf("the clients say %q, want %q; %v", lines.Text(), want, cmd.Wait())
				}
			}
			hear("bonded")
			wgtest.Eventually(t, "all clients to be bonded by all paths at the server, too", func() bool { return bonded() == crowdSize })
			t.Logf("%d clients bonded by %d paths after %v", crowdSize, crowdPaths, time.Since(began).Round(time.Millisecond))
			tell := func(when string) (perClient cost) {
				now := footprint()
				perClient = cost{(now.memory - empty.memory) / crowdSize, (now.goroutines - empty.goroutines) / crowdSize, 0}
				t.Logf("%s: %d bytes and %d goroutines a client", when, perClient.memory, perClient.goroutines)
				return perClient
			}
			tell("bonded")
			if _, err := io.WriteString(in, "go\n"); err != nil {
				t.Fatal(err)
			}
			hear("echoed")
			wgtest.Eventually(t, "a client to cost at most 1 MiB and 8 goroutines, when all that was under way has passed", func() bool {
				after := tell(fmt.Sprintf("after %d data messages each way", crowdEach))
				// Under the race detector memory is another's matter, and clients too few to share it.
				return (after.memory <= 1<<20 || wgtest.Slowness > 1) && after.goroutines <= 8
			})
			t.Logf("processor time of the server so far: %v for all", footprint().cpu-empty.cpu)
			in.Close()
			for lines.Scan() { // the testing package's own words
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("the clients' process: %v", err)
			}
			wgtest.Eventually(t, "the server to forget them", func() bool { return bonded() == 0 })
		})
	}
}

// cost is what a process holds: bytes of heap and stacks, goroutines, and the
// processor time that it has used.
type cost struct {
	memory, goroutines int
	cpu                time.Duration
}

func footprint() cost {
	runtime.GC()
	runtime.GC() // what sync.Pool keeps goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return cost{int(m.HeapAlloc + m.StackInuse), runtime.NumGoroutine(), processorTime()}
}

// crowdShim serves by a shim before an echo.
func crowdShim(t *testing.T, private control.Key, keys []control.Key) (port uint16, bonded func() int) {
	echo, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, wgbond.MaxDatagram)
		for {
			n, from, err := echo.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if wire.Kind(buf[:n]) == wire.WGData {
				_, _ = echo.WriteToUDPAddrPort(buf[:n], from) // the client asks again
			}
		}
	}()
	t.Cleanup(func() { echo.Close() })
	var peers []shim.Peer
	for _, k := range keys {
		peers = append(peers, shim.Peer{PublicKey: k})
	}
	m, err := shim.New(shim.Config{
		Listen: netip.MustParseAddrPort("127.0.0.1:0"), Upstream: echo.LocalAddr().(*net.UDPAddr).AddrPort(),
		Private: private, Peers: peers, Scheduler: builtin.All[0].New,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m.Port(), func() (n int) {
		for _, c := range m.Status().Clients {
			if c.Session.Bonded && attached(c.Session.Paths) == crowdPaths {
				n++
			}
		}
		return n
	}
}

// crowdBind serves by the Bind of `wg-bond up`, whose WireGuard is an echo.
func crowdBind(t *testing.T, private control.Key, keys []control.Key) (port uint16, bonded func() int) {
	b, err := conn.NewBind(conn.Config{Scheduler: builtin.All[0].New})
	if err != nil {
		t.Fatal(err)
	}
	var peers []conn.Peer
	for _, k := range keys {
		peers = append(peers, conn.Peer{PublicKey: k})
	}
	if err := b.SetPeers(private, peers); err != nil {
		t.Fatal(err)
	}
	receive, port, err := b.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		n := b.BatchSize()
		bufs, sizes, eps := make([][]byte, n), make([]int, n), make([]wgconn.Endpoint, n)
		for i := range bufs {
			bufs[i] = make([]byte, wgbond.MaxDatagram)
		}
		for {
			n, err := receive[0](bufs, sizes, eps)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			for i := range n {
				if pkt := bufs[i][:sizes[i]]; wire.Kind(pkt) == wire.WGData {
					_ = b.Send([][]byte{pkt}, eps[i]) // the client asks again
				}
			}
		}
	}()
	t.Cleanup(func() { _ = b.Shutdown() })
	return port, func() (n int) {
		for _, p := range b.Status().Peers {
			if p.Session.Bonded && attached(p.Session.Paths) == crowdPaths {
				n++
			}
		}
		return n
	}
}
