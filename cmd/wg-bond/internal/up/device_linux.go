package up

import (
	"path/filepath"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"

	"github.com/wg-bond/wg-bond/cmd/internal/daemon"
	"github.com/wg-bond/wg-bond/cmd/internal/quick"
	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/decide"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/tunnel"
)

// Device runs a bare WireGuard device, as wireguard-go does: somebody else
// gives it keys, addresses and routes. It tells process once wg(8) can reach
// it, and stays until a signal comes, or the interface or its UAPI socket goes.
func Device(name string, process *daemon.Process) error {
	if err := NeedRoot("device " + name); err != nil {
		return err
	}
	socket, err := daemon.Descriptor(uapiVariable)
	if err != nil {
		return err
	}
	file, err := daemon.Descriptor(tunVariable)
	if err != nil {
		return err
	}
	if file != nil {
		if err := unix.SetNonblock(int(file.Fd()), true); err != nil {
			return err
		}
	}
	tun, name, err := tunnel.OpenTUN(name, file, device.DefaultMTU)
	if err != nil {
		return err
	}
	files := &Files{Name: name, Path: filepath.Join(quick.ConfigDir, name+".conf"), WireGuard: new(wgconf.Config)}
	if err := files.loadBond(); err != nil {
		return err
	}
	r := newRunning("device", files, process)
	if r.decider, err = decide.Start(files.Path, files.Bond, r.log); err != nil {
		return err
	}
	defer r.decider.Close()
	if err := r.makeBind(nil); err != nil {
		return err
	}
	r.tunnel = tunnel.New(name, r.bind, r.setPeers, r.log)
	r.tunnel.Adopt(tun, socket)
	if r.host, err = quick.NewHost(r.tunnel); err != nil {
		return err
	}
	r.plan = &quick.Plan{Steps: []quick.Step{quick.CreateLink{Device: name, MTU: device.DefaultMTU}}}
	r.journal = new(quick.Journal) // the interface ends with the process, and there is nothing else
	return r.run(Options{}, process)
}
