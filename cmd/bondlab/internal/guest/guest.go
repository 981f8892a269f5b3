//go:build linux

// Package guest boots a small Linux of its own in qemu, without KVM: a peer
// that has the kernel's WireGuard, whatever the kernel of this machine has.
//
//	sandbox.Host                          guest: Debian's cloud kernel, initramfs of ours
//	┌────────────────────────┐            ┌───────────────────────────────────────────┐
//	│ TAP 10.98.9.1/24 ══════╪═ virtio ═══╪═ eth0 10.98.9.2/24                        │
//	│ Shell ── TCP ──────────┼────────────┼→ nc -e sh: one shell for each connection   │
//	└────────────────────────┘            └───────────────────────────────────────────┘
//
// It is up about four seconds after its start, computed instruction by instruction.
package guest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
)

// agentPort is where a guest hands out shells.
const agentPort = 5

// Guest is a running guest.
type Guest struct {
	host    *sandbox.Host
	program *sandbox.Program
	agent   netip.AddrPort
}

// Config says what to boot and how it is connected.
type Config struct {
	Parts     *Parts
	Initramfs string       // a file that Parts.Initramfs wrote
	Tap       string       // the name of the device in the host
	Gateway   netip.Prefix // its address there
	Address   netip.Addr   // the guest's in the same network
	Memory    int          // megabytes
	Log       io.Writer    // gets the console; nil: none
}

// Boot starts a guest in a host; it ends with the sandbox, or by Stop. Wait
// tells when it is up.
func Boot(h *sandbox.Host, cfg Config) (*Guest, error) {
	err := h.Do(func() error {
		return netlink.LinkAdd(&netlink.Tuntap{
			LinkAttrs: netlink.LinkAttrs{Name: cfg.Tap}, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_DEFAULTS,
		})
	})
	if err != nil {
		return nil, fmt.Errorf("host %s: making the TAP device %s: %w", h.Name, cfg.Tap, err)
	}
	if err := h.Device(cfg.Tap, 0, cfg.Gateway); err != nil {
		return nil, err
	}
	cmd := exec.Command(cfg.Parts.Qemu,
		"-machine", "pc,accel=tcg", "-cpu", "qemu64,+rdrand", "-m", fmt.Sprint(cfg.Memory),
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio",
		"-kernel", cfg.Parts.Kernel, "-initrd", cfg.Initramfs,
		"-append", fmt.Sprintf("console=ttyS0 quiet panic=-1 mitigations=off address=%v gateway=%v",
			netip.PrefixFrom(cfg.Address, cfg.Gateway.Bits()), cfg.Gateway.Addr()),
		"-netdev", "tap,id=n,script=no,downscript=no,ifname="+cfg.Tap,
		"-device", "virtio-net-pci,netdev=n,romfile=") // no ROM to boot from: no package for it
	g := &Guest{host: h, agent: netip.AddrPortFrom(cfg.Address, agentPort)}
	g.program, err = h.Program("qemu-"+cfg.Tap, cfg.Log, cmd)
	return g, err
}

// Wait waits until the guest is up.
func (g *Guest) Wait(patience time.Duration) error {
	return g.program.Until("up", patience, func() bool { _, err := g.Shell(time.Second, "true"); return err == nil })
}

// Stop ends the guest without notice.
func (g *Guest) Stop() { g.program.Kill() }

// verdict is what the guest's shell says last.
var verdict = regexp.MustCompile(`(?s)^(.*)exit (\d+)\n$`)

// Shell runs a script by the guest's sh -e and returns what it prints, both
// outputs together. What it leaves in the background must write elsewhere.
func (g *Guest) Shell(patience time.Duration, script string) (string, error) {
	var c net.Conn
	err := g.host.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", g.agent.String(), min(patience, time.Second))
		return err
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	// The shell reads all before it does anything: the script cannot swallow its
	// own rest.
	if _, err := fmt.Fprintf(c, "( set -e\n%s\n) 2>&1 </dev/null\necho exit $?\nexit\n", script); err != nil {
		return "", err
	}
	out, err := io.ReadAll(c)
	m := verdict.FindStringSubmatch(string(out))
	switch {
	case m == nil:
		return string(out), errors.Join(fmt.Errorf("guest: the shell broke off: %q", lastOf(out)), err)
	case m[2] != "0":
		return m[1], fmt.Errorf("guest: exit %s: %s", m[2], strings.TrimSpace(lastOf([]byte(m[1]))))
	}
	return m[1], nil
}

// lastOf is the end of what a shell has printed.
func lastOf(b []byte) string { return string(b[max(0, len(b)-2000):]) }
