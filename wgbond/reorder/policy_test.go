package reorder

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

// play runs a script against a buffer with Hold 20 ms and Deadline 500 ms
// unless p says otherwise. A line is
//
//	MS OP [ARGS…] > PACKETS…
//
// that is: at MS milliseconds do OP, and exactly PACKETS go on. Key pairs are
// letters, their index is the letter and their ordinal its place in the
// alphabet; a5 is the packet of key pair a with counter 5. Operations:
//
//	announce a FIRST         KeyPair
//	end a END                KeyPairEnd
//	p0 a5 a6 …               packets that come by path 0
//	p0 marker a5             Marker: nothing below 5 comes by path 0
//	p0 heard | p0 gone       Heard, PathGone
//	void a3 a6               Void, 3 ≤ c < 6
//	tune HOLD DEADLINE 0,2   Tune, in ms, with the paths that carry data
//	time                     nothing but the time passes
//
// After every line Next is asked, and at "next MS" it must be MS (or "never").
func play(t *testing.T, p Params, script string) *Buffer {
	t.Helper()
	if p.Hold == 0 {
		p.Hold = 20 * time.Millisecond
	}
	if p.Deadline == 0 {
		p.Deadline = 500 * time.Millisecond
	}
	b := New(p)
	for n, line := range strings.Split(script, "\n") {
		if i := strings.Index(line, "#"); i >= 0 {
			line = line[:i]
		}
		todo, want, _ := strings.Cut(line, ">")
		f := strings.Fields(todo)
		if len(f) == 0 {
			continue
		}
		if f[0] == "next" {
			want := Never
			if f[1] != "never" {
				want = ms(f[1])
			}
			if got := b.Next(); got != want {
				t.Errorf("line %d: Next is %v, want %v", n, got, want)
			}
			continue
		}
		do(t, b, ms(f[0]), f[1:])
		var got []string
		for _, pkt := range b.Release(ms(f[0]), nil) {
			got = append(got, string(pkt))
		}
		if g, w := strings.Join(got, " "), strings.Join(strings.Fields(want), " "); g != w {
			t.Errorf("line %d: %s: went on: %q, want %q", n, strings.TrimSpace(todo), g, w)
		}
		if next := b.Next(); next <= ms(f[0]) {
			t.Errorf("line %d: %s: Next is %v, not in the future", n, strings.TrimSpace(todo), next)
		}
	}
	return b
}

func ms(s string) time.Duration {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return time.Duration(n) * time.Millisecond
}

func parse(s string) (index uint32, counter uint64) {
	n, err := strconv.ParseUint(s[1:], 10, 64)
	if err != nil {
		panic(err)
	}
	return uint32(s[0]), n
}

func do(t *testing.T, b *Buffer, now time.Duration, f []string) {
	switch {
	case f[0] == "time":
	case f[0] == "announce":
		first, _ := strconv.ParseUint(f[2], 10, 64)
		b.KeyPair(now, uint32(f[1][0]), uint32(f[1][0]-'a'), first)
	case f[0] == "end":
		end, _ := strconv.ParseUint(f[2], 10, 64)
		b.KeyPairEnd(now, uint32(f[1][0]), end)
	case f[0] == "void":
		index, from := parse(f[1])
		_, to := parse(f[2])
		b.Void(now, index, from, to)
	case f[0] == "tune":
		var live uint32
		for _, p := range strings.Split(f[3], ",") {
			id, _ := strconv.Atoi(p)
			live |= 1 << id
		}
		b.Tune(now, ms(f[1]), ms(f[2]), live)
	case f[0][0] == 'p':
		n, _ := strconv.Atoi(f[0][1:])
		id := schedulers.PathID(n)
		switch f[1] {
		case "heard":
			b.Heard(now, id)
		case "gone":
			b.PathGone(now, id)
		case "marker":
			index, below := parse(f[2])
			b.Marker(now, id, index, below)
		default:
			for _, name := range f[1:] {
				index, c := parse(name)
				b.Packet(now, id, index, c, []byte(name))
			}
		}
	default:
		t.Fatalf("no such operation: %v", f)
	}
}

func TestPolicy(t *testing.T) {
	for _, c := range []struct {
		name   string
		p      Params
		script string
		check  func(s Stats) bool
	}{
		{name: "what is in order goes on at once", script: `
			0 announce a 0
			1 p0 a0 a1          > a0 a1
			2 p1 a2             > a2
			next never`},

		{name: "a gap ends when it fills", script: `
			0 announce a 0
			0 p0 a0 a1          > a0 a1
			1 p1 heard
			2 p0 a3 a4          >
			next 502
			9 p1 a2             > a2 a3 a4
			next never`,
			check: func(s Stats) bool { return s.Filled == 1 && s.InOrder == 3 && s.Held == 2 }},

		{name: "a gap ends when every live path has passed it, and Hold is over", script: `
			0 announce a 0
			0 p0 a0             > a0
			0 p1 a1             > a1
			1 p0 a3             >
			5 p1 a4             >     # path 1 is past it: 2 is lost
			next 25
			24 time             >
			25 time             > a3 a4
			26 p0 a2            > a2`,
			check: func(s Stats) bool { return s.GapsPassed == 1 && s.Late == 1 && s.Filled == 0 }},

		{name: "with no Hold the gap ends at once", script: `
			0 announce a 0
			0 tune 0 500 0,1
			0 p0 a0             > a0
			0 p1 a1             > a1
			1 p0 a3             >
			5 p1 a4             > a3 a4`},

		{name: "Hold counts for each gap from when it was passed", script: `
			0 announce a 0
			0 p0 a0             > a0
			0 p0 a2             >     # the only path has passed 1
			10 p0 a4            >     # and 3
			20 time             > a2
			next 30
			30 time             > a4`},

		{name: "a packet that splits a passed gap does not prolong its rest", script: `
			0 announce a 0
			0 p0 a0 a4          > a0
			10 p0 a2            >     # a repair
			20 time             > a2 a4`},

		{name: "a repair fills a passed gap within Hold", script: `
			0 announce a 0
			0 p0 a0             > a0
			0 p0 a2             >
			19 p1 a1            > a1 a2`},

		{name: "Deadline ends any gap", script: `
			0 announce a 0
			0 tune 20 300 0,1
			0 p0 a0             > a0
			0 p1 heard          >     # alive, silent on data
			10 p0 a2            >
			11 p0 a4            >
			next 310
			309 time            >
			310 time            > a2
			next 311
			311 time            > a4`,
			check: func(s Stats) bool { return s.GapsDeadline == 2 }},

		{name: "a path counts while it is heard", p: Params{Silence: 100 * time.Millisecond}, script: `
			0 announce a 0
			0 p1 heard
			0 p0 a0             > a0
			50 p0 a2            >
			next 100
			100 time            >     # path 1 is silent for 100 ms: 1 is passed
			next 120
			120 time            > a2`},

		{name: "a path that carries no data is not waited for", script: `
			0 announce a 0
			0 p1 heard
			0 tune 20 500 0
			0 p0 a0             > a0
			1 p0 a2             >
			21 time             > a2`},

		{name: "a path withdrawn is not waited for", script: `
			0 announce a 0
			0 p1 heard
			0 p0 a0             > a0
			1 p0 a2             >
			30 p1 gone          >
			50 time             > a2`},

		{name: "a marker speaks for an idle path", script: `
			0 announce a 0
			0 p0 a0             > a0
			0 p1 a1             > a1
			1 p0 a3             >
			2 p1 marker a2      >     # 2 may still come
			4 p1 marker a3      >     # nothing below 3 does
			24 time             > a3`},

		{name: "Hold counts from the packet that makes it a gap", script: `
			0 announce a 0
			0 p0 a0             > a0
			0 p1 a1             > a1
			1 p1 marker a3      >
			5 p0 a3             >
			24 time             >
			25 time             > a3`},

		{name: "void counters are not waited for", script: `
			0 announce a 0
			0 p0 a0             > a0
			1 p0 a3             >
			2 void a1 a3        > a3
			3 void a5 a7        >
			4 p0 a4             > a4
			5 p0 a7             > a7`,
			check: func(s Stats) bool { return s.Voided == 4 && s.InOrder == 3 }},

		{name: "the first packets of a key pair are waited for", script: `
			0 announce a 5
			0 p1 heard
			0 p0 a6             >
			1 p1 a5             > a5 a6`},

		{name: "what was not announced goes on as it comes", script: `
			0 p0 a3             > a3
			0 p0 a1             > a1
			1 announce a 0      >     # the order begins after what was seen
			2 p0 a2             > a2
			3 p0 a5             >
			4 p0 a4             > a4 a5`,
			check: func(s Stats) bool { return s.Unannounced == 2 && s.Late+s.Duplicate == 1 }},

		{name: "a newer key pair waits for the end of the older", script: `
			0 announce a 0
			0 p1 heard
			0 p0 a0             > a0
			1 announce b 0      >
			1 p0 b0 b1          >
			2 p1 a1             > a1
			3 end a 2           > b0 b1
			4 p1 a1             > a1`,
			check: func(s Stats) bool { return s.Late == 1 && s.GapsPassed == 0 }},

		{name: "or until every live path has gone over to it", script: `
			0 announce a 0
			0 announce b 0
			0 p0 a0             > a0
			0 p1 a1             > a1
			1 p0 b0             >
			2 p1 b1             >
			next 22
			22 time             > b0 b1`,
			check: func(s Stats) bool { return s.GapsPassed == 1 }},

		{name: "or until Deadline", script: `
			0 announce a 0
			0 announce b 0
			0 p1 heard
			0 p0 a0             > a0
			1 p0 b0             >
			next 501
			500 p1 heard
			501 time            > b0`,
			check: func(s Stats) bool { return s.GapsDeadline == 1 }},

		{name: "a key pair's tail gap is over when its end is passed", script: `
			0 announce a 0
			0 announce b 0
			0 end a 3
			0 p0 a0             > a0
			0 p1 marker a3
			1 p0 b0             >
			21 time             > b0`},

		{name: "a fifth key pair ends the first", script: `
			0 announce a 0
			0 p1 heard
			0 p0 a1             >
			0 announce b 0
			0 announce c 0
			0 announce d 0
			0 announce e 0      > a1`,
			check: func(s Stats) bool { return s.GapsForced == 1 }},

		{name: "an old announcement opens nothing", script: `
			0 announce a 0
			0 end a 0
			1 announce b 0
			2 announce a 0
			3 p0 b0             > b0`},

		{name: "too many packets end the oldest gap", p: Params{MaxPackets: 3}, script: `
			0 announce a 0
			0 p1 heard
			0 p0 a1 a2 a4       >
			1 p0 a5             > a1 a2`,
			check: func(s Stats) bool { return s.GapsForced == 1 }},

		{name: "duplicates go on", script: `
			0 announce a 0
			0 p1 heard
			0 p0 a0             > a0
			0 p1 a0             > a0
			1 p0 a2             >
			1 p1 a2             >        # it is the same, and has no earlier turn
			1 p2 a2             >
			20 time             >        # path 1 has brought 2 as well
			21 time             > a2 a2 a2`,
			check: func(s Stats) bool { return s.Duplicate == 3 }},

		{name: "a forged counter far ahead changes nothing", script: `
			0 announce a 0
			0 p1 heard
			0 p0 a0             > a0
			1 p1 a99999999      > a99999999
			2 p0 a2             >
			3 p1 a1             > a1 a2`,
			check: func(s Stats) bool { return s.TooFar == 1 && s.Restarts == 0 }},

		{name: "a forged packet within the window does not flush a moving stream", script: `
			0 announce a 0
			0 p0 a0             > a0
			0 p1 a1             > a1
			1 p1 a5000          >
			300 p0 a2           > a2
			501 time            > a5000    # alone
			502 p0 a4           >
			503 p1 a3           > a3 a4`,
			check: func(s Stats) bool { return s.Expired == 1 && s.GapsDeadline == 0 }},

		{name: "when all paths jump far, the order begins anew there after Deadline", script: `
			0 announce a 0
			0 p0 a0             > a0
			1 p0 a90000         > a90000
			400 p0 a90001       > a90001
			501 p0 a90002       > a90002
			502 p0 a90004       >
			503 p0 a90003       > a90003 a90004`,
			check: func(s Stats) bool { return s.Restarts == 1 && s.TooFar == 3 }},

		{name: "what markers have passed is no jump", script: `
			0 announce a 0
			0 p0 a0             > a0
			1 p0 marker a90000  >
			2 p0 a90001         >
			3 p0 a90000         > a90000 a90001`},

		{name: "a higher first voids what is below", script: `
			0 announce a 0
			0 p1 heard
			0 p0 a3             >
			1 announce a 3      > a3`},

		{name: "beyond the announced end nothing is put in order", script: `
			0 announce a 0
			0 end a 5
			1 p0 a7             > a7
			2 p0 a0             > a0`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := play(t, c.p, c.script)
			if c.check != nil && !c.check(b.Stats()) {
				t.Errorf("stats: %+v", b.Stats())
			}
		})
	}
}

// A false "newest" of a path is forgotten after enough genuine packets.
func TestForgedNewestHeals(t *testing.T) {
	script := `
		0 announce a 0
		0 p1 heard
		0 p1 a9000 >
	`
	for c := range healAfter {
		script += fmt.Sprintf("1 p1 a%d > a%d\n", c, c)
	}
	script += `
		2 p0 a34            >     # path 1 has not passed 33, nor 32
		30 time             >
		31 p1 a32 a33       > a32 a33 a34`
	play(t, Params{}, script)
}

// WireGuard chooses receiver indices at random, so one may come again.
func TestIndexUsedAgain(t *testing.T) {
	b := New(Params{})
	release := func(want ...string) {
		t.Helper()
		var got []string
		for _, pkt := range b.Release(0, nil) {
			got = append(got, string(pkt))
		}
		if !slices.Equal(got, want) {
			t.Errorf("went on: %q, want %q", got, want)
		}
	}
	b.Heard(0, 1)
	b.KeyPair(0, 7, 0, 0)
	b.Packet(0, 0, 7, 1, []byte("old 1"))
	release()
	b.KeyPair(0, 7, 1, 0) // while the first is in use
	release("old 1")
	b.Packet(0, 0, 7, 0, []byte("new 0"))
	b.KeyPairEnd(0, 7, 1)
	b.KeyPair(0, 7, 2, 0) // after the second has ended
	b.KeyPair(0, 7, 1, 0) // an old announcement
	b.Packet(0, 0, 7, 1, []byte("newer 1"))
	release("new 0")
	b.Packet(0, 0, 7, 0, []byte("newer 0"))
	release("newer 0", "newer 1")
	if s := b.Stats(); s.Late+s.Duplicate+s.Unannounced != 0 {
		t.Errorf("stats: %+v", s)
	}
}

func TestGap(t *testing.T) {
	b := New(Params{})
	if g, ok := b.Gap(); ok {
		t.Errorf("an empty buffer has the gap %+v", g)
	}
	b.KeyPair(0, 'a', 0, 0)
	b.Heard(0, 1)
	b.Packet(5, 0, 'a', 3, []byte("a3"))
	b.Packet(6, 0, 'a', 1, []byte("a1"))
	if g, ok := b.Gap(); !ok || g != (Gap{'a', 0, 1, 5}) {
		t.Errorf("gap %+v, %v", g, ok)
	}
	b.Packet(7, 1, 'a', 0, []byte("a0"))
	if g, ok := b.Gap(); !ok || g != (Gap{'a', 2, 3, 5}) {
		t.Errorf("gap %+v, %v", g, ok)
	}
}

// TestBudget: what two buffers hold together ends the gap of the one that takes
// more, and what goes on or is forgotten is given back.
func TestBudget(t *testing.T) {
	g := NewBudget(3 * 100)
	p := Params{Budget: g}
	a, b := New(p), New(p)
	for _, b := range []*Buffer{a, b} {
		b.KeyPair(0, 'a', 0, 0)
		b.Heard(0, 1)
	}
	packet := func(b *Buffer, counter uint64) int {
		b.Packet(0, 0, 'a', counter, make([]byte, 100))
		return len(b.Release(0, nil))
	}
	for _, step := range []struct {
		b               *Buffer
		counter         uint64
		released, after int
	}{
		{a, 1, 0, 100}, {a, 2, 0, 200}, {b, 1, 0, 300},
		{b, 2, 2, 200}, // too much: b waits for 0 no more
		{b, 4, 0, 300},
		{a, 0, 3, 100}, // in order
	} {
		if n := packet(step.b, step.counter); n != step.released || g.Held() != step.after {
			t.Errorf("counter %d: %d go on and %d bytes are held, want %d and %d", step.counter, n, g.Held(), step.released, step.after)
		}
	}
	if b.Forget(0); g.Held() != 0 || b.Stats().GapsForced != 1 {
		t.Errorf("%d bytes are held when all is forgotten; %+v", g.Held(), b.Stats())
	}
}

// TestMissing: what went ahead and what is void is no part of a gap, though its
// counters are.
func TestMissing(t *testing.T) {
	b := New(Params{Express: 2})
	b.KeyPair(0, 'a', 0, 0)
	b.Heard(0, 1)
	b.Packet(1, 0, 'a', 1, []byte("a1")) // express
	b.Void(2, 'a', 3, 5)
	b.Packet(3, 0, 'a', 7, []byte("large"))
	g, ok := b.Gap()
	if n := b.Missing(g); !ok || g.To != 7 || n != 4 { // 0, 2, 5, 6
		t.Errorf("gap %+v, %v: %d are missing, want 4", g, ok, n)
	}
	b = New(Params{}) // a key pair that ends far away
	b.KeyPair(0, 'a', 0, 0)
	b.KeyPair(0, 'b', 1, 0)
	b.Heard(0, 1)
	b.KeyPairEnd(0, 'a', 1<<60)
	b.Packet(1, 0, 'b', 0, []byte("b0"))
	if g, ok := b.Gap(); !ok || b.Missing(g) != 1<<60 {
		t.Errorf("gap %+v, %v", g, ok)
	}
}

// TestExpressPasses: a packet of at most Params.Express goes on at once, does
// not hold up what follows, and says nothing of its path.
func TestExpressPasses(t *testing.T) {
	b := New(Params{Hold: 20 * time.Millisecond, Express: 10})
	small, large := make([]byte, 10), make([]byte, 11)
	b.KeyPair(0, 1, 1, 0)
	b.Tune(0, 20*time.Millisecond, 0, 1)
	for _, step := range []struct {
		counter uint64
		pkt     []byte
		goes    int // packets that go on with it
	}{
		{0, large, 1},
		{3, small, 1}, // ahead of 1 and 2
		{4, large, 0}, // waits for them
		{6, small, 1},
		{1, large, 1}, // does not come too late, though the path brought 6
		{3, small, 1}, // a copy goes on, for WireGuard to judge
		{2, large, 2}, // and 4
		{5, small, 1}, // the head
		{7, large, 1}, // 6 is not waited for
	} {
		b.Packet(0, 0, 1, step.counter, step.pkt)
		if got := len(b.Release(0, nil)); got != step.goes {
			t.Errorf("with %d, %d packets go on, want %d", step.counter, got, step.goes)
		}
	}
	if s := b.Stats(); s.Express != 3 || s.Duplicate != 1 || s.Out() != 9 || s.Late != 0 {
		t.Errorf("%+v", s)
	}
}
