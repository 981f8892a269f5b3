//go:build unix

// Package tunnel runs wireguard-go on a TUN device with a Bind that bonds:
//
//	TUN ⇄ device.Device ⇄ Bind ⇄ paths
//	            ↑            ↑
//	  UAPI: wg set, wg show  └ SetPeers, after every change by UAPI
//
// A Tunnel ends when it is closed, when somebody removes the interface
// (`ip link delete`, wg-quick down) or deletes the UAPI socket; Done tells.
package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	wgconn "golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/wg-bond/wg-bond/cmd/internal/uapi"
)

// Bind is what carries the tunnel's datagrams.
type Bind interface {
	wgconn.Bind
	// Shutdown says farewell to the peers and closes.
	Shutdown() error
}

// Tunnel is one interface.
type Tunnel struct {
	name string
	bind Bind
	// peers is told the device's state after every change.
	peers func(*uapi.Device) error
	log   *slog.Logger

	tun    tun.Device // that Create is to take, and its socket; nil: it makes them
	socket *os.File

	sync   sync.Mutex // one at a time reads the state and passes it on
	port   int        // that Configure asked for last
	up     atomic.Bool
	device *device.Device
	uapi   net.Listener
	done   chan error
	once   sync.Once
	wg     sync.WaitGroup
}

// New prepares the tunnel called name; nothing exists before Create.
func New(name string, bind Bind, peers func(*uapi.Device) error, log *slog.Logger) *Tunnel {
	return &Tunnel{name: name, bind: bind, peers: peers, log: log, done: make(chan error, 1)}
}

// Adopt has Create take a TUN device and, unless it is nil, a listening UAPI
// socket, instead of making its own.
func (t *Tunnel) Adopt(device tun.Device, socket *os.File) { t.tun, t.socket = device, socket }

// OpenTUN makes a TUN device with an MTU in bytes, or takes the one of file,
// if that is not nil. It answers the interface's name, which is not the one
// asked for if that has a %d in it or there is a file.
func OpenTUN(name string, file *os.File, mtu int) (tun.Device, string, error) {
	var device tun.Device
	var err error
	if file != nil {
		device, err = tun.CreateTUNFromFile(file, mtu)
	} else {
		device, err = tun.CreateTUN(name, mtu)
	}
	if err != nil {
		return nil, "", explainTUN(name, err)
	}
	if name, err = device.Name(); err != nil {
		device.Close()
		return nil, "", err
	}
	return device, name, nil
}

// Create makes the TUN device, with an MTU in bytes, and serves its UAPI
// socket.
func (t *Tunnel) Create(mtu int) error {
	tunDevice, file := t.tun, t.socket
	var err error
	if tunDevice == nil {
		if tunDevice, _, err = OpenTUN(t.name, nil, mtu); err != nil {
			return err
		}
	}
	if file == nil {
		if file, err = ipc.UAPIOpen(t.name); err != nil {
			tunDevice.Close()
			return fmt.Errorf("%s/%s.sock: %w; is another program running the interface?", uapi.SocketDir, t.name, err)
		}
	}
	d := device.NewDevice(tunDevice, t.bind, t.logger())
	listener, err := ipc.UAPIListen(t.name, file)
	file.Close() // the listener has a copy
	if err != nil {
		d.Close()
		return fmt.Errorf("%s/%s.sock: %w", uapi.SocketDir, t.name, err)
	}
	t.device, t.uapi = d, listener
	t.wg.Add(2)
	go t.accept()
	go func() {
		defer t.wg.Done()
		<-d.Wait()
		t.end(nil)
	}()
	return nil
}

func (t *Tunnel) accept() {
	defer t.wg.Done()
	var conns sync.WaitGroup
	defer conns.Wait()
	open := map[net.Conn]bool{}
	var mu sync.Mutex
	for {
		c, err := t.uapi.Accept()
		if err != nil {
			t.end(nil)
			mu.Lock()
			for c := range open {
				c.Close() // `wg` is done by now; others have no say in when we end
			}
			mu.Unlock()
			return
		}
		mu.Lock()
		open[c] = true
		mu.Unlock()
		conns.Add(1)
		go func() {
			defer conns.Done()
			uapi.Serve(c, t.device, t.refresh)
			mu.Lock()
			delete(open, c)
			mu.Unlock()
		}()
	}
}

// end notes that the tunnel is over, once.
func (t *Tunnel) end(err error) { t.once.Do(func() { t.done <- err }) }

// Done yields a value when the tunnel has ended by itself.
func (t *Tunnel) Done() <-chan error { return t.done }

// Configure takes the body of a UAPI set operation.
func (t *Tunnel) Configure(text string) error {
	for line := range strings.Lines(text) {
		if port, ok := strings.CutPrefix(strings.TrimSpace(line), "listen_port="); ok {
			t.port, _ = strconv.Atoi(port) // the device judges it
		}
	}
	if err := t.device.IpcSet(text); err != nil {
		return t.explain(err)
	}
	t.refresh()
	return nil
}

// refresh passes on the device's state. A peer that cannot be bonded is no
// reason to refuse what WireGuard has taken: it is served plainly.
func (t *Tunnel) refresh() {
	t.sync.Lock()
	defer t.sync.Unlock()
	state, err := t.State()
	if err == nil {
		err = t.peers(state)
	}
	if err != nil {
		t.log.Warn("not every peer can be bonded", "interface", t.name, "error", err)
	}
}

// State is the device's present state.
func (t *Tunnel) State() (*uapi.Device, error) {
	text, err := t.device.IpcGet()
	if err != nil {
		return nil, err
	}
	return uapi.Parse(text)
}

// Up opens the sockets. The device does so by itself when it takes the
// interface for up, but nobody learns of an error then, and after one the
// device forgets the port and is content with any.
func (t *Tunnel) Up() error {
	if err := t.device.Up(); err != nil {
		return t.explain(err)
	}
	state, err := t.State()
	if err != nil {
		return err
	}
	if t.port != 0 && int(state.ListenPort) != t.port {
		if err := t.device.IpcSet(fmt.Sprintf("listen_port=%d\n", t.port)); err != nil {
			return t.explain(err)
		}
	}
	t.up.Store(true)
	return nil
}

// logger is the device's. Until the tunnel is up its errors are returned, and
// need not be logged as well.
func (t *Tunnel) logger() *device.Logger {
	return &device.Logger{
		Verbosef: func(format string, args ...any) { t.log.Debug("wireguard: " + fmt.Sprintf(format, args...)) },
		Errorf: func(format string, args ...any) {
			level := slog.LevelDebug
			if t.up.Load() {
				level = slog.LevelError
			}
			t.log.Log(context.Background(), level, "wireguard: "+fmt.Sprintf(format, args...))
		},
	}
}

// explain adds to an error of the device's what can be done about it.
func (t *Tunnel) explain(err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	return fmt.Errorf("ListenPort = %d: another program has this port (`ss -ulpn` shows which); end it, or choose another port: %w", t.port, err)
}

// Close says farewell to the peers and removes the interface and its socket.
// It may be called more than once.
func (t *Tunnel) Close() error {
	if t.device == nil {
		return nil
	}
	err := t.bind.Shutdown()
	t.uapi.Close()
	t.device.Close()
	t.wg.Wait()
	return err
}

func explainTUN(name string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist), strings.HasSuffix(err.Error(), "does not exist"):
		return errors.New("there is no /dev/net/tun; load it with `modprobe tun`, or give it to the container with `--device /dev/net/tun`")
	case errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		return fmt.Errorf("/dev/net/tun: %w; this kernel has no TUN driver: load it with `modprobe tun`", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("making the interface %s: %w; that needs root (CAP_NET_ADMIN): use sudo, or give it to the container with `--cap-add NET_ADMIN`", name, err)
	case errors.Is(err, syscall.EBUSY):
		return fmt.Errorf("making the interface %s: %w: another program has an interface of this name", name, err)
	case errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("making the interface %q: %w; a name has 1 to 15 characters, none of them a slash, a colon or a space, and no interface of another kind has it", name, err)
	}
	return fmt.Errorf("making the interface %s: %w", name, err)
}
