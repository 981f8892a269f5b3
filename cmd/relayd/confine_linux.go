package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// refused are the system calls that a relayd has no use for and an intruder
// would. A list of those that are allowed would be shorter-lived: Go's runtime
// takes new ones with every release.
var refused = []string{
	"execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "mount", "umount2", "pivot_root", "chroot",
	"init_module", "finit_module", "delete_module", "kexec_load", "reboot", "bpf", "perf_event_open", "userfaultfd",
	"keyctl", "add_key", "request_key", "unshare", "setns", "swapon", "swapoff", "acct", "settimeofday", "clock_settime",
	"sethostname", "setdomainname", "quotactl", "setuid", "setgid", "setresuid", "setresgid", "setgroups", "capset",
}

// confine gives up what is needed no more once the sockets are open: root, and
// system calls.
func confine(cfg *config, log *slog.Logger) error {
	if cfg.User == "root" {
		return nil
	}
	if os.Geteuid() == 0 {
		if err := becomeUser(cfg, log); err != nil {
			return err
		}
	}
	if !seccomp.Supported() {
		log.Info("this kernel or machine has no seccomp: no system call is refused")
		return nil
	}
	err := seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: seccomp.Policy{
		DefaultAction: seccomp.ActionAllow,
		Syscalls:      []seccomp.SyscallGroup{{Action: seccomp.ActionErrno, Names: refused}},
	}})
	if err != nil {
		return fmt.Errorf("refusing system calls (user = \"root\" in the file does without): %w", err)
	}
	return nil
}

// becomeUser makes the whole process the configured user's, who then owns the
// state directory.
func becomeUser(cfg *config, log *slog.Logger) error {
	if old := kernelBefore(5, 7); old {
		log.Warn("this kernel lets only root bind sockets to a device: relayd stays root (Linux 5.7 does not mind)")
		return nil
	}
	u, err := findUser(cfg.User)
	if err != nil {
		return err
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if cfg.StateDir != "" {
		err := filepath.WalkDir(cfg.StateDir, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, uid, gid))
		})
		if err != nil {
			return err
		}
	}
	// These are done on all threads.
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(gid), syscall.Setuid(uid)); err != nil {
		return fmt.Errorf("becoming %s: %w", u.Username, err)
	}
	log.Info("gave up root", "user", u.Username)
	return nil
}

// findUser is the user to become: as configured, or relayd's own, or nobody.
func findUser(name string) (*user.User, error) {
	if name != "" {
		u, err := user.Lookup(name)
		if err != nil {
			return nil, fmt.Errorf("user = %q: %w", name, err)
		}
		return u, nil
	}
	if u, err := user.Lookup("relayd"); err == nil {
		return u, nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return nil, fmt.Errorf("there is no user nobody to become; name another, user = \"…\" in the file: %w", err)
	}
	return u, nil
}

func kernelBefore(major, minor int) bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	var a, b int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a < major || a == major && b < minor
}
