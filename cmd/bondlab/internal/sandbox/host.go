//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Host is one machine of the laboratory: a network namespace and a mount
// namespace, entered by one thread that stays in them.
type Host struct {
	Name  string
	calls chan call
	netns *os.File

	published bool
}

type call struct {
	fn   func() error
	done chan error
}

// private lists what programs write that would meet on one machine. Each
// host gets its own, empty. /etc/wireguard keeps the user's keys out of reach.
var private = []string{"/run/wireguard", "/run/wg-bond", "/run/relayd", "/var/lib", "/etc/wireguard"}

// NewHost makes a host. Its name is the namespace's too, behind the run's id:
// `ip netns` inside the sandbox knows it as bl-3f9a1c-NAME.
func NewHost(name string) (*Host, error) {
	h := &Host{Name: name, calls: make(chan call)}
	ready := make(chan error)
	go h.thread(ready)
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	return h, nil
}

// thread serves Do on a thread of the host's own. The goroutine never gives
// the thread back: when it ends, so does the thread.
func (h *Host) thread(ready chan<- error) {
	runtime.LockOSThread()
	ready <- h.enter()
	for c := range h.calls {
		c.done <- c.fn()
	}
}

func (h *Host) enter() error {
	// CLONE_NEWNS implies CLONE_FS: from here on this thread's root and
	// working directory are its own.
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("new network and mount namespaces: %w", err)
	}
	if err := mountPrivate(h.Name); err != nil {
		return err
	}
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	h.netns = f
	if err := loopbackUp(); err != nil {
		return err
	}
	return nil
}

// mountPrivate gives the calling thread's mount namespace the host's own
// directories and its resolv.conf (no resolver: the laboratory has no DNS).
func mountPrivate(host string) error {
	for _, target := range private {
		own, err := Dir(host, target)
		if err != nil {
			return err
		}
		if strings.HasPrefix(target, "/run/") {
			if err := os.MkdirAll(target, 0o755); err != nil {
				return err
			}
		}
		if err := unix.Mount(own, target, "", unix.MS_BIND, ""); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("mount over %s: %w", target, err)
		}
	}
	dir, err := Dir(host)
	if err != nil {
		return err
	}
	resolv := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolv, []byte("# no DNS in the laboratory\n"), 0o644); err != nil {
		return err
	}
	if fi, err := os.Lstat("/etc/resolv.conf"); err == nil && fi.Mode().IsRegular() {
		if err := unix.Mount(resolv, "/etc/resolv.conf", "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount over /etc/resolv.conf: %w", err)
		}
	}
	return nil
}

// Publish makes the host's namespace known to `ip netns` in the sandbox. It
// must be called by a thread of the sandbox's own, not a host's.
func (h *Host) Publish() error {
	name := published(ID(), h.Name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	h.published = true
	return unix.Mount(fmt.Sprintf("/proc/self/fd/%d", h.netns.Fd()), name, "", unix.MS_BIND, "")
}

func published(id, host string) string { return filepath.Join("/run/netns", id+"-"+host) }

// NetNS is the descriptor of the host's network namespace.
func (h *Host) NetNS() int { return int(h.netns.Fd()) }

// Do runs fn on the host's thread and returns its error: sockets that fn
// opens, devices it makes and children it starts are the host's.
func (h *Host) Do(fn func() error) error {
	c := call{fn, make(chan error, 1)}
	h.calls <- c
	return <-c.done
}

// Sysctl sets a network sysctl of the host: key is below /proc/sys/net, with
// slashes.
func (h *Host) Sysctl(key, value string) error {
	return h.Do(func() error {
		if err := os.WriteFile(filepath.Join("/proc/sys/net", key), []byte(value), 0); err != nil {
			return fmt.Errorf("host %s: sysctl net/%s = %s: %w", h.Name, key, value, err)
		}
		return nil
	})
}

// Start starts a command as a child in the host. A child dies with the
// sandbox; Stop ends it earlier.
func (h *Host) Start(cmd *exec.Cmd) error {
	// An inherited pipe's copier must not outlive the child's own children.
	cmd.WaitDelay = time.Second
	return h.Do(func() error {
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("host %s: %w", h.Name, err)
		}
		return nil
	})
}

// Output runs a command in the host and returns what it wrote to its
// standard output; its standard error is in the error.
func (h *Host) Output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var out, stderr limited
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := h.Start(cmd); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return string(out), fmt.Errorf("host %s: %s: %w: %s", h.Name, cmd, err, stderr)
	}
	return string(out), nil
}

// Close ends the host's thread and removes its files. The namespaces go with
// the last process and device in them. Like Publish, not for a host's thread.
func (h *Host) Close() {
	close(h.calls)
	h.netns.Close()
	if h.published {
		unix.Unmount(published(ID(), h.Name), unix.MNT_DETACH)
		os.Remove(published(ID(), h.Name))
	}
	os.RemoveAll(filepath.Join("/run", ID(), h.Name))
}

// limited keeps the first 64 kB written to it.
type limited []byte

func (l *limited) Write(p []byte) (int, error) {
	if room := 64<<10 - len(*l); room > 0 {
		*l = append(*l, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

var _ io.Writer = (*limited)(nil)

// Enter replaces the calling process by a command in a host of the sandbox
// it is in: what `bondlab shell` runs behind nsenter.
func Enter(id, host string, argv []string) error {
	if err := os.Setenv(envID, id); err != nil {
		return err
	}
	runtime.LockOSThread()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	f, err := os.Open(published(id, host))
	if err != nil {
		return fmt.Errorf("no host %q in this run: %w", host, err)
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := mountPrivate(host); err != nil {
		return err
	}
	return unix.Exec(path, argv, os.Environ())
}
