package shim

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// Peer is a WireGuard peer that may bond.
type Peer struct {
	PublicKey    control.Key
	PresharedKey control.Key // zero: none
}

// Config makes a Shim.
type Config struct {
	// Listen is the public address. An unspecified IPv6 address, or none,
	// stands for all addresses of both families.
	Listen netip.AddrPort
	// Upstream is where the unmodified WireGuard listens.
	Upstream netip.AddrPort
	// Private is that WireGuard's private key, and Peers its peers: whoever
	// is one may bond. Others are passed on plainly, for WireGuard to judge.
	Private control.Key
	Peers   []Peer
	// Scheduler makes the scheduler of one session.
	Scheduler func() schedulers.Scheduler
	Mark      uint32 // fwmark of the public sockets
	Log       *slog.Logger
	// Trace is mux.Shell's.
	Trace func(session string) io.Writer
	// ListenPublic and ListenUpstream open sockets; nil: real ones.
	ListenPublic, ListenUpstream mux.ListenFunc
}

// Shim is a running shim.
type Shim struct {
	cfg    Config
	shell  *mux.Shell
	server *mux.Server
	flows  flows
	warn   sync.Once // that clients cannot have addresses of their own

	mu      sync.Mutex // guards all below; taken after the server's locks
	peers   map[control.Key]control.Key
	places  map[control.Key]uint32
	clients map[control.Key]*client

	closing atomic.Bool // no more clients
	quit    chan struct{}
	wg      sync.WaitGroup
}

// client is a bonded client's way to WireGuard; it is its session's Sink.
type client struct{ up *upstream }

func (c *client) Deliver(pkts [][]byte) {
	if pkts = c.up.m.shell.DropCopies(pkts); len(pkts) > 0 {
		c.up.deliver(pkts)
	}
}

// New opens the public sockets and serves.
func New(cfg Config) (*Shim, error) {
	if err := check(&cfg); err != nil {
		return nil, err
	}
	m := &Shim{
		cfg:     cfg,
		shell:   mux.NewShell(cfg.ListenPublic, cfg.Log),
		flows:   flows{byPeer: make(map[netip.AddrPort]*flow), bySource: make(map[netip.Prefix]int)},
		clients: make(map[control.Key]*client),
		quit:    make(chan struct{}),
	}
	m.shell.SetMark(cfg.Mark)
	m.shell.Trace = cfg.Trace
	m.setPeers(cfg.Peers)
	v4, v6, err := m.listen()
	if err != nil {
		return nil, fmt.Errorf("shim: %w", err)
	}
	m.server, err = m.shell.NewServer(mux.ServerConfig{
		Private:   cfg.Private,
		Lookup:    m.lookup,
		Scheduler: cfg.Scheduler,
		Sink:      m.sink,
		Ended:     m.ended,
		Plain:     m.plain,
	})
	if err != nil {
		for _, s := range []mux.Socket{v4, v6} {
			if s != nil {
				_ = s.Close()
			}
		}
		return nil, fmt.Errorf("shim: %w", err)
	}
	m.wg.Add(1)
	go m.sweep()
	m.server.Start(v4, v6)
	return m, nil
}

func check(cfg *Config) error {
	cfg.Upstream = netip.AddrPortFrom(cfg.Upstream.Addr().Unmap(), cfg.Upstream.Port())
	switch up := cfg.Upstream; {
	case !up.IsValid() || up.Port() == 0:
		return fmt.Errorf("shim: upstream %v: it must be the ip:port where the stock WireGuard listens, as 127.0.0.1:51821", up)
	case up.Addr().IsUnspecified():
		return fmt.Errorf("shim: upstream %v is no address to send to; for a WireGuard on this machine say 127.0.0.1:%d", up, up.Port())
	case up.Port() == cfg.Listen.Port() && up.Addr().IsLoopback():
		return fmt.Errorf("shim: upstream %v has the port that the shim itself shall listen on, %v: "+
			"give the stock WireGuard another (ListenPort = %d), and leave it this one", up, cfg.Listen, up.Port()+1)
	case cfg.Scheduler == nil:
		return errors.New("shim: Config.Scheduler is missing: it makes the scheduler of each session")
	}
	return nil
}

// listen opens the public sockets.
func (m *Shim) listen() (v4, v6 mux.Socket, err error) {
	addr, port := m.cfg.Listen.Addr().Unmap(), m.cfg.Listen.Port()
	open := func(a netip.Addr) (mux.Socket, error) {
		return m.shell.Listen(udp.Config{Local: netip.AddrPortFrom(a, port), PacketInfo: true})
	}
	switch {
	case addr.Is4():
		v4, err = open(addr)
		return v4, nil, err
	case addr.Is6() && !addr.IsUnspecified():
		v6, err = open(addr)
		return nil, v6, err
	}
	return m.shell.ListenAll(port)
}

// Port is the public port.
func (m *Shim) Port() uint16 { return m.server.Port() }

// SetPeers sets who may bond, at any time, with the whole list each time.
// Sessions of peers that are no longer listed, or whose preshared key is
// another, end.
func (m *Shim) SetPeers(peers []Peer) {
	was := m.setPeers(peers)
	m.server.Revoke(func(k control.Key) bool {
		psk, ok := m.lookup(k)
		return ok && psk == was[k]
	})
}

// setPeers returns the peers of before.
func (m *Shim) setPeers(peers []Peer) map[control.Key]control.Key {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.peers
	m.peers = make(map[control.Key]control.Key, len(peers))
	keys := make([]control.Key, 0, len(peers))
	for _, p := range peers {
		m.peers[p.PublicKey] = p.PresharedKey
		keys = append(keys, p.PublicKey)
	}
	m.places = offsets(keys)
	return was
}

func (m *Shim) lookup(peer control.Key) (control.Key, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	psk, ok := m.peers[peer]
	return psk, ok
}

// sink gives a new session its upstream socket.
func (m *Shim) sink(peer control.Key, s *mux.Session) (mux.Sink, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	place, ok := m.places[peer]
	if !ok || m.closing.Load() {
		return nil, errors.New("the peer is no longer allowed, or the shim is closing")
	}
	public := m.cfg.Listen.Port()
	if m.server != nil {
		public = m.server.Port()
	}
	up, err := m.dialUpstream(netip.AddrPortFrom(at(bondedBlock, place), localPort(m.cfg.Upstream.Port(), public)))
	if err != nil {
		return nil, err
	}
	c := &client{up}
	m.clients[peer] = c
	up.serve(mux.BatchSize, s.Send)
	return c, nil
}

func (m *Shim) ended(peer control.Key, _ *mux.Session) {
	m.mu.Lock()
	c := m.clients[peer]
	delete(m.clients, peer)
	m.mu.Unlock()
	if c != nil {
		c.up.close()
	}
}

// Close says farewell to the bonded clients and closes everything.
func (m *Shim) Close() error {
	if m.closing.Swap(true) {
		return nil
	}
	close(m.quit)
	m.server.Close(wire.CloseShutdown)
	for _, f := range m.flows.removeIf(func(*flow) bool { return true }) {
		f.up.close()
	}
	m.wg.Wait()
	return nil
}

// sweepEvery is how often silent flows are looked for.
const sweepEvery = 5 * time.Second

func (m *Shim) sweep() {
	defer m.wg.Done()
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-m.quit:
			return
		case <-t.C:
			for _, f := range m.flows.expire(m.shell.Now()) {
				f.up.close()
			}
		}
	}
}

// upstream is a socket to WireGuard that stands for one client.
type upstream struct {
	m    *Shim
	sock mux.Socket
}

// dialUpstream opens a socket at the given loopback address. Where clients
// cannot have loopback addresses of their own, they differ by port.
func (m *Shim) dialUpstream(local netip.AddrPort) (*upstream, error) {
	listen := m.cfg.ListenUpstream
	if listen == nil {
		listen = mux.ListenUDP
	}
	if up := m.cfg.Upstream.Addr(); !up.Is4() || !up.IsLoopback() {
		m.warn.Do(func() {
			m.shell.Log.Warn("the upstream is not in 127.0.0.0/8: all clients appear from one address there, and share "+
				"WireGuard's limit of 20 handshakes a second; upstream = \"127.0.0.1:PORT\" avoids that", "upstream", m.cfg.Upstream)
		})
		local = m.byPort(local)
	}
	sock, err := listen(udp.Config{Local: local})
	if errors.Is(err, syscall.EADDRNOTAVAIL) { // not Linux: only 127.0.0.1 is there
		m.warn.Do(func() {
			m.shell.Log.Warn("loopback addresses other than 127.0.0.1 are not set up: all clients appear from one address "+
				"and share WireGuard's limit of 20 handshakes a second", "tried", local)
		})
		local = m.byPort(local)
		sock, err = listen(udp.Config{Local: local})
	}
	if errors.Is(err, syscall.EADDRINUSE) && local.Port() != 0 {
		m.shell.Log.Warn("a client's own port is taken: WireGuard sees it at another, until it speaks after the next restart", "taken", local)
		sock, err = listen(udp.Config{Local: netip.AddrPortFrom(local.Addr(), 0)})
	}
	if err != nil {
		return nil, fmt.Errorf("upstream socket: %w", err)
	}
	return &upstream{m, sock}, nil
}

// byPort stands for a client's own address where there are none: the port,
// from 16384 on, is what remains of it.
func (m *Shim) byPort(local netip.AddrPort) netip.AddrPort {
	a := netip.IPv6Unspecified()
	switch up := m.cfg.Upstream.Addr(); {
	case up.IsLoopback() && up.Is4():
		a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case up.IsLoopback():
		a = netip.IPv6Loopback()
	case up.Is4():
		a = netip.IPv4Unspecified()
	}
	port := local.Port()
	if port != 0 {
		b := local.Addr().As4()
		port = 16384 + (uint16(b[2])<<8|uint16(b[3]))%16384
	}
	return netip.AddrPortFrom(a, port)
}

// deliver takes ownership of the datagrams, not of the slice.
func (u *upstream) deliver(pkts [][]byte) {
	_ = u.m.shell.Write(u.sock, pkts, u.m.cfg.Upstream, netip.Addr{}) // a failure is counted
	u.m.shell.Pool.PutAll(pkts)
}

// quietBatch is how many datagrams are read at once from an upstream socket that
// has not been busy yet: the memory of a quiet client.
const quietBatch = 16

// serve reads what WireGuard answers until the socket is closed, up to batch at
// once. take borrows what it is given.
func (u *upstream) serve(batch int, take func(pkts [][]byte)) {
	m := u.m
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		ms := m.shell.Messages(min(quietBatch, batch))
		defer func() { m.shell.Release(ms) }()
		pkts := make([][]byte, 0, batch)
		for {
			n, err := u.sock.ReadBatch(ms)
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					m.shell.Log.Error("upstream socket failed", "local", u.sock.LocalAddr(), "err", err)
				}
				return
			}
			pkts = pkts[:0]
			for i := range ms[:n] {
				if ms[i].Peer == m.cfg.Upstream {
					pkts = append(pkts, ms[i].Buf)
				} else {
					m.shell.Drops.Add(mux.DropNotUpstream, 1)
				}
			}
			if len(pkts) > 0 {
				take(pkts)
			}
			for i := range ms[:n] {
				ms[i].Buf = ms[i].Buf[:wgbond.MaxDatagram]
			}
			if n == len(ms) && n < batch {
				ms = append(ms, m.shell.Messages(batch-n)...)
			}
		}
	}()
}

func (u *upstream) close() { _ = u.sock.Close() }

// ClientStatus describes a bonded client.
type ClientStatus struct {
	PublicKey string         `json:"public_key"`
	Remote    netip.AddrPort `json:"remote"`   // one of its paths' addresses
	Upstream  netip.AddrPort `json:"upstream"` // the address that WireGuard sees
	Session   wgbond.Status  `json:"session"`
}

// Status describes the shim.
type Status struct {
	Port       uint16                 `json:"port"`
	Upstream   netip.AddrPort         `json:"upstream"`
	Clients    []ClientStatus         `json:"clients"`     // bonded, ordered by key
	PlainFlows int                    `json:"plain_flows"` // addresses of plain clients
	Handshakes control.ResponderStats `json:"handshakes"`
	Drops      map[string]uint64      `json:"drops"` // by the shell, by reason
}

// Status describes the shim.
func (m *Shim) Status() Status {
	st := Status{
		Port:       m.Port(),
		Upstream:   m.cfg.Upstream,
		Clients:    []ClientStatus{},
		PlainFlows: m.flows.len(),
		Handshakes: m.server.Handshakes(),
		Drops:      m.shell.Drops.Map(),
	}
	m.mu.Lock()
	ups := make(map[control.Key]*client, len(m.clients))
	for k, c := range m.clients {
		ups[k] = c
	}
	m.mu.Unlock()
	m.server.Sessions(func(k control.Key, s *mux.Session) {
		c := ClientStatus{PublicKey: k.String(), Remote: s.Remote().Peer, Session: s.Status()}
		if u := ups[k]; u != nil {
			c.Upstream = u.up.sock.LocalAddr()
		}
		st.Clients = append(st.Clients, c)
	})
	return st
}

// Peers lists the keys that may bond, in order.
func (m *Shim) Peers() []control.Key {
	m.mu.Lock()
	defer m.mu.Unlock()
	keys := make([]control.Key, 0, len(m.peers))
	for k := range m.peers {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b control.Key) int { return slices.Compare(a[:], b[:]) })
	return keys
}
