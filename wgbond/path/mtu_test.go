package path

import (
	"fmt"
	"testing"
	"time"
)

// pipe answers an MTU's probes as a path would: it carries datagrams of at
// most mtu bytes and brings every answer back after rtt.
type pipe struct {
	*MTU
	now, rtt time.Duration
	mtu      int
	lose     func(n int) bool // the nth probe, whatever its size
	mute     bool             // carries nothing at all
	asked    []int
}

// run plays the search for d.
func (p *pipe) run(d time.Duration) {
	end := p.now + d
	for p.Next() <= end {
		p.now = max(p.now, p.Next())
		size := p.Step(p.now)
		if size == 0 {
			continue
		}
		p.asked = append(p.asked, size)
		if p.mute {
			continue
		}
		p.now += p.rtt
		if size <= p.mtu && (p.lose == nil || !p.lose(len(p.asked))) {
			p.Arrived(p.now, size)
		}
		p.Overtaken(p.now, size)
	}
	p.now = end
}

// questions tells the sizes asked for, each with how often in a row.
func (p *pipe) questions() string {
	var out []byte
	for i := 0; i < len(p.asked); {
		n := i
		for n < len(p.asked) && p.asked[n] == p.asked[i] {
			n++
		}
		if i > 0 {
			out = append(out, ' ')
		}
		out = fmt.Append(out, p.asked[i])
		if n-i > 1 {
			out = fmt.Appendf(out, "×%d", n-i)
		}
		i = n
	}
	p.asked = nil
	return string(out)
}

func TestMTUSearch(t *testing.T) {
	for _, tc := range []struct {
		name             string
		limit, need, mtu int
		carries          int
		questions        string
	}{
		{"all passes", 0, 0, 1472, 1452, "1452"},
		{"the interface's is less", 1412, 0, 1412, 1412, "1412"},
		{"the tunnel needs more", 0, 1472, 1472, 1472, "1472"},
		{"the tunnel needs more than the interface has", 1472, 2000, 1472, 1472, "1472"},
		{"PPPoE", 0, 0, 1464, 1452, "1452"},
		{"PPPoE, IPv6", 0, 0, 1444, 1444, "1452×3 1232 1342 1397 1424 1438 1445×3 1441 1443 1444"},
		{"IPv6's least", 0, 0, 1232, 1232, "1452×3 1232 1342×3 1287×3 1259×3 1245×3 1238×3 1235×3 1233×3"},
		{"IPv4's least", 0, 0, 548, 548, "1452×3 1232×3 548 890×3 719×3 633×3 590×3 569×3 558×3 553×3 550×3 549×3"},
		{"next to nothing", 0, 0, 100, 547, "1452×3 1232×3 548×3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &pipe{MTU: NewMTU(0, tc.limit), rtt: 40 * ms, mtu: tc.mtu}
			p.Need(0, tc.need)
			p.run(time.Minute)
			if got := p.Carries(); got != tc.carries {
				t.Errorf("carries %d, want %d", got, tc.carries)
			}
			if got := p.questions(); got != tc.questions {
				t.Errorf("asked %s\n want %s", got, tc.questions)
			}
			if want := tc.mtu >= leastSize; p.Known() != want {
				t.Errorf("known: %v", p.Known())
			}
		})
	}
}

// TestMTUAssumed: a path is taken to carry all until it is seen not to, which
// takes three round trips.
func TestMTUAssumed(t *testing.T) {
	p := &pipe{MTU: NewMTU(0, 0), rtt: 40 * ms, mtu: 1400}
	if c := p.Carries(); c != 1452 || p.Known() {
		t.Errorf("at first it carries %d, known: %v", c, p.Known())
	}
	p.run(3*(40*ms+mtuGrace) - 1)
	if c := p.Carries(); c != 1452 {
		t.Errorf("before the third answer it carries %d", c)
	}
	p.run(1)
	if c := p.Carries(); c != BaseSize {
		t.Errorf("after it, it carries %d", c)
	}
}

// TestMTULoss: a lost probe is no proof, nor is silence.
func TestMTULoss(t *testing.T) {
	p := &pipe{MTU: NewMTU(0, 0), rtt: 40 * ms, mtu: 1452, lose: func(n int) bool { return n <= 2 }}
	p.run(time.Minute)
	if got := p.questions(); got != "1452×3" || p.Carries() != 1452 || !p.Known() {
		t.Errorf("two of three lost: asked %s, carries %d", got, p.Carries())
	}
	p = &pipe{MTU: NewMTU(0, 0), rtt: 40 * ms, mtu: 1452, mute: true}
	p.run(5 * time.Second)
	if got := p.questions(); got != "1452×6" || p.Carries() != 1452 || p.Known() {
		t.Errorf("mute: asked %s, carries %d, known %v", got, p.Carries(), p.Known())
	}
}

// TestMTUChanges: every ten minutes, what failed and what passed is asked for
// again.
func TestMTUChanges(t *testing.T) {
	p := &pipe{MTU: NewMTU(0, 0), rtt: 40 * ms, mtu: 1400}
	p.run(time.Minute)
	p.questions()
	p.run(10 * time.Minute)
	if got := p.questions(); got != "1401×3" || p.Carries() != 1400 {
		t.Errorf("unchanged: asked %s, carries %d", got, p.Carries())
	}
	p.mtu = 1500
	p.run(10 * time.Minute)
	if got := p.questions(); got != "1401 1452" || p.Carries() != 1452 {
		t.Errorf("grown: asked %s, carries %d", got, p.Carries())
	}
	p.mtu = 1300
	p.run(10 * time.Minute)
	if got := p.questions(); got != "1452×3 1232 1342×3 1287 1314×3 1300 1307×3 1303×3 1301×3" || p.Carries() != 1300 {
		t.Errorf("shrunk: asked %s, carries %d", got, p.Carries())
	}
	p.run(time.Hour)
	p.questions()
	p.Need(p.now, 1472) // no news: less than that did not pass
	p.run(time.Minute)
	if got := p.questions(); got != "" || p.Carries() != 1300 {
		t.Errorf("more needed: asked %s, carries %d", got, p.Carries())
	}
}

// TestMTUBlackHole: large data messages that are lost raise a question, unless
// others arrive.
func TestMTUBlackHole(t *testing.T) {
	p := &pipe{MTU: NewMTU(0, 0), rtt: 40 * ms, mtu: 1452}
	p.run(time.Minute)
	p.questions()
	for range 10 { // random loss
		p.Lost(1452)
		p.Lost(1452)
		p.Lost(1452)
		p.Arrived(p.now, 1452)
	}
	p.run(time.Second)
	if got := p.questions(); got != "" {
		t.Errorf("after random loss it asked %s", got)
	}
	p.mtu = 1280
	for range mtuDoubt {
		p.Lost(1452)
		p.Arrived(p.now, 100)
	}
	from := p.now
	p.run(3 * (40*ms + mtuGrace))
	if got := p.questions(); got != "1452×3 1232" || p.Carries() != BaseSize {
		t.Errorf("after %v it had asked %s and carries %d", p.now-from, got, p.Carries())
	}
	p.run(5 * time.Second)
	if p.Carries() != 1280 {
		t.Errorf("it carries %d", p.Carries())
	}
}

// TestMTUSilent: large data messages that went down with the path are asked
// about when it is back; one packet of that size that arrives is answer enough.
func TestMTUSilent(t *testing.T) {
	p := &pipe{MTU: NewMTU(0, 0), rtt: 40 * ms, mtu: 1452}
	p.run(time.Minute)
	p.questions()
	p.Silent(p.now)
	p.run(time.Second)
	if got := p.questions(); got != "" {
		t.Errorf("nothing was lost, and yet it asked %s", got)
	}
	p.Lost(1452)
	p.Silent(p.now)
	p.Arrived(p.now, 1452)
	p.run(time.Second)
	if got := p.questions(); got != "" {
		t.Errorf("data arrived, and yet it asked %s", got)
	}
	p.Lost(1452)
	p.Silent(p.now)
	p.mtu = 1300
	p.run(time.Second)
	if p.Carries() >= 1452 {
		t.Errorf("carries %d", p.Carries())
	}
}

// TestMTUTooLong: the socket's word is final, and not asked about again for
// every packet of a batch.
func TestMTUTooLong(t *testing.T) {
	p := &pipe{MTU: NewMTU(0, 0), rtt: 40 * ms, mtu: 1372}
	for range 100 {
		p.TooLong(0, 1452)
	}
	if p.Carries() != BaseSize {
		t.Errorf("carries %d", p.Carries())
	}
	p.run(3 * time.Second)
	if got := p.questions(); got != "1232 1342 1397×3 1369 1383×3 1376×3 1372 1374×3 1373×3" || p.Carries() != 1372 {
		t.Errorf("asked %s, carries %d", got, p.Carries())
	}
	p.TooLong(p.now, 1452)
	p.run(time.Minute)
	if got := p.questions(); got != "" {
		t.Errorf("what was known made it ask %s", got)
	}
}
