// Package serve is `wg-bond serve`: it runs the shim (package conn/shim)
// before a stock WireGuard, with that WireGuard's own key and peers, and
// follows them as they change.
//
//	WireGuard device NAME, else NAME.conf ── every 2 s ──→ shim.SetPeers
//	NAME.bond.toml [serve]                ── at start ───→ shim.Listen, Upstream
package serve

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/wg-bond/wg-bond/cmd/internal/bondconf"
	"github.com/wg-bond/wg-bond/cmd/internal/conferr"
	"github.com/wg-bond/wg-bond/cmd/internal/ctl"
	"github.com/wg-bond/wg-bond/cmd/internal/daemon"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/decide"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/report"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/up"
	"github.com/wg-bond/wg-bond/conn/shim"
)

// lookEvery is how often the WireGuard device is asked for its peers.
const lookEvery = 2 * time.Second

// Run serves before the WireGuard that arg means, tells process once it does,
// and stays until it is told to end.
func Run(arg string, opt up.Options, process *daemon.Process) error {
	files, err := up.Load(arg)
	if err != nil {
		return err
	}
	side := bondconf.PathFor(files.Path)
	if !files.Bond.Serve.Listen.IsValid() {
		return &conferr.Error{File: side, Found: "no [serve]", Want: "[serve] with listen = \":51820\", the port that clients know, and upstream = \"127.0.0.1:51821\", where the stock WireGuard listens"}
	}
	s := &serving{files: files, log: up.Logger(!process.Background()), stop: make(chan struct{})}
	if s.devices, err = client(); err != nil {
		return err
	}
	if s.decider, err = decide.Start(files.Path, files.Bond, s.log); err != nil {
		return err
	}
	defer s.decider.Close()
	path := ctl.SocketPath(files.Name)
	server, err := ctl.Listen(path, s.operations())
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("%w; run it as root (sudo)", err)
		}
		return err
	}
	defer server.Close()
	metrics, err := opt.ServeMetrics(files, s.report)
	if err != nil {
		return err
	}
	defer metrics.Close()
	var closeTraces func()
	if s.traces, closeTraces, err = opt.Traces(s.log); err != nil {
		return err
	}
	defer closeTraces()
	if err := s.look(); err != nil {
		return fmt.Errorf("%s: %w", side, err)
	}
	defer s.close()
	// Before anybody is told that it runs: who is told may send one at once.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := process.Ready(up.KeepOutput()); err != nil {
		return err
	}
	s.wait(signals)
	daemon.Notify(daemon.Stopping)
	return server.Retire()
}

type serving struct {
	files   *up.Files
	decider *decide.Decider
	devices devices
	log     *slog.Logger
	traces  func(session string) io.Writer // nil: none

	once sync.Once
	stop chan struct{} // closed to end

	mu   sync.Mutex // guards all below
	shim *shim.Shim
	is   identity // that the shim has
	seen bool     // the device was there once
}

// wait follows the device until it is time to end.
func (s *serving) wait(signals <-chan os.Signal) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return
			}
			if err := s.decider.Reload(); err != nil {
				s.log.Error("the scheduler stays as it is", "interface", s.files.Name, "error", err)
			}
		case <-s.stop:
			return
		case <-ticker.C:
			if err := s.look(); err != nil {
				s.log.Error("following the WireGuard device", "interface", s.files.Name, "error", err)
			}
		}
	}
}

// look brings the shim up to date with the WireGuard behind it. While that is
// away for a moment, the shim goes on with what it knew.
func (s *serving) look() error {
	id, fromDevice, err := identify(s.devices, s.files.Name, s.files.WireGuard)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen && !fromDevice || s.shim != nil && id.equal(s.is) {
		return nil
	}
	s.seen = s.seen || fromDevice
	if id.private.IsZero() {
		if s.shim != nil {
			return nil // a device that is being set up again
		}
		return fmt.Errorf("found no private key, neither of a WireGuard device %s nor in %s; want the key of the stock WireGuard behind", s.files.Name, s.files.Path)
	}
	if s.shim != nil && id.private == s.is.private && id.port == s.is.port && id.mark == s.is.mark {
		s.shim.SetPeers(id.peers)
		s.log.Info("the peers have changed", "interface", s.files.Name, "peers", len(id.peers))
		s.is = id
		return nil
	}
	return s.replaceLocked(id)
}

// replaceLocked begins anew with another key, port or mark.
func (s *serving) replaceLocked(id identity) error {
	upstream, err := id.upstream(s.files.Bond.Serve.Upstream)
	if err != nil {
		return err
	}
	if s.shim != nil {
		_ = s.shim.Close()
		s.shim = nil
	}
	listen := s.files.Bond.Serve.Listen
	m, err := shim.New(shim.Config{
		Listen: listen, Upstream: upstream, Private: id.private, Peers: id.peers,
		Scheduler: s.decider.NewScheduler, Mark: id.mark, Log: s.log, Trace: s.traces,
	})
	if err != nil {
		return explain(listen, err)
	}
	s.shim, s.is = m, id
	return nil
}

// explain adds to an error of the shim's what can be done about it.
func explain(listen netip.AddrPort, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen: another program has port %d (`ss -ulpn` shows which); if it is the stock WireGuard, give that another ListenPort: %w", listen.Port(), err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen: %s is no address of this machine: %w", listen.Addr(), err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen: port %d needs root (sudo): %w", listen.Port(), err)
	}
	return err
}

func (s *serving) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shim != nil {
		_ = s.shim.Close()
	}
}

// operations are those of the control socket.
func (s *serving) operations() map[string]ctl.Handler {
	all := s.decider.Operations()
	all["status"], all["down"] = s.status, s.down
	return all
}

// status is an operation of the control socket.
func (s *serving) status([]string) (any, error) { return s.report() }

func (s *serving) report() (*status.Interface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shim == nil {
		return nil, errors.New("the shim is not running now: see its log")
	}
	scheduler, trouble := s.decider.Summary()
	i := report.Serve(s.files.Name, scheduler, s.shim.Status())
	i.SchedulerTrouble = trouble
	return i, nil
}

// down is an operation of the control socket: it asks the process to end.
func (s *serving) down([]string) (any, error) {
	s.once.Do(func() { close(s.stop) })
	return nil, nil
}
