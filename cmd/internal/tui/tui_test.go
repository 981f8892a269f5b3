package tui

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"github.com/wg-bond/wg-bond/cmd/internal/status"
)

var start = time.Unix(1_000_000, 0)

// client is a bond of two paths that have carried rx bytes each.
func client(first, second uint64) *status.Interface {
	return &status.Interface{Name: "wg0", Role: "up", Scheduler: "earliest", Peers: []status.Peer{{
		PublicKey: "CA7MjiDxct3cDKotDsUaF+/DT/DPJfS0DCj27ZMwaH8=",
		Bond: &status.Bond{Bonded: true, BondedFor: 75, Queue: 2048, Reordering: 3, Sent: 1000, Repairs: 7, Paths: []status.Path{
			{Name: "wwan0", State: "active", RxBytes: first, TxBytes: first / 10, Rate: 450e3, RTT: .061, Loss: .001, InFlight: 1536, Window: 64 << 10,
				Plan: &status.Plan{Use: true, Cost: .031}},
			{Name: "neighbour", State: "suspect", RxBytes: second, Rate: 100e3, RTT: .12, Loss: .06, Queued: 512, Window: 4096, Reason: "no answer",
				Plan: &status.Plan{Blocked: true}},
		}},
	}}}
}

// server serves n clients, of which the last is the busiest.
func server(n int, bytes uint64) *status.Interface {
	i := &status.Interface{Name: "wg1", Role: "serve", Upstream: "127.0.0.1:51821", PlainClients: 4, Scheduler: "minrtt"}
	for c := range n {
		i.Peers = append(i.Peers, status.Peer{PublicKey: fmt.Sprintf("CLIENT%03d=============", c), Bond: &status.Bond{
			Bonded: true, BondedFor: 5, Paths: []status.Path{{Name: "0", State: "active", TxBytes: bytes * uint64(c)}}}})
	}
	return i
}

func screen(m *Model) string {
	var lines []string
	for line := range strings.Lines(ansi.Strip(m.View().Content)) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return strings.TrimRight(strings.Join(lines[:len(lines)-1], "\n"), "\n") + "\n"
}

func send(m *Model, messages ...tea.Msg) (last tea.Cmd) {
	for _, msg := range messages {
		_, last = m.Update(msg)
	}
	return last
}

const golden = `wg0  scheduler earliest

CA7MjiDx…  bonded for 1 minute, 15 seconds
  in 4.80 Mbit/s, out 400.0 kbit/s; waiting 2.00 KiB, reordering 3; repaired 7 of 1000
  PATH       STATE              IN           OUT       CARRIES     RTT   LOSS  SHARE  QUEUE              IN FLIGHT  SCHEDULER          LATELY
  wwan0      active    4.00 Mbit/s  400.0 kbit/s   3.60 Mbit/s   61 ms  0.1 %   85 %    0 B  1.50 KiB of 64.00 KiB  used, costs 31 ms  ▅█
  neighbour  suspect  800.0 kbit/s       0 bit/s  800.0 kbit/s  120 ms  6.0 %   15 %  512 B        0 B of 4.00 KiB  not used           ██
  neighbour: no answer
`

// TestView: rates and shares are those between two answers; what there is no
// room for is left out, column by column.
func TestView(t *testing.T) {
	m := New(nil, time.Second)
	send(m, tea.WindowSizeMsg{Width: 160, Height: 12},
		Answer{At: start, All: []*status.Interface{client(1_000_000, 0)}},
		Answer{At: start.Add(2 * time.Second), All: []*status.Interface{client(1_500_000, 200_000)}},
		Answer{At: start.Add(4 * time.Second), All: []*status.Interface{client(2_500_000, 400_000)}},
	)
	if diff := cmp.Diff(golden, screen(m)); diff != "" {
		t.Error(diff)
	}
	for _, width := range []int{150, 100, 80, 60, 20, 1} {
		send(m, tea.WindowSizeMsg{Width: width, Height: 12})
		got := screen(m)
		for line := range strings.Lines(got) {
			if w := ansi.StringWidth(strings.TrimSuffix(line, "\n")); w > width {
				t.Errorf("at width %d a line of %d: %q", width, w, line)
			}
		}
		if width >= 60 && !(strings.Contains(got, "RTT") && strings.Contains(got, "IN") && strings.Contains(got, "neighbour")) {
			t.Errorf("at width %d:\n%s", width, got)
		}
	}
}

// TestServer: the busiest client comes first, and one scrolls to the others.
func TestServer(t *testing.T) {
	m := New(nil, time.Second)
	send(m, tea.WindowSizeMsg{Width: 100, Height: 10},
		Answer{At: start, All: []*status.Interface{server(40, 0)}},
		Answer{At: start.Add(time.Second), All: []*status.Interface{server(40, 1000)}})
	got := screen(m)
	for _, want := range []string{"wg1  serving 127.0.0.1:51821, 40 clients bonded, 4 plain  scheduler minrtt\n\nCLIENT03…", "out 312.0 kbit/s;"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	send(m, tea.KeyPressMsg{Code: 'j'}, tea.KeyPressMsg{Code: tea.KeyPgDown})
	if got := screen(m); strings.Contains(got, "wg1 ") || !strings.Contains(got, "PATH") {
		t.Errorf("after scrolling:\n%s", got)
	}
	for range 100 {
		send(m, tea.KeyPressMsg{Code: tea.KeyPgDown})
	}
	if got := screen(m); !strings.Contains(got, "in 0 bit/s, out 0 bit/s") {
		t.Errorf("at the end, where the idle are:\n%s", got)
	}
	send(m, tea.KeyPressMsg{Code: 'g'})
	if screen(m) != got {
		t.Errorf("back at the top:\n%s", screen(m))
	}
}

// TestChanges: errors and emptiness are said, counters that began anew make no
// rate, a pause keeps what is shown, q quits.
func TestChanges(t *testing.T) {
	m := New(nil, time.Second)
	send(m, Answer{At: start})
	if got := screen(m); !strings.Contains(got, "no interface is up") {
		t.Errorf("without interfaces:\n%s", got)
	}
	send(m, Answer{At: start, Err: errors.New("wg0 is not up")})
	if got := screen(m); !strings.Contains(got, "wg0 is not up") {
		t.Errorf("after an error:\n%s", got)
	}
	send(m, Answer{At: start, All: []*status.Interface{client(1000, 1000)}}, Answer{At: start.Add(time.Second), All: []*status.Interface{client(0, 0)}})
	if got := screen(m); !strings.Contains(got, "in 0 bit/s, out 0 bit/s") {
		t.Errorf("after counters that began anew:\n%s", got)
	}
	plain := client(0, 0)
	plain.Peers[0].Bond.Bonded, plain.Peers[0].Bond.PlainReason = false, "the server has no shim"
	send(m, tea.KeyPressMsg{Code: ' ', Text: " "}, Answer{At: start.Add(2 * time.Second), All: []*status.Interface{plain}})
	if got := screen(m); strings.Contains(got, "no shim") {
		t.Errorf("while paused:\n%s", got)
	}
	send(m, tea.KeyPressMsg{Code: ' ', Text: " "}, Answer{At: start.Add(3 * time.Second), All: []*status.Interface{plain}})
	if got := screen(m); !strings.Contains(got, "plain WireGuard, the server has no shim") {
		t.Errorf("of a plain session:\n%s", got)
	}
	if cmd := send(m, tea.KeyPressMsg{Code: 'q'}); cmd == nil || cmd() != (tea.QuitMsg{}) {
		t.Error("q does not quit")
	}
}
