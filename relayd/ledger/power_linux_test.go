package ledger

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestPowerCut: a lender whose power is cut again and again lends no byte beyond
// its quota. Its books are on a file system of their own, in a file that stands
// for the disk: what the kernel has not written there is lost.
func TestPowerCut(t *testing.T) {
	switch {
	case os.Geteuid() != 0:
		t.Skip("mounting needs root")
	case testing.Short():
		t.Skip("it waits for the disk again and again")
	}
	dir := t.TempDir()
	disk, at := filepath.Join(dir, "disk"), filepath.Join(dir, "at")
	if err := os.WriteFile(disk, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", disk).CombinedOutput(); err != nil {
		t.Skipf("no mkfs.ext4: %v: %s", err, out)
	}
	// in runs a program that sees the disk, in a mount namespace that ends with it.
	in := func(program ...string) *exec.Cmd {
		return exec.Command("unshare", append([]string{"--mount", "sh", "-c", `mount -o loop "$1" "$2" && shift 2 && exec "$@"`, "sh", disk, at}, program...)...)
	}
	if out, err := in("true").CombinedOutput(); err != nil {
		t.Skipf("a file cannot be mounted here: %v: %s", err, out)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	const quota, most = 10_000_000, 8
	total, cuts := 0, 0
	for over := false; !over; cuts++ {
		cmd := in(os.Args[0])
		cmd.Env = lenderEnv(filepath.Join(at, "ledger.json"), quota, seed+uint64(cuts))
		until := 5 + r.IntN(15)
		if cuts == most {
			until = -1 // this one lives
		}
		left, lent, ended := lives(t, cmd, until, func() {
			if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			awaitStop(t, cmd.Process.Pid)
			left, err := os.ReadFile(disk)
			if err != nil {
				t.Fatal(err)
			}
			disk = filepath.Join(dir, fmt.Sprint("disk", cuts))
			if err := os.WriteFile(disk, left, 0o600); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Process.Kill() // what it has already said still comes
		})
		if total+left > quota {
			t.Fatalf("after %d cuts %d bytes were lent, and %d are left of %d", cuts, total, left, quota)
		}
		total, over = total+lent, ended
		if cuts == most && !over {
			t.Fatal("the last one ended before all was lent")
		}
	}
	if total > quota {
		t.Errorf("%d bytes were lent of %d", total, quota)
	}
	if cuts < 2 {
		t.Skip("all was lent before the power could be cut: this machine has much else to do")
	}
	t.Logf("%d cuts; %d bytes lent of %d", cuts-1, total, quota)
}

// awaitStop waits until no thread of a process runs: they are stopped, or it has
// ended by itself.
func awaitStop(t *testing.T, pid int) {
	t.Helper()
	stopped := func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(threads) == 0 {
			t.Fatalf("no threads: %v", err)
		}
		for _, file := range threads {
			about, _ := os.ReadFile(file)
			if _, state, _ := bytes.Cut(about, []byte(") ")); len(state) == 0 || state[0] != 'T' && state[0] != 'Z' {
				return false
			}
		}
		return true
	}
	for end := time.Now().Add(time.Minute); !stopped(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not stop")
		}
	}
}
