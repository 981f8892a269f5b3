package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/conn/memory"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/conn/netwatch"
	"github.com/wg-bond/wg-bond/conn/quota"
	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// Config makes a Bind.
type Config struct {
	// Paths to dial peers by. None: every device with a default route, as
	// they come and go. Those that have a Match stand for the devices that fit:
	// with a Name for one of them, without for each.
	Paths []mux.PathSpec
	// Exclude names devices that are never a path unless one is named for
	// them: tunnels above all. It is asked whenever devices change; nil: none.
	Exclude func() []string
	// Seek is told on which devices lenders are wanted, whenever that changes;
	// the answers come by SetLenders. It must not block. Nil: nobody looks.
	Seek func(devices []string)
	// Fits is told the largest MTU of the tunnel of which every packet fits some
	// path to each peer that we dial, whenever that changes; 0: what the tunnel has
	// does. It is called by one goroutine at a time. Nil: nobody asks.
	Fits func(mtu int)
	// Scheduler makes the scheduler of one session.
	Scheduler func() schedulers.Scheduler
	// Mark is the fwmark of all sockets until SetMark says otherwise.
	Mark uint32
	// Log may be nil.
	Log *slog.Logger
	// Trace is mux.Shell's.
	Trace func(session string) io.Writer
	// Listen opens sockets; nil: real ones.
	Listen mux.ListenFunc
	// Watch opens what tells of the devices; nil: netwatch.Open.
	Watch func() (Watcher, error)
	// Ledger counts what paths carry and knows their quotas; nil: none have one.
	Ledger *quota.Ledger
	// Memory remembers what paths carried in the networks where they were; nil:
	// nothing does. It is written while the Bind is open, and not closed.
	Memory *memory.Book
	// Lookup finds the addresses of a Peer.Name; nil: names are not looked up.
	// With mark, that of the sockets, its questions leave around the tunnel.
	Lookup func(ctx context.Context, mark uint32, name string) ([]netip.AddrPort, error)
	// NAT64 asks the name servers that a device leads to for the prefix by which
	// its network reaches IPv4 hosts; nil: nobody asks. mark is as for Lookup.
	NAT64 func(ctx context.Context, mark uint32, device string) (netip.Prefix, error)
}

// Watcher tells of the network devices; *netwatch.Watcher is one.
type Watcher interface {
	Read() (netwatch.State, error)
	// Changes has a value when something has changed; closed or nil: that
	// cannot be told.
	Changes() <-chan struct{}
	Close()
}

// Bind is a wireguard-go conn.Bind that bonds. See the package's
// documentation for its goroutines and locks.
type Bind struct {
	cfg   Config
	shell *mux.Shell

	// Read by every Send.
	dialled atomic.Pointer[map[netip.AddrPort]*dialledPeer]
	server  atomic.Pointer[mux.Server] // nil until there is a private key
	queue   atomic.Pointer[queue]      // nil while closed

	plainMu   sync.RWMutex // guards plainEps; a leaf
	plainEps  map[wgbond.Remote]*Endpoint
	allowedMu sync.RWMutex
	allowed   map[control.Key]control.Key // public → preshared; a leaf's map

	// configured are the addresses that ParseEndpoint was given.
	configuredMu sync.Mutex // a leaf
	configured   map[netip.AddrPort]struct{}

	// mu guards all below and keeps Open, Close, SetMark and SetPeers apart.
	mu      sync.Mutex
	private control.Key
	peers   []Peer
	paths   pathSet
	lenders lenders
	sought  []string // as Seek was told
	mark    uint32
	watch   *watch // nil while closed
	// translators are the networks' that have no IPv4, by device.
	translators map[string]*translator
}

var _ wgconn.Bind = (*Bind)(nil)

// NewBind makes a closed Bind.
func NewBind(cfg Config) (*Bind, error) {
	if cfg.Scheduler == nil {
		return nil, errors.New("bind: Config.Scheduler is missing: it makes the scheduler of each session")
	}
	if cfg.Watch == nil {
		cfg.Watch = func() (Watcher, error) {
			w, err := netwatch.Open()
			if err != nil {
				return nil, err // not w: a nil *netwatch.Watcher is no nil Watcher
			}
			return w, nil
		}
	}
	if cfg.Exclude == nil {
		cfg.Exclude = func() []string { return nil }
	}
	if err := checkPaths(cfg.Paths); err != nil {
		return nil, err
	}
	b := &Bind{
		cfg:      cfg,
		shell:    mux.NewShell(cfg.Listen, cfg.Log),
		plainEps: make(map[wgbond.Remote]*Endpoint),

		configured: make(map[netip.AddrPort]struct{}),
		allowed:    make(map[control.Key]control.Key),
		paths:      pathSet{ledger: cfg.Ledger},
		mark:       cfg.Mark,
	}
	b.shell.SetMark(cfg.Mark)
	b.shell.Trace = cfg.Trace
	b.shell.Memory = cfg.Memory
	b.dialled.Store(&map[netip.AddrPort]*dialledPeer{})
	return b, nil
}

// checkPaths finds what cannot be.
func checkPaths(paths []mux.PathSpec) error {
	if len(paths) > schedulers.MaxPaths {
		return fmt.Errorf("bind: %d paths; a session can have %d", len(paths), schedulers.MaxPaths)
	}
	for i, p := range paths {
		if slices.Contains(paths[:i], p) {
			return fmt.Errorf("bind: path %q is there twice", p.Name)
		}
		if p.Relay.IsValid() && p.RelayKey.IsZero() {
			return fmt.Errorf("bind: path %q has a relay, %v, without the relay's public key", p.Name, p.Relay)
		}
	}
	return nil
}

// sink leads a session's deliveries to wireguard-go.
type sink struct {
	b  *Bind
	ep *Endpoint
}

func (k *sink) Deliver(pkts [][]byte) { k.b.push(k.ep, pkts) }

func (b *Bind) push(ep *Endpoint, pkts [][]byte) {
	pkts = b.shell.DropCopies(pkts)
	if q := b.queue.Load(); q != nil {
		q.push(ep, pkts)
		return
	}
	b.shell.Drops.Add(mux.DropClosed, len(pkts))
	b.shell.Pool.PutAll(pkts)
}

// maxPlainEndpoints bounds the memory of plain peers' endpoints.
const maxPlainEndpoints = 4096

// plain passes on datagrams that belong to no session.
func (b *Bind) plain(from wgbond.Remote, pkts [][]byte) {
	b.plainMu.RLock()
	ep := b.plainEps[from]
	b.plainMu.RUnlock()
	if ep == nil {
		b.plainMu.Lock()
		ep = b.plainEndpointLocked(from)
		b.plainMu.Unlock()
	}
	if from.Local.IsValid() && ep.src.Load() == nil {
		ep.src.Store(&from.Local)
	}
	b.push(ep, pkts)
}

func (b *Bind) plainEndpointLocked(at wgbond.Remote) *Endpoint {
	ep := b.plainEps[at]
	if ep == nil {
		if len(b.plainEps) >= maxPlainEndpoints {
			clear(b.plainEps) // wireguard-go keeps those that it uses
		}
		ep = &Endpoint{addr: at.Peer}
		b.plainEps[at] = ep
	}
	return ep
}

// Open listens on port, for peers that dial us and for plain ones, and opens
// the dialled peers' paths. Sessions of before Close go on.
func (b *Bind) Open(port uint16) ([]wgconn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queue.Load() != nil {
		return nil, 0, wgconn.ErrBindAlreadyOpen
	}
	v := b.server.Load()
	if v == nil {
		var err error
		if v, err = b.newServer(); err != nil {
			return nil, 0, err
		}
		b.server.Store(v)
	}
	v4, v6, err := b.shell.ListenAll(port)
	if err != nil {
		return nil, 0, err
	}
	q := newQueue(b.shell)
	b.queue.Store(q)
	v.Start(v4, v6)
	b.watchLocked()
	for _, d := range *b.dialled.Load() {
		d.Start()
	}
	return []wgconn.ReceiveFunc{q.receive}, v.Port(), nil
}

// Close closes all sockets and ends all goroutines. It keeps the sessions: a
// device line of the UAPI closes and opens again within a moment.
func (b *Bind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closeLocked()
}

func (b *Bind) closeLocked() error {
	q := b.queue.Swap(nil)
	if q == nil {
		return nil
	}
	b.unwatchLocked()
	for _, d := range *b.dialled.Load() {
		d.Stop()
	}
	b.server.Load().Stop()
	q.close()
	return nil
}

// Shutdown says farewell to all peers, so that they need not find out by
// silence, and closes. The Bind may be opened again with new sessions.
func (b *Bind) Shutdown() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queue.Load() == nil {
		return nil
	}
	for _, d := range *b.dialled.Load() {
		d.Close(wire.CloseShutdown)
	}
	b.server.Load().Close(wire.CloseShutdown)
	err := b.closeLocked()
	b.server.Store(nil)
	return errors.Join(err, b.redialLocked(true))
}

// SetMark sets the fwmark of all sockets, open or to come.
func (b *Bind) SetMark(mark uint32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mark = mark
	b.shell.SetMark(mark)
	var errs []error
	if v := b.server.Load(); v != nil {
		errs = append(errs, v.SetMark(mark))
	}
	for _, d := range *b.dialled.Load() {
		errs = append(errs, d.SetMark(mark))
	}
	return errors.Join(errs...)
}

// BatchSize is how many datagrams go in and out at once.
func (b *Bind) BatchSize() int { return mux.BatchSize }

// ParseEndpoint reads "ip:port" or "[ip]:port".
func (b *Bind) ParseEndpoint(s string) (wgconn.Endpoint, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: it must be ip:port or [ip]:port: %w", s, err)
	}
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	b.configuredMu.Lock()
	if len(b.configured) >= maxPlainEndpoints {
		clear(b.configured)
	}
	b.configured[a] = struct{}{}
	b.configuredMu.Unlock()
	return &Endpoint{addr: a}, nil
}

// Send sends bufs to ep: by its session if it has one, else plainly from the
// listening socket. It keeps none of bufs.
func (b *Bind) Send(bufs [][]byte, ep wgconn.Endpoint) error {
	e, ok := ep.(*Endpoint)
	if !ok {
		return wgconn.ErrWrongEndpointType
	}
	if b.queue.Load() == nil {
		return net.ErrClosed
	}
	if e.session != nil {
		if !e.session.Ended() {
			e.session.Send(bufs)
			return nil
		}
	} else if d := b.dialledAt(e); d != nil {
		d.Send(bufs)
		return nil
	}
	v := b.server.Load()
	if v == nil {
		return net.ErrClosed
	}
	err := v.Send(bufs, e.remote())
	if udp.Gone(err) && e.src.Swap(nil) != nil {
		err = v.Send(bufs, e.remote()) // perhaps only the local address is gone
	}
	return err
}

// dialledAt is the dialled session that an endpoint belongs to; nil if none.
func (b *Bind) dialledAt(e *Endpoint) *mux.Dialled {
	if e.dialled != nil && !e.dialled.Ended() {
		if e.foreign && e.dialled.Target() != e.addr {
			e.dialled.Follow(e.addr) // WireGuard sends here: it has found the peer's hand there
		}
		return e.dialled
	}
	all := *b.dialled.Load()
	if d := all[e.addr]; d != nil {
		return d.Dialled
	}
	for _, d := range all { // where one has moved to, in the words of `wg set`
		if d.Target() == e.addr {
			return d.Dialled
		}
	}
	return nil
}
