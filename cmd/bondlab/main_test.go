//go:build linux

package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
)

// asProgram has the test binary be bondlab itself.
const asProgram = "BONDLAB_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	sandbox.Main(m.Run)
}

// bondlab is a bondlab process of its own, outside the tests' sandbox as far
// as it knows.
func bondlab(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "BONDLAB_SANDBOX=") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, asProgram+"=1")
	return cmd
}

// inside lists the live processes of a run and all network namespaces that a
// live process is in.
func inside(t *testing.T, id string) (pids, namespaces []string) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		// All of these fail for a task that has just ended; a zombie's environ is empty.
		env, _ := os.ReadFile(filepath.Join(task, "environ"))
		if slices.Contains(strings.Split(string(env), "\x00"), "BONDLAB_SANDBOX="+id) {
			pids = append(pids, task)
		}
		if ns, err := os.Readlink(filepath.Join(task, "ns/net")); err == nil && !slices.Contains(namespaces, ns) {
			namespaces = append(namespaces, ns)
		}
	}
	slices.Sort(namespaces)
	return pids, namespaces
}

func TestNothingLeftAfterKill(t *testing.T) {
	if sandbox.ID() == "" {
		t.Skip("needs root: network namespaces and TUN devices")
	}
	for _, program := range []string{"wireguard-go", "wg", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
	_, before := inside(t, "none")
	cmd := bondlab("run", "seed", "--client", "stock", "--server", "stock", "--keep", "--verbose")
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	// It is in the middle of its work when the borrower's WireGuard speaks.
	id, seen := "", &strings.Builder{}
	for lines := bufio.NewScanner(stderr); lines.Scan() && !strings.HasPrefix(lines.Text(), "c/wireguard-go"); {
		seen.WriteString(lines.Text() + "\n")
		if m := regexp.MustCompile(`^(bl-[0-9a-f]+): building`).FindStringSubmatch(lines.Text()); m != nil {
			id = m[1]
		}
	}
	pids, during := inside(t, id)
	if id == "" || len(pids) < 4 || len(during) < len(before)+6 {
		t.Errorf("expected a running laboratory, found run %q with tasks %q in %d network namespaces; it said\n%s", id, pids, len(during), seen)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		pids, after := inside(t, id)
		if len(pids) == 0 && slices.Equal(before, after) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a minute after SIGKILL: tasks %q are left, network namespaces %q, before %q", pids, after, before)
		}
	}

	// What is left is the record; clean finds it once.
	if recs, err := sandbox.Records(); err != nil || len(recs) != 1 || recs[0].ID != id {
		t.Fatalf("records %+v, %v; expected that of %s", recs, err, id)
	}
	out, err := bondlab("clean").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(id+" removed")) {
		t.Errorf("clean said %q, %v", out, err)
	}
	out, err = bondlab("clean").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("nothing to clean")) {
		t.Errorf("a second clean said %q, %v", out, err)
	}
	if _, err := os.Stat(sandbox.RecordDir); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", sandbox.RecordDir, err)
	}
}

func TestUnknownScenario(t *testing.T) {
	out, err := bondlab("run", "no-such").CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("seed")) {
		t.Errorf("got %v, %q; expected an error that lists the scenarios", err, out)
	}
}
