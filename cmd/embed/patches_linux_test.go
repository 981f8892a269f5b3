package embed

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/cmd/internal/nstest"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
)

// The patches in patches/, each applied to its upstream source as the registry
// ships it, built, and run where that is possible.

// Keys of two machines.
const (
	privateA = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	publicA  = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
	privateB = "2AJ26z6k0PsCbrqI1UqZDlKKKZ60jvup5O2j2wLvZF4="
	publicB  = "CA7MjiDxct3cDKotDsUaF+/DT/DPJfS0DCj27ZMwaH8="
)

// unreachable has what go says when the network fails it.
var unreachable = []string{"dial tcp", `Get "http`, "reading http", "module lookup disabled"}

// command runs a command in dir and returns what it prints.
func command(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			out = append(out, exit.Stderr...)
		}
		if s := string(out); slices.ContainsFunc(unreachable, func(sign string) bool { return strings.Contains(s, sign) }) {
			t.Skipf("the module proxy cannot be reached: %s", s)
		}
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func repository(t *testing.T) string {
	t.Helper()
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// apply copies upstream's source, a directory, to a directory and applies the
// patch that is called name. Offsets are fine, fuzz is not: a patch whose context
// is no longer there needs its owner.
func apply(t *testing.T, name, source string) string {
	t.Helper()
	if _, err := exec.LookPath("patch"); err != nil {
		t.Skip("needs patch")
	}
	dir := filepath.Join(t.TempDir(), "upstream")
	if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(repository(t), "patches", name, "bond.patch")
	t.Logf("%s", command(t, dir, nil, "patch", "--batch", "--forward", "--fuzz=0", "-p1", "-i", file))
	return dir
}

// workspace makes the Go workspace that the patches' READMEs tell of, so that the
// patched module finds ours, and returns the environment for it.
func workspace(t *testing.T, dir string) []string {
	t.Helper()
	above := filepath.Dir(dir)
	env := []string{"GOWORK=" + filepath.Join(above, "go.work"), "GOFLAGS="}
	command(t, above, env, "go", "work", "init", dir, repository(t))
	return env
}

// town is a client with two links to a server, which has one address:
//
//	client p1 10.99.1.1 ── 10.99.1.2 ┐
//	       p2 10.99.2.1 ── 10.99.2.2 ┴ server 10.99.9.9
type town struct {
	client, server *nstest.Namespace
	bin, etc       string // programs, and the client's /etc/wireguard
}

func newTown(t *testing.T) *town {
	t.Helper()
	ns := nstest.New(t, 2)
	for _, tool := range []string{"wg", "ping", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	for _, path := range []string{"/dev/net/tun", "/etc/wireguard"} {
		if _, err := os.Stat(path); err != nil {
			t.Skip(err)
		}
	}
	w := &town{client: ns[0], server: ns[1], bin: t.TempDir(), etc: t.TempDir()}
	nstest.Cable(w.client, w.server, "wgbt-p1", "10.99.1.1/24", "10.99.1.2/24")
	nstest.Cable(w.client, w.server, "wgbt-p2", "10.99.2.1/24", "10.99.2.2/24")
	w.server.Run("ip", "address", "add", "10.99.9.9/32", "dev", "lo")
	w.client.Run("ip", "route", "add", "10.99.9.9", "via", "10.99.1.2", "metric", "1")
	w.client.Run("ip", "route", "add", "10.99.9.9", "via", "10.99.2.2", "metric", "2")
	command(t, ".", nil, "go", "build", "-o", w.bin+"/", "github.com/wg-bond/wg-bond/cmd/wg-bond")
	t.Setenv("PATH", w.bin+":"+os.Getenv("PATH"))
	t.Setenv("LOG_LEVEL", "")

	conf := filepath.Join(t.TempDir(), "wgbt-em9.conf")
	w.file(t, conf, "[Interface]\nPrivateKey = "+privateB+"\nListenPort = 51820\nAddress = 10.77.0.1/24\n[Peer]\nPublicKey = "+publicA+"\nAllowedIPs = 10.77.0.2/32\n")
	w.server.Run("wg-bond", "up", conf)
	t.Cleanup(func() { _, _, _ = w.server.Try("wg-bond", "down", conf) })
	return w
}

func (w *town) file(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const peerOfClient = "[Peer]\nPublicKey = " + publicB + "\nAllowedIPs = 10.77.0.0/24\nEndpoint = 10.99.9.9:51820\n"
const sideOfClient = "[[path]]\ndevice = \"wgbt-p1\"\n[[path]]\ndevice = \"wgbt-p2\"\n"

// inEtc is a command that runs with the client's /etc/wireguard as its own.
func (w *town) inEtc(args ...string) *exec.Cmd {
	return exec.Command("unshare", append([]string{"--mount", "sh", "-ec", `mount --bind "$0" /etc/wireguard; exec "$@"`, w.etc}, args...)...)
}

// bonded is over how many paths the server's only peer is bonded.
func (w *town) bonded(t *testing.T) (paths int) {
	t.Helper()
	var is status.Interface
	if err := json.Unmarshal([]byte(w.server.Run("wg-bond", "status", "wgbt-em9", "--json")), &is); err != nil {
		t.Fatal(err)
	}
	for _, p := range is.Peers {
		if p.Bond == nil || !p.Bond.Bonded {
			continue
		}
		for _, path := range p.Bond.Paths {
			if path.State == "active" {
				paths++
			}
		}
	}
	return paths
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute in vain for %s", what)
		}
	}
}

func (w *town) pings(t *testing.T) {
	t.Helper()
	eventually(t, "a ping through the tunnel", func() bool {
		_, _, err := w.client.Try("ping", "-c", "1", "-W", "2", "10.77.0.1")
		return err == nil
	})
}

// TestPatchedWireGuardGo: wireguard-go bonds where there is a side file, and is
// what it was where there is none.
func TestPatchedWireGuardGo(t *testing.T) {
	source := strings.TrimSpace(command(t, ".", nil, "go", "list", "-m", "-f", "{{.Dir}}", "golang.zx2c4.com/wireguard"))
	dir := apply(t, "wireguard-go", source)
	program := filepath.Join(filepath.Dir(dir), "wireguard-go")
	command(t, dir, workspace(t, dir), "go", "build", "-o", program, ".")

	w := newTown(t)
	for name, side := range map[string]string{"wgbt-em1": sideOfClient, "wgbt-em2": ""} {
		if side != "" {
			w.file(t, filepath.Join(w.etc, name+".bond.toml"), side)
		}
		conf := filepath.Join(w.etc, name+".conf")
		w.file(t, conf, "[Interface]\nPrivateKey = "+privateA+"\n"+peerOfClient)
		cmd := w.inEtc(program, "-f", name)
		var log bytes.Buffer
		cmd.Stderr = &log
		w.client.Start(cmd)
		eventually(t, "wireguard-go's socket", func() bool { _, _, err := w.client.Try("wg", "setconf", name, conf); return err == nil })
		w.client.Run("ip", "address", "add", "10.77.0.2/24", "dev", name)
		w.client.Run("ip", "link", "set", name, "mtu", "1420", "up")
		w.pings(t)
		if side != "" {
			eventually(t, "two bonded paths", func() bool { w.pings(t); return w.bonded(t) == 2 })
		} else if n := w.bonded(t); n != 0 {
			t.Errorf("without a side file %d paths are bonded", n)
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("wireguard-go ended: %v\n%s", err, &log)
		}
		eventually(t, "the end of the session", func() bool { return w.bonded(t) == 0 })
	}
}

// TestPatchedWgQuick: the shipped wg-quick hands an interface with a side file
// to wg-bond, before it asks the kernel, and no other.
func TestPatchedWgQuick(t *testing.T) {
	shipped, err := exec.LookPath("wg-quick")
	if err != nil {
		t.Skip("needs wg-quick, of wireguard-tools")
	}
	script, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "wg-quick"), script, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(apply(t, "wg-quick", source), "wg-quick")
	w := newTown(t)
	run := func(action, name string) string {
		var out bytes.Buffer
		cmd := w.inEtc(program, action, name)
		cmd.Stdout, cmd.Stderr = &out, &out
		w.client.Start(cmd)
		if err := cmd.Wait(); err != nil {
			t.Fatalf("wg-quick %s %s: %v\n%s", action, name, err, &out)
		}
		return out.String()
	}
	const name = "wgbt-em3"
	w.file(t, filepath.Join(w.etc, name+".conf"), "[Interface]\nPrivateKey = "+privateA+"\nAddress = 10.77.0.2/24\n"+peerOfClient)
	w.file(t, filepath.Join(w.etc, name+".bond.toml"), sideOfClient)
	before := w.client.State()
	if out := run("up", name); !strings.Contains(out, "[#] wg-bond "+name) || strings.Contains(out, "type wireguard") {
		t.Errorf("wg-quick up says:\n%s", out)
	}
	w.pings(t)
	eventually(t, "two bonded paths", func() bool { w.pings(t); return w.bonded(t) == 2 })
	run("down", name)
	gone := func() bool { return w.client.State() == before }
	eventually(t, "nothing to be left", gone)

	if err := os.Remove(filepath.Join(w.etc, name+".bond.toml")); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("wireguard-go"); err != nil {
		t.Skip("the rest needs wireguard-go, or a kernel with WireGuard")
	}
	if out := run("up", name); !strings.Contains(out, "type wireguard") || strings.Contains(out, "wg-bond") {
		t.Errorf("wg-quick up without a side file says:\n%s", out)
	}
	w.pings(t)
	run("down", name)
	eventually(t, "nothing to be left", gone)
}

// TestPatchedWireGuardWindows: the service that runs a tunnel builds for Windows
// with the patch. There is no Windows here to run it.
func TestPatchedWireGuardWindows(t *testing.T) {
	const version = "golang.zx2c4.com/wireguard/windows@v1.1.1" // that patches/wireguard-windows/README.md names
	var module struct{ Dir string }
	if err := json.Unmarshal([]byte(command(t, t.TempDir(), nil, "go", "mod", "download", "-json", version)), &module); err != nil {
		t.Fatal(err)
	}
	dir := apply(t, "wireguard-windows", module.Dir)
	env := append(workspace(t, dir), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	command(t, dir, env, "go", "build", "./tunnel")
}
