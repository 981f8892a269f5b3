package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/elastic/go-seccomp-bpf"
)

// confinedEnv makes the test binary what somebody is who has broken into a
// relayd.
const confinedEnv = "RELAYD_TEST_CONFINED"

func init() {
	if os.Getenv(confinedEnv) == "" {
		return
	}
	if err := confine(&config{}, slog.New(slog.DiscardHandler)); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	_, _, traced := unix.RawSyscall(unix.SYS_PTRACE, unix.PTRACE_ATTACH, 0, 0) // without the filter ESRCH
	fmt.Println("root", os.Getuid() == 0 || os.Geteuid() == 0)
	fmt.Println("exec", errors.Is(exec.Command("/bin/true").Run(), unix.EPERM))
	fmt.Println("ptrace", traced == unix.EPERM)
	fmt.Println("unshare", errors.Is(unix.Unshare(unix.CLONE_NEWUSER), unix.EPERM))
	os.Exit(0)
}

// TestConfined: whoever breaks in is not root, can start no program and trace
// none, and cannot make itself a machine of its own.
func TestConfined(t *testing.T) {
	if !seccomp.Supported() {
		t.Skip("this kernel has no seccomp")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), confinedEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"root false", "exec true", "ptrace true", "unshare true"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("not %q: %s", want, out)
		}
	}
}
