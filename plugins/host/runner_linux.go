package host

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// run starts the process, answers on started, and waits for the end. It has a
// thread of its own, because the kernel kills a child with Pdeathsig when the
// thread ends that made it, and because that thread gives up for itself and
// its child what setuid programs could regain.
func (r *runner) run(started chan<- error) {
	runtime.LockOSThread() // and never unlocks: the thread ends with the goroutine
	err := r.start()
	if err != nil {
		started <- err
		return
	}
	if err := limit(r.cmd.Process.Pid, r.cfg.Limits.Memory); err != nil {
		r.cfg.Log.Info("the kernel does not bound what the plugin takes (CAP_SYS_RESOURCE is missing?); its memory is looked at instead", "scheduler", r.cfg.Name, "error", err)
	} else {
		r.limited = true
	}
	started <- nil
	r.err = r.cmd.Wait()
	close(r.exited)
}

func (r *runner) start() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	// What we were given open by whoever started us is not the plugin's. (Go's
	// own files it does not get anyway.) Kernels before 5.11 cannot do this.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("close_range: %w", err)
	}
	attr := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	r.cmd.SysProcAttr = attr
	if os.Geteuid() != 0 {
		return r.cmd.Start()
	}
	cred, err := credential(r.cfg.User)
	if err != nil {
		return err
	}
	if err := os.Chown(r.dir, int(cred.Uid), int(cred.Gid)); err != nil {
		return err
	}
	attr.Credential = cred
	if !r.cfg.Network {
		attr.Cloneflags = syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC
		err := r.cmd.Start()
		if !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.EINVAL) {
			r.isolated = err == nil
			return err
		}
		r.cfg.Log.Warn("this system gives the plugin no network namespace of its own; it has the machine's", "scheduler", r.cfg.Name, "error", err)
		attr.Cloneflags = 0
	}
	return r.cmd.Start()
}

// credential finds a user to run as: never root.
func credential(name string) (*syscall.Credential, error) {
	if name == "" {
		name = "nobody"
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("the user to run the plugin as: %w; say user = \"…\", one that exists", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	switch {
	case err1 != nil || err2 != nil:
		return nil, fmt.Errorf("the user %s has the ids %s and %s, which are no numbers", name, u.Uid, u.Gid)
	case uid == 0 || gid == 0:
		return nil, fmt.Errorf("the user %s is root or in its group; a plugin must be an unprivileged user's, like nobody", name)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// limit bounds a process that has just begun.
func limit(pid int, memory uint64) error {
	_ = unix.Setpriority(unix.PRIO_PROCESS, pid, 5) // packets come first
	for resource, n := range map[int]uint64{
		unix.RLIMIT_DATA:   memory,
		unix.RLIMIT_CORE:   0,
		unix.RLIMIT_FSIZE:  0, // sockets and pipes are no files
		unix.RLIMIT_NOFILE: 128,
	} {
		if err := unix.Prlimit(pid, resource, &unix.Rlimit{Cur: n, Max: n}, nil); err != nil {
			return err
		}
	}
	return nil
}

// memory is what the process has resident, bytes; 0 if that cannot be told.
func (r *runner) memory() uint64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", r.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	var size, resident uint64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0
	}
	return resident * uint64(os.Getpagesize())
}

func killSession(p *os.Process) error {
	// It leads its session, and so its group.
	if err := unix.Kill(-p.Pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}
