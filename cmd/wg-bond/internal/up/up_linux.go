package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wg-bond/wg-bond/cmd/internal/ctl"
	"github.com/wg-bond/wg-bond/cmd/internal/daemon"
	"github.com/wg-bond/wg-bond/cmd/internal/quick"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/cmd/internal/uapi"
	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/decide"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/report"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/seek"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/tunnel"
	"github.com/wg-bond/wg-bond/conn"
	"github.com/wg-bond/wg-bond/conn/memory"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/conn/netwatch"
	"github.com/wg-bond/wg-bond/conn/quota"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// Run brings up the interface that arg means, tells process once it is up,
// and stays until it is down again.
func Run(arg string, opt Options, process *daemon.Process) error {
	files, err := Load(arg)
	if err != nil {
		return err
	}
	if err := NeedRoot("up " + arg); err != nil {
		return err
	}
	r := newRunning("up", files, process)
	if r.decider, err = decide.Start(files.Path, files.Bond, r.log); err != nil {
		return err
	}
	defer r.decider.Close()
	traces, closeTraces, err := opt.Traces(r.log)
	if err != nil {
		return err
	}
	defer closeTraces()
	if err := r.prepare(traces); err != nil {
		return err
	}
	return r.run(opt, process)
}

// DryRun prints to out what Run would do, and does nothing of it.
func DryRun(arg string, out io.Writer) error {
	files, err := Load(arg)
	if err != nil {
		return err
	}
	r := &running{files: files, log: Logger(true)}
	if r.host, err = quick.NewHost(nil); err != nil {
		return err
	}
	defer r.host.Close()
	if err := r.absent(); err != nil {
		return err
	}
	if len(r.journal.Undos) > 0 {
		fmt.Fprintf(os.Stderr, "%s had ended without cleaning up; up does that first\n", files.Name)
	}
	if err := r.makePlan(); err != nil {
		return err
	}
	for _, step := range r.plan.Steps {
		fmt.Fprintf(out, "[#] %s\n", step)
	}
	return nil
}

// NeedRoot teaches who may not set up interfaces.
func NeedRoot(command string) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	if data[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		return fmt.Errorf("this needs root (CAP_NET_ADMIN), and you are user %d: sudo wg-bond %s", os.Geteuid(), command)
	}
	return nil
}

// running is an interface from its first step to its last.
type running struct {
	role    string // what status calls it
	files   *Files
	decider *decide.Decider
	log     *slog.Logger
	bind    *conn.Bind
	seeker  *seek.Seeker // of lenders
	tunnel  *tunnel.Tunnel
	host    *quick.Host
	journal *quick.Journal
	plan    *quick.Plan
	ledger  *quota.Ledger // nil: no path has a quota
	memory  *memory.Book  // nil: the side file forbids it
	mtu     mtuFollower
	server  *ctl.Server

	reload chan os.Signal  // room for one: SIGHUP
	downs  chan chan error // requests of `wg-bond down`, each with where its answer goes
	closed chan struct{}   // closed when nobody takes requests any more
}

func newRunning(role string, files *Files, process *daemon.Process) *running {
	return &running{
		role: role, files: files, log: Logger(!process.Background()),
		reload: make(chan os.Signal, 1), downs: make(chan chan error), closed: make(chan struct{}),
	}
}

// prepare makes all that run needs. What a crash left behind it takes away;
// nothing else changes.
func (r *running) prepare(traces func(session string) io.Writer) (err error) {
	if r.host, err = quick.NewHost(nil); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			r.host.Close()
		}
	}()
	if err := r.absent(); err != nil {
		return err
	}
	if len(r.journal.Undos) > 0 {
		fmt.Fprintf(os.Stderr, "%s had ended without cleaning up; doing that first\n", r.files.Name)
		if err := quick.Clean(r.host, r.journal); err != nil {
			return err
		}
	}
	if err := r.makePlan(); err != nil {
		return err
	}
	if err := r.makeBind(traces); err != nil {
		return err
	}
	r.tunnel = tunnel.New(r.files.Name, r.bind, r.setPeers, r.log)
	r.host.Tunnel = r.tunnel
	return nil
}

// run does the plan's steps, tells process, and stays until all is undone
// again.
func (r *running) run(opt Options, process *daemon.Process) error {
	defer r.host.Close()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	signal.Notify(r.reload, unix.SIGHUP)
	defer signal.Stop(r.reload)
	// The socket is there first: it keeps a second `up` out.
	var err error
	if r.server, err = ctl.Listen(ctl.SocketPath(r.files.Name), r.operations()); err != nil {
		return err
	}
	defer r.server.Close()
	defer close(r.closed) // before that: Close waits for who asks
	metrics, err := opt.ServeMetrics(r.files, r.report)
	if err != nil {
		return err
	}
	defer metrics.Close()
	if err := r.start(ctx); err != nil {
		return err
	}
	if err := process.Ready(KeepOutput()); err != nil {
		return errors.Join(err, r.end(nil))
	}
	return r.wait(ctx)
}

// absent makes sure that the interface is not there, and reads what a crash of
// an earlier one may have left behind.
func (r *running) absent() error {
	name := r.files.Name
	err := ctl.Call(ctl.SocketPath(name), "status", nil)
	if err == nil {
		return fmt.Errorf("%s is up already; `wg-bond down %s` takes it down, `wg-bond status %s` shows it", name, name, name)
	}
	if !errors.Is(err, ctl.ErrNotRunning) {
		return fmt.Errorf("%s is up already, but does not answer: %w", name, err)
	}
	if r.host.LinkExists(name) {
		return fmt.Errorf("there is an interface %s already, which wg-bond did not make; remove it first, `wg-quick down %s` perhaps", name, name)
	}
	r.journal, err = quick.OpenJournal(ctl.JournalPath(name))
	return err
}

// makePlan plans, and warns.
func (r *running) makePlan() error {
	devices, err := r.devices()
	if err != nil {
		return err
	}
	facts, err := r.host.Facts(devices)
	if err != nil {
		return err
	}
	if r.plan, err = quick.Make(r.files.Name, r.files.WireGuard, facts); err != nil {
		return err
	}
	if r.files.WireGuard.Interface.MTU == 0 {
		r.mtu = mtuFollower{planned: r.plan.MTU(), is: r.plan.MTU()}
	}
	for _, warning := range r.plan.Warnings {
		fmt.Fprintf(os.Stderr, "Warning: %s\n", warning)
	}
	return nil
}

func (r *running) makeBind(traces func(session string) io.Writer) error {
	var specs []mux.PathSpec
	for _, p := range r.files.Bond.Paths {
		specs = append(specs, p.Spec())
	}
	r.seeker = seek.New(func(device string, found []conn.Lender) { r.bind.SetLenders(device, found) }, r.log)
	err := r.openLedger()
	if err != nil {
		return err
	}
	if !r.files.Bond.Forget {
		if r.memory, err = memory.Open(r.stateFile("rates")); err != nil {
			r.log.Warn("paths start as if they were new", "interface", r.files.Name, "error", err)
		}
	}
	names := newLookup()
	r.bind, err = conn.NewBind(conn.Config{
		Paths: specs, Exclude: r.tunnels, Seek: r.seeker.On, Scheduler: r.decider.NewScheduler, Fits: r.followMTU,
		Mark: r.files.WireGuard.Interface.FwMark, Log: r.log, Trace: traces,
		Ledger: r.ledger, Memory: r.memory, Lookup: names.find, NAT64: names.nat64,
	})
	return err
}

// openLedger opens the count of what paths carry, if any has a quota.
func (r *running) openLedger() (err error) {
	limits := map[string]quota.Limit{}
	for _, p := range r.files.Bond.Paths {
		if p.MonthlyQuota > 0 {
			limits[p.Name] = quota.Limit{Bytes: p.MonthlyQuota, Day: p.QuotaDay}
		}
	}
	if len(limits) > 0 {
		r.ledger, err = quota.Open(r.stateFile("usage"), func(path string) quota.Limit { return limits[path] })
	}
	return err
}

// stateDir keeps what must outlive a restart of the machine.
const stateDir = "/var/lib/wg-bond"

// stateFile is where that of one kind is.
func (r *running) stateFile(kind string) string {
	return filepath.Join(stateDir, r.files.Name+"."+kind+".json")
}

// tunnels are the interfaces that are never a path unless one is named: our
// own, and those of others of our kind, which may come at any time.
func (r *running) tunnels() []string {
	names, err := uapi.Names(uapi.SocketDir)
	if err != nil {
		r.log.Warn("which interfaces are tunnels cannot be told", "error", err)
	}
	return append(names, r.files.Name)
}

// devices are the interfaces of the paths. One that is not there may come
// later; if none is, it is more likely a slip.
func (r *running) devices() ([]string, error) {
	watcher, err := netwatch.Open()
	if err != nil {
		return nil, err
	}
	defer watcher.Close()
	state, err := watcher.Read()
	if err != nil {
		return nil, err
	}
	if len(r.files.Bond.Paths) == 0 {
		return state.Candidates(r.tunnels()), nil
	}
	var named, fit []string
	for _, p := range r.files.Bond.Paths {
		if p.Match.IsZero() {
			named = append(named, p.Device)
			continue
		}
		found := state.Matching(p.Match, r.tunnels())
		if len(found) == 0 {
			fmt.Fprintf(os.Stderr, "Warning: %s: no interface that is up fits %v; its path is used when one comes\n", r.files.sidePath(), p.Match)
		}
		fit = append(fit, found...)
	}
	var links []string
	for _, l := range state.Links {
		links = append(links, l.Name)
	}
	missing := slices.DeleteFunc(slices.Clone(named), func(d string) bool { return slices.Contains(links, d) })
	if len(missing) == len(r.files.Bond.Paths) {
		return nil, fmt.Errorf("%s: of the paths' devices (%s) there is none; the interfaces here are %s",
			r.files.sidePath(), strings.Join(named, ", "), strings.Join(links, ", "))
	}
	for _, d := range missing {
		fmt.Fprintf(os.Stderr, "Warning: %s: there is no interface %s yet; its path is used when it comes\n", r.files.sidePath(), d)
	}
	return append(named, fit...), nil
}

// setPeers tells the Bind of the device's keys and peers.
func (r *running) setPeers(d *uapi.Device) error {
	var peers []conn.Peer
	for _, p := range d.Peers {
		peers = append(peers, conn.Peer{
			PublicKey: control.Key(p.PublicKey), PresharedKey: control.Key(p.PresharedKey), Endpoint: p.Endpoint,
			Name: r.nameOf(p.PublicKey),
		})
	}
	return r.bind.SetPeers(control.Key(d.PrivateKey), peers)
}

// nameOf is the endpoint's name that the configuration gives a peer; empty if
// it gives an address, or none.
func (r *running) nameOf(peer wgconf.Key) string {
	for _, p := range r.files.WireGuard.Peers {
		if _, err := netip.ParseAddr(p.Endpoint.Host); p.PublicKey == peer && !p.Endpoint.IsZero() && err != nil {
			return p.Endpoint.String()
		}
	}
	return ""
}

func (r *running) start(ctx context.Context) error {
	err := quick.Up(ctx, r.host, r.plan, r.journal, Trace)
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted; all that was done is undone")
	}
	return err
}

// wait stays until something ends the interface.
func (r *running) wait(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			r.log.Info("ending: a signal", "interface", r.files.Name)
			return r.end(r.files)
		case <-r.tunnel.Done():
			r.log.Info("ending: the interface or its socket is gone", "interface", r.files.Name)
			return r.end(nil)
		case answer := <-r.downs:
			// The socket goes before the answer: who has it may `up` again.
			err := errors.Join(r.end(nil), r.server.Retire())
			answer <- err
			return err
		case <-r.reload:
			if err := r.decider.Reload(); err != nil {
				r.log.Error("the scheduler stays as it is", "interface", r.files.Name, "error", err)
			}
		}
	}
}

// end undoes everything. With hooks, it runs those of the configuration as
// well and saves it if that is wished; nothing keeps it from going on.
func (r *running) end(hooks *Files) error {
	daemon.Notify(daemon.Stopping)
	ctx := context.Background()
	var errs []error
	if hooks != nil {
		errs = append(errs, quick.Hooks(ctx, r.host, hooks.Name, "PreDown", hooks.WireGuard.Interface.PreDown, Trace))
		if hooks.WireGuard.Interface.SaveConfig {
			errs = append(errs, r.save())
		}
	}
	errs = append(errs, quick.Clean(r.host, r.journal))
	if r.ledger != nil {
		errs = append(errs, r.ledger.Close(time.Now()))
	}
	if err := r.memory.Close(time.Now()); err != nil {
		r.log.Warn("the next start is one as if paths were new", "interface", r.files.Name, "error", err)
	}
	if hooks != nil {
		errs = append(errs, quick.Hooks(ctx, r.host, hooks.Name, "PostDown", hooks.WireGuard.Interface.PostDown, Trace))
	}
	return errors.Join(errs...)
}

func (r *running) save() error {
	device, err := r.tunnel.State()
	if err != nil {
		return err
	}
	return saveConfig(r.host, r.files, device)
}

func saveConfig(host *quick.Host, files *Files, device *uapi.Device) error {
	addresses, err := host.Addresses(files.Name)
	if err != nil {
		return err
	}
	mtu, err := host.MTU(files.Name)
	if err != nil {
		return err
	}
	return quick.WriteConfig(files.Path, quick.Current(files.WireGuard, device, addresses, mtu))
}

// operations are those of the control socket.
func (r *running) operations() map[string]ctl.Handler {
	all := r.decider.Operations()
	all["status"], all["down"] = r.status, r.down
	return all
}

// status is an operation of the control socket.
func (r *running) status([]string) (any, error) { return r.report() }

func (r *running) report() (*status.Interface, error) {
	scheduler, trouble := r.decider.Summary()
	i := report.Up(r.files.Name, scheduler, r.bind.Status())
	i.Role = r.role
	i.SchedulerTrouble = trouble
	return i, nil
}

// down is an operation of the control socket: it returns when all is undone.
func (r *running) down([]string) (any, error) {
	answer := make(chan error, 1)
	select {
	case r.downs <- answer:
		return nil, <-answer
	case <-r.closed:
		return nil, nil // it is going down for another reason
	}
}
