//go:build linux

// Package sandbox runs the laboratory where it can leave nothing behind.
//
// A run is two processes of the same program:
//
//	bondlab run seed             the outer one, started by the user: waits
//	  └ bondlab run seed         the inner one: PID 1 of a PID namespace of its own, with its own
//	      │                      mounts (/run and /proc are new), network and host name
//	      ├ host c, host s …     each a network and mount namespace, entered by one thread
//	      └ wg-bond, curl …      children in those namespaces
//
// The kernel kills every process of a PID namespace when its PID 1 dies, and
// PID 1 dies with the outer process (PR_SET_PDEATHSIG). Namespaces, TUN
// devices, mounts and files under /run then go by themselves, because only
// those processes held them. So even SIGKILL leaves nothing but the run's
// record, one small file in /run/bondlab, which Clean and the next run remove.
package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// envID names the environment variable that holds the run's id inside the
// sandbox, and so tells the inner process that it is the inner one.
const envID = "BONDLAB_SANDBOX"

// ErrNotRoot says that namespaces need root.
var ErrNotRoot = errors.New("bondlab builds network namespaces and TUN devices: run it as root")

// ID is the run's id, such as bl-3f9a1c; empty outside a sandbox.
func ID() string { return os.Getenv(envID) }

// Run starts the calling program again, with the same arguments, inside a
// new sandbox, and waits for it. It returns the inner process's exit code.
// When ctx ends, or on SIGINT or SIGTERM, the inner process gets SIGTERM.
// The record of the run is in RecordDir while it runs.
func Run(ctx context.Context, about string) (code int, err error) {
	if os.Geteuid() != 0 {
		return 1, ErrNotRoot
	}
	var id [3]byte
	rand.Read(id[:])
	rec := Record{ID: "bl-" + hex.EncodeToString(id[:]), About: about}

	// The death signal comes when the *thread* that started the child ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), envID+"="+rec.ID)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Pdeathsig:  unix.SIGKILL,
		Setpgid:    true, // Ctrl-C comes through us, once
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start the sandbox (new PID, mount, network, UTS and IPC namespaces): %w", err)
	}
	defer context.AfterFunc(ctx, func() { cmd.Process.Signal(unix.SIGTERM) })()

	if err := rec.write(os.Getpid(), cmd.Process.Pid); err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return 1, err
	}
	defer rec.remove()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, fmt.Errorf("the laboratory ended early: %w", err)
	}
	return 0, nil
}

// Setup furnishes the sandbox; the inner process calls it first. It makes
// all mounts private, mounts a new /proc and an empty /run, and brings the
// loopback device up.
func Setup() error {
	if ID() == "" || os.Getpid() != 1 {
		return errors.New("sandbox.Setup: not the inner process of a sandbox")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount(ID(), "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := unix.Sethostname([]byte(ID())); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	return loopbackUp()
}

// Dir makes (if need be) and returns a directory in the run's own files,
// which are in memory and vanish with the run.
func Dir(elem ...string) (string, error) {
	dir := filepath.Join(append([]string{"/run", ID()}, elem...)...)
	return dir, os.MkdirAll(dir, 0o700)
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}
