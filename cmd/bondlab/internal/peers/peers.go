//go:build linux

// Package peers shows which WireGuards work together: every client with every
// server, each with the means of its own users.
//
//	clients                                        servers
//	wg-bond up, two paths     ──┐             ┌──  wg-bond up
//	wireguard-go, of go.mod   ──┤             ├──  wg-bond serve before wireguard-go
//	wireguard-go, of Debian   ──┤   router    ├──  wg-bond serve before the kernel's, both in qemu
//	the kernel's, in qemu     ──┘             └──  wireguard-go alone
//
// # New keys
//
// WireGuard makes new keys after 120 seconds, and no implementation lets itself
// be told otherwise. So two steps have an end expire its keys: its private key is
// changed and changed back by `wg set`, upon which every implementation takes its
// sending keys for used up, and the next packet begins a handshake. The other
// end's keys stay, and old keys are still good for receiving: as with keys that
// have grown old. What the trick adds is that wg-bond up, told of another private
// key, ends its sessions and makes new ones. Options.Rekey waits for
// the real thing, all pairs at once, with pings under way of which none may be lost.
package peers

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wg-bond/wg-bond/cmd/internal/status"
)

// The ports inside the tunnel.
const (
	downPort = 7001 // sends the file to whoever comes
	upPort   = 7002 // answers with the checksum of what came
)

// The steps of a comparison.
const (
	handshake = "handshake"
	ping      = "ping"
	bonded    = "bonded" // or plain, as it should be
	down      = "down"
	up        = "up"
	rekey     = "rekey after 120 s"
	newClient = "new keys by client"
	newServer = "new keys by server"
)

// Pair is what was found of one client at one server.
type Pair struct {
	Client string `json:"client"`
	Server string `json:"server"`
	// Paths is how many the two bond; 0: plain WireGuard, as it should be where
	// either end knows nothing of bonding.
	Paths int `json:"paths"`
	// Steps has an entry for every step taken: how it failed, or empty.
	Steps map[string]string `json:"steps"`
}

// Report is a whole comparison.
type Report struct {
	Versions map[string]string `json:"versions"` // by program
	Bytes    int               `json:"bytes"`    // each way
	Took     float64           `json:"took"`     // seconds
	Pairs    []*Pair           `json:"pairs"`
}

// Failed lists what did not work, one line each.
func (r *Report) Failed() (lines []string) {
	for _, p := range r.Pairs {
		for _, step := range r.steps() {
			if why, done := p.Steps[step]; !done {
				lines = append(lines, fmt.Sprintf("%s at %s: %s: not reached", p.Client, p.Server, step))
			} else if why != "" {
				lines = append(lines, fmt.Sprintf("%s at %s: %s: %s", p.Client, p.Server, step, why))
			}
		}
	}
	return lines
}

// Run makes all machines, compares, and removes them. Inside a sandbox only.
func Run(opt Options) (*Report, error) {
	began := time.Now()
	l, err := build(opt)
	if err != nil {
		return nil, err
	}
	defer l.close()
	r := &Report{Bytes: opt.Size, Versions: l.versions()}
	pairs := map[[2]*end]*Pair{}
	for _, c := range l.clients {
		for _, s := range l.servers {
			p := &Pair{Client: c.Name, Server: s.Name, Steps: map[string]string{}}
			pairs[[2]*end{c, s}] = p
			r.Pairs = append(r.Pairs, p)
		}
	}
	var mu sync.Mutex // guards the pairs
	step := func(name string, c, s *end, do func() error) bool {
		err := do()
		mu.Lock()
		defer mu.Unlock()
		p := pairs[[2]*end{c, s}]
		p.Steps[name] = ""
		if err != nil {
			p.Steps[name] = err.Error()
		}
		return err == nil
	}
	parallel(l.clients, func(c *end) {
		for _, s := range l.servers {
			_ = step(handshake, c, s, func() error { return l.handshake(c, s) }) &&
				step(ping, c, s, func() error { return l.ping(c, s) }) &&
				step(bonded, c, s, func() (err error) { pairs[[2]*end{c, s}].Paths, err = l.bonded(c, s); return err }) &&
				step(down, c, s, func() error { return l.down(c, s) }) &&
				step(up, c, s, func() error { return l.up(c, s) })
		}
	})
	if opt.Rekey {
		parallel(l.clients, func(c *end) {
			parallel(l.servers, func(s *end) { step(rekey, c, s, func() error { return l.rekey(c, s) }) })
		})
	}
	parallel(l.clients, func(c *end) {
		parallel(l.servers, func(s *end) { step(newClient, c, s, func() error { return l.newKeysByClient(c, s) }) })
	})
	parallel(l.servers, func(s *end) {
		before, err := l.expireServer(s)
		parallel(l.clients, func(c *end) {
			step(newServer, c, s, func() error {
				if err != nil {
					return err
				}
				return l.newKeysByServer(c, s, before[c.index])
			})
		})
	})
	r.Took = time.Since(began).Seconds()
	return r, nil
}

func parallel(ends []*end, do func(*end)) {
	var wg sync.WaitGroup
	for _, e := range ends {
		wg.Go(func() { do(e) })
	}
	wg.Wait()
}

// versions tells what was compared.
func (l *lab) versions() map[string]string {
	v := map[string]string{}
	ask := func(of string, e *end, script string) {
		if out, err := e.sh("%s", script); err == nil {
			v[of] = strings.TrimSpace(out)
		}
	}
	ask("wg-bond", l.clients[bond], "wg-bond --version")
	ask("wireguard-go", l.clients[stock], "wireguard-go --version | head -n 1")
	ask("Debian's wireguard-go", l.clients[debian], debianGo+" --version | head -n 1")
	ask("kernel", l.clients[kernel], "uname -sr")
	return v
}

// latest is the time of an end's latest handshake with another, Unix seconds of
// its own clock; 0: never.
func (e *end) latest(name string, peer *end) (int64, error) {
	out, err := e.sh("wg show %s latest-handshakes", name)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == peer.key.PublicKey().String() {
			return strconv.ParseInt(f[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: wg show %s lists no peer %v", e.name, name, peer.key.PublicKey())
}

// newer waits for a handshake that is later than before.
func (e *end) newer(name string, peer *end, before int64) error {
	return e.until(func() error {
		now, err := e.latest(name, peer)
		if err == nil && now <= before {
			err = fmt.Errorf("%s: no handshake on %s with %s since %d: the latest is %d", e.name, name, peer.name, before, now)
		}
		return err
	})
}

// pastSecond waits until a handshake now would be told from an earlier one: wg
// shows whole seconds.
func (e *end) pastSecond(before int64) error {
	return e.eventually("[ $(date +%%s) -gt %d ]", before)
}

func (l *lab) handshake(c, s *end) error {
	if err := c.eventually("ping -c 1 -W 2 %v", inside(s, nil).Addr()); err != nil {
		return err
	}
	if err := c.newer(iface(s), s, 0); err != nil {
		return err
	}
	return s.newer("wg0", c, 0)
}

// pings sends so many, so far apart, and wants an answer to each. Each is a run
// of ping: busybox's waits for what one run has not yet answered only two round
// trips, or a second, once it has any answer, and a guest can take longer.
func (l *lab) pings(c, s *end, n int, apart string) error {
	_, err := c.sh("for i in $(seq %d); do ping -c 1 -W 60 %v; sleep %s; done", n, inside(s, nil).Addr(), apart)
	return err
}

func (l *lab) ping(c, s *end) error { return l.pings(c, s, 5, "0.1") }

// bonded wants every path in use where both ends bond, and plain WireGuard
// elsewhere. Where the client is wg-bond it says so, where not a bonding
// server does.
func (l *lab) bonded(c, s *end) (paths int, err error) {
	ask, name, key := c, iface(s), s.key.PublicKey().String()
	switch {
	case c.kind == bond:
	case s.bonds():
		ask, name, key = s, "wg0", c.key.PublicKey().String()
	default:
		return 0, nil
	}
	err = ask.until(func() error {
		out, err := ask.sh("wg-bond status %s --json", name)
		var is status.Interface
		if err == nil {
			err = json.Unmarshal([]byte(out), &is)
		}
		if err != nil {
			return err
		}
		paths = 0
		reason := "none"
		for _, p := range is.Peers {
			if p.PublicKey != key || p.Bond == nil {
				continue
			}
			reason = p.Bond.PlainReason
			for _, path := range p.Bond.Paths {
				if p.Bond.Bonded && path.State == "active" {
					paths++
				}
			}
		}
		switch {
		case c.kind == bond && s.bonds():
			if paths != 2 {
				return fmt.Errorf("%d paths are bonded, want 2; status: %s", paths, out)
			}
		case paths > 0:
			return fmt.Errorf("%d paths are bonded, though one end cannot bond", paths)
		case reason == "":
			return fmt.Errorf("it is plain, and status does not say why: %s", out)
		}
		return nil
	})
	return paths, err
}

// checked compares a line of sha256sum with the file's.
func (l *lab) checked(line string) error {
	content, err := os.ReadFile(l.data)
	if err != nil {
		return err
	}
	want := fmt.Sprintf("%x", sha256.Sum256(content))
	if f := strings.Fields(line); len(f) == 0 || f[0] != want {
		return fmt.Errorf("SHA-256 %q, want %s of %d bytes", line, want, len(content))
	}
	return nil
}

func (l *lab) down(c, s *end) error {
	out, err := c.sh("nc %v %d </dev/null | sha256sum", inside(s, nil).Addr(), downPort)
	if err != nil {
		return err
	}
	return l.checked(out)
}

func (l *lab) up(c, s *end) error {
	data := l.data
	if c.guest != nil {
		data = "/tmp/data"
	}
	out, err := c.sh("nc %v %d <%s", inside(s, nil).Addr(), upPort, data)
	if err != nil {
		return err
	}
	return l.checked(out)
}

// expireKeys has an end take all its keys of an interface for used up.
func (e *end) expireKeys(name string) error {
	other, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		return err
	}
	_, err = e.sh("echo %v | wg set %s private-key /dev/stdin; echo %v | wg set %s private-key /dev/stdin", other, name, e.key, name)
	return err
}

// newKeysByClient has the client speak first with new keys.
func (l *lab) newKeysByClient(c, s *end) error {
	before, err := s.latest("wg0", c)
	if err != nil {
		return err
	}
	if err := s.pastSecond(before); err != nil {
		return err
	}
	if err := c.expireKeys(iface(s)); err != nil {
		return err
	}
	if err := c.eventually("ping -c 1 -W 2 %v", inside(s, nil).Addr()); err != nil {
		return err
	}
	if err := s.newer("wg0", c, before); err != nil {
		return err
	}
	_, err = l.bonded(c, s)
	return err
}

// expireServer expires all keys of a server. It returns the handshakes that its
// clients knew of before, in their order.
func (l *lab) expireServer(s *end) (before []int64, err error) {
	for _, c := range l.clients {
		t, err := c.latest(iface(s), s)
		if err != nil {
			return nil, err
		}
		if err := c.pastSecond(t); err != nil {
			return nil, err
		}
		before = append(before, t)
	}
	return before, s.expireKeys("wg0")
}

// newKeysByServer has the server speak first with new keys.
func (l *lab) newKeysByServer(c, s *end, before int64) error {
	if err := s.eventually("ping -c 1 -W 2 %v", inside(s, c).Addr()); err != nil {
		return err
	}
	if err := c.newer(iface(s), s, before); err != nil {
		return err
	}
	_, err := l.bonded(c, s)
	return err
}

// rekey waits for WireGuard's own new keys, while pings pass.
func (l *lab) rekey(c, s *end) error {
	before, err := c.latest(iface(s), s)
	if err != nil {
		return err
	}
	theirs, err := s.latest("wg0", c)
	if err != nil {
		return err
	}
	for range 14 { // ten seconds each
		if err := l.pings(c, s, 20, "0.5"); err != nil {
			return err
		}
	}
	if err := c.newer(iface(s), s, before); err != nil {
		return err
	}
	return s.newer("wg0", c, theirs)
}
