// Package tui is `wg-bond status --watch`: what status tells, as it changes.
//
//	ask, every interval ──→ Update: the rates between two answers, their history
//	                                      │
//	                        View: a table of each peer's paths
//
// What a View shows depends on the messages alone: the time comes with them.
package tui

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"github.com/wg-bond/wg-bond/cmd/internal/status"
)

// Ask asks for the state of all interfaces that are to be shown.
type Ask func() ([]*status.Interface, error)

// Answer is the message that brings what Ask returned, at a time of any clock
// that does not jump.
type Answer struct {
	At  time.Time
	All []*status.Interface
	Err error
}

// remembered is how many rates of a path the history shows.
const remembered = 16

// Model is the program's state. New makes one.
type Model struct {
	ask           Ask
	interval      time.Duration
	width, height int
	scroll        int // lines
	paused        bool

	last    Answer
	before  map[flow]counts // of the answer before
	rates   map[flow]rates
	history map[flow][]float64 // both directions, bytes per second; the latest last
}

// flow names a path among all.
type flow struct{ iface, peer, path string }

type counts struct {
	at     time.Time
	rx, tx uint64
}

// rates are those since the answer before, bytes per second.
type rates struct{ rx, tx float64 }

func (r rates) sum() float64 { return r.rx + r.tx }

// New makes a Model that asks once every interval.
func New(ask Ask, interval time.Duration) *Model {
	return &Model{ask: ask, interval: interval, before: map[flow]counts{}, rates: map[flow]rates{}, history: map[flow][]float64{}, width: 80, height: 24}
}

// Init asks for the first time.
func (m *Model) Init() tea.Cmd { return m.poll }

func (m *Model) poll() tea.Msg {
	all, err := m.ask()
	return Answer{At: time.Now(), All: all, Err: err}
}

// again is the message that it is time to ask.
type again struct{}

// Update takes in a message.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return m, m.key(msg.String())
	case again:
		return m, m.poll
	case Answer:
		if !m.paused {
			m.take(msg)
		}
		return m, tea.Tick(m.interval, func(time.Time) tea.Msg { return again{} })
	}
	return m, nil
}

func (m *Model) key(key string) tea.Cmd {
	switch key {
	case "q", "esc", "ctrl+c":
		return tea.Quit
	case "space", "p":
		m.paused = !m.paused
	case "down", "j":
		m.scroll++
	case "up", "k":
		m.scroll--
	case "pgdown":
		m.scroll += m.height - 2
	case "pgup":
		m.scroll -= m.height - 2
	case "home", "g":
		m.scroll = 0
	}
	m.scroll = max(min(m.scroll, len(m.lines())-m.room()), 0)
	return nil
}

// take makes rates of what was counted since the answer before.
func (m *Model) take(a Answer) {
	m.last = a
	if a.Err != nil {
		return
	}
	counted, rated, history := map[flow]counts{}, map[flow]rates{}, map[flow][]float64{}
	for _, i := range a.All {
		eachPath(i, func(peer *status.Peer, p *status.Path) {
			f := flow{i.Name, peer.PublicKey, p.Name}
			c, old := counts{a.At, p.RxBytes, p.TxBytes}, m.before[f]
			counted[f], history[f] = c, m.history[f]
			took := c.at.Sub(old.at).Seconds()
			if old.at.IsZero() || took <= 0 || c.rx < old.rx || c.tx < old.tx { // new, or begun anew
				return
			}
			r := rates{float64(c.rx-old.rx) / took, float64(c.tx-old.tx) / took}
			rated[f] = r
			h := append(slices.Clone(m.history[f]), r.sum())
			history[f] = h[max(len(h)-remembered, 0):]
		})
	}
	m.before, m.rates, m.history = counted, rated, history
}

func eachPath(i *status.Interface, f func(*status.Peer, *status.Path)) {
	for p := range i.Peers {
		if bond := i.Peers[p].Bond; bond != nil {
			for n := range bond.Paths {
				f(&i.Peers[p], &bond.Paths[n])
			}
		}
	}
}

// room is how many lines there are above the foot.
func (m *Model) room() int { return max(m.height-1, 1) }

// View draws the screen.
func (m *Model) View() tea.View {
	lines := m.lines()
	room := m.room()
	scroll := min(m.scroll, max(len(lines)-room, 0))
	shown := lines[scroll:min(scroll+room, len(lines))]
	foot := "q quits, space pauses"
	if len(lines) > room {
		foot += fmt.Sprintf(", j and k scroll (%d more)", len(lines)-len(shown))
	}
	if m.paused {
		foot = "paused; " + foot
	}
	for len(shown) < room {
		shown = append(shown, "")
	}
	v := tea.NewView(strings.Join(append(slices.Clone(shown), faint.Render(clip(foot, m.width))), "\n"))
	v.AltScreen = true
	v.WindowTitle = "wg-bond"
	return v
}

var faint = lipgloss.NewStyle().Faint(true)

// clip cuts text to width columns.
func clip(text string, width int) string {
	return lipgloss.NewStyle().Inline(true).MaxWidth(max(width, 1)).Render(text)
}

func (m *Model) lines() []string {
	if m.last.Err != nil {
		return strings.Split(lipgloss.Wrap(status.Bad.Render(m.last.Err.Error()), m.width, ""), "\n")
	}
	if len(m.last.All) == 0 {
		return []string{"no interface is up; this goes on asking"}
	}
	var out []string
	for n, i := range m.last.All {
		if n > 0 {
			out = append(out, "")
		}
		out = append(out, m.header(i))
		for _, p := range m.peers(i) {
			out = append(out, "")
			out = append(out, m.peer(i, p)...)
		}
	}
	for n := range out {
		out[n] = clip(out[n], m.width)
	}
	return out
}

func (m *Model) header(i *status.Interface) string {
	text := status.Good.Bold(true).Render(i.Name)
	if i.Role == "serve" {
		text += fmt.Sprintf("  serving %s, %d clients bonded, %d plain", i.Upstream, len(i.Peers), i.PlainClients)
	}
	text += "  scheduler " + i.Scheduler
	if i.SchedulerTrouble != "" {
		text += " " + status.Bad.Render("("+i.SchedulerTrouble+")")
	}
	return text
}

// peers puts a server's busiest clients first; a client's stay in order.
func (m *Model) peers(i *status.Interface) []*status.Peer {
	var all []*status.Peer
	busy := map[*status.Peer]float64{}
	for n := range i.Peers {
		p := &i.Peers[n]
		all = append(all, p)
		if p.Bond != nil && i.Role == "serve" {
			for _, path := range p.Bond.Paths {
				busy[p] += m.rates[flow{i.Name, p.PublicKey, path.Name}].sum()
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *status.Peer) int { return cmp.Compare(busy[b], busy[a]) })
	return all
}

func (m *Model) peer(i *status.Interface, p *status.Peer) []string {
	title := status.Doubt.Bold(true).Render(short(p.PublicKey))
	b := p.Bond
	switch {
	case b == nil:
		return []string{title + "  not bonded"}
	case b.Bonded:
		title += "  bonded for " + status.Span(time.Duration(b.BondedFor)*time.Second)
	default:
		title += "  " + status.Bad.Render("plain WireGuard") + ", " + cmp.Or(b.PlainReason, "no answer from the other end yet")
	}
	var all rates
	for _, path := range b.Paths {
		r := m.rates[flow{i.Name, p.PublicKey, path.Name}]
		all.rx, all.tx = all.rx+r.rx, all.tx+r.tx
	}
	out := []string{title, fmt.Sprintf("  in %s, out %s; waiting %s, reordering %d; repaired %d of %d",
		status.Accent.Render(status.Rate(all.rx)), status.Accent.Render(status.Rate(all.tx)), status.Bytes(uint64(b.Queue)), b.Reordering, b.Repairs, b.Sent)}
	rows := make([]row, len(b.Paths))
	for n := range b.Paths {
		path := &b.Paths[n]
		f := flow{i.Name, p.PublicKey, path.Name}
		rows[n] = row{path: path, rates: m.rates[f], history: m.history[f]}
		if sum := all.sum(); sum > 0 {
			rows[n].share = rows[n].rates.sum() / sum
		}
	}
	out = append(out, table(rows, m.width)...)
	for n := range b.Paths {
		if note := cmp.Or(b.Paths[n].MTUNote, b.Paths[n].Reason); note != "" {
			out = append(out, "  "+status.Doubt.Render(b.Paths[n].Name+": "+note))
		}
	}
	return out
}

// short is a key as much as tells it from others.
func short(key string) string {
	if len(key) < 12 {
		return key
	}
	return key[:8] + "…"
}
