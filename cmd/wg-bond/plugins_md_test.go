package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/wg-bond/wg-bond/schedulers/builtin"
	"github.com/wg-bond/wg-bond/schedulers/parameters"
)

// TestNewcomer follows PLUGINS.md, word for word, in a fresh directory outside
// this repository, to a plugin that conforms.
func TestNewcomer(t *testing.T) {
	if runtime.GOOS != "linux" && os.Geteuid() == 0 {
		t.Skip("plugins cannot be run by root on this system yet")
	}
	text, err := os.ReadFile("../../PLUGINS.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(language string) string {
		m := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(text)
		if m == nil {
			t.Fatalf("PLUGINS.md has no block in %s", language)
		}
		return string(m[1])
	}
	if n := strings.Count(block("go"), "\n"); n >= 30 {
		t.Errorf("a whole plugin has %d lines; want less than 30", n)
	}
	dir := outside(t)
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(block("go")), 0o644); err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-ec", block("sh"))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "WG_BOND="+here, "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "dial tcp") || strings.Contains(string(out), "module lookup disabled") {
			t.Skipf("`go mod tidy` needs the modules of tests that are not here:\n%s", out)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	try(t, filepath.Join(dir, "spread"))
}

// TestPython: the example in Python conforms.
func TestPython(t *testing.T) {
	if out, err := exec.Command("/usr/bin/python3", "-c", "import grpc, google.protobuf, cryptography").CombinedOutput(); err != nil {
		t.Skipf("needs python3-grpcio, python3-protobuf and python3-cryptography: %s", out)
	}
	dir := outside(t)
	for _, name := range []string{"nearest.py", "scheduler_pb2.py"} {
		data, err := os.ReadFile(filepath.Join("../../plugins/examples/python", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	try(t, filepath.Join(dir, "nearest.py"))
}

// TestParametersDocumented: docs/wg-bond.md has every parameter of the built-in
// schedulers.
func TestParametersDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/wg-bond.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range builtin.All {
		row := regexp.MustCompile("(?m)^\\| `" + s.Name + "` \\| .*$").Find(text)
		if row == nil {
			t.Errorf("no row for %s", s.Name)
			continue
		}
		// A scheduler tells its parameters when asked for one that it lacks.
		p := parameters.New(map[string]any{"?": true})
		s.Configure(p)
		known, some := strings.CutPrefix(p.Problems()[0].Want, "one of ")
		if !some && !strings.Contains(string(row), "none") {
			t.Errorf("%s takes no parameters, but its row is %s", s.Name, row)
		}
		for _, key := range strings.Split(known, ", ") {
			if some && !strings.Contains(string(row), "`"+key+"`") {
				t.Errorf("%s is said to have no %s: %s", s.Name, key, row)
			}
		}
	}
}

// outside makes a directory where an unprivileged user may run programs.
func outside(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "wgbt-newcomer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// try runs `wg-bond scheduler test` without the scenarios.
func try(t *testing.T, path string) {
	t.Helper()
	c := schedulerTestCommand{Plugin: path, Conform: true}
	if err := c.Run(); err != nil {
		t.Error(err)
	}
}
