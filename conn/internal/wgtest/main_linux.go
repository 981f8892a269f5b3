package wgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// envApart is set in the process that has a network namespace of its own.
const envApart = "WGBT_APART"

// Main is for a package's TestMain. As root it runs the tests in a network
// namespace of their own: go test runs packages side by side, and a port that
// one has closed, to open it again, may meanwhile be another's.
func Main(m *testing.M) {
	code, err := 0, error(nil)
	switch {
	case os.Getenv(envApart) != "":
		if err = loopbackUp(); err == nil {
			code = m.Run()
		}
	case os.Geteuid() != 0:
		code = m.Run()
	default:
		if code, err = again(); errors.Is(err, unix.EPERM) {
			code, err = m.Run(), nil // a root that may not make namespaces
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// again runs this program once more, apart.
func again() (code int, err error) {
	runtime.LockOSThread() // the death signal comes when this thread ends
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), envApart+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
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
