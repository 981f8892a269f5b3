package doctor

import (
	"cmp"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/cmd/internal/bondconf"
	"github.com/wg-bond/wg-bond/cmd/internal/quick"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
)

// between is the time between two looks.
const between = 250 * time.Millisecond

// Gather looks at the interface called name for a while. ask tells its
// state; its error is returned.
func Gather(name string, ask func() (*status.Interface, error), while time.Duration) (*Facts, error) {
	f := &Facts{Name: name, Links: map[string]Link{}, Ways: map[string]Way{}}
	f.Conf, f.Side = name+".conf", bondconf.PathFor(name+".conf")
	if _, path, err := quick.Locate(name); err == nil {
		f.Conf, f.Side = path, bondconf.PathFor(path)
	}
	first, err := ask()
	if err != nil {
		return nil, err
	}
	start, before := time.Now(), readTicks(first.PID)
	f.Looks = []Look{{0, first}}
	tick := time.NewTicker(between)
	defer tick.Stop()
	for len(f.Looks) < 2 || time.Since(start) < while {
		<-tick.C
		i, err := ask()
		if err != nil {
			return nil, err
		}
		f.Looks = append(f.Looks, Look{time.Since(start), i})
	}
	f.CPU = readTicks(first.PID).since(before)
	f.Now = time.Now()
	f.kernel()
	return f, nil
}

// target is where a path's datagrams go.
func target(peer *status.Peer, p *status.Path) (netip.Addr, bool) {
	at, err := netip.ParseAddrPort(cmp.Or(p.Relay, p.Remote, peer.Endpoint))
	return at.Addr().Unmap(), err == nil
}

// ticks are what the kernel counts of CPU time, of all CPUs together.
type ticks struct{ all, idle, stolen, ours uint64 }

// readTicks reads /proc; all is 0 where there is none.
func readTicks(pid int) (t ticks) {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	// proc_stat(5): user nice system idle iowait irq softirq steal; guests are
	// counted as users, too.
	for n, field := range strings.Fields(line) {
		v, err := strconv.ParseUint(field, 10, 64)
		if n == 0 || n > 8 || err != nil {
			continue
		}
		t.all += v
		switch n {
		case 4, 5:
			t.idle += v
		case 8:
			t.stolen += v
		}
	}
	text, _ = os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	// The name may have spaces and brackets; utime and stime are the 12th and
	// 13th field behind it.
	if _, rest, ok := strings.Cut(string(text), ") "); ok {
		if fields := strings.Fields(rest); len(fields) > 12 {
			for _, field := range fields[11:13] {
				v, _ := strconv.ParseUint(field, 10, 64)
				t.ours += v
			}
		}
	}
	return t
}

// since makes parts of the time that passed.
func (t ticks) since(before ticks) CPU {
	all := float64(t.all - before.all)
	if before.all == 0 || all <= 0 {
		return CPU{}
	}
	part := func(now, then uint64) float64 { return float64(now-min(now, then)) / all }
	return CPU{
		Known: true, Count: runtime.NumCPU(), Busy: 1 - part(t.idle, before.idle),
		Stolen: part(t.stolen, before.stolen), Ours: part(t.ours, before.ours),
	}
}
