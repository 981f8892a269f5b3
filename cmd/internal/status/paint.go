package status

import (
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
)

// Styles that a state, or a heading, is shown in: the terminal's own sixteen
// colours, which suit its background.
var (
	Bold   = lipgloss.NewStyle().Bold(true)
	Good   = lipgloss.NewStyle().Foreground(lipgloss.Green)
	Doubt  = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	Bad    = lipgloss.NewStyle().Foreground(lipgloss.Red)
	Accent = lipgloss.NewStyle().Foreground(lipgloss.Cyan)
)

// StateStyle is the style of a path's state.
func StateStyle(state string) lipgloss.Style {
	switch state {
	case "active":
		return Good
	case "probing", "leasing", "waiting":
		return Doubt
	}
	return Bad
}

// Terminal is w, which takes colours, as the user wants to see it: without
// colours if w is no terminal or NO_COLOR is set; WG_COLOR_MODE (always, never,
// auto) counts first, as for wg(8).
func Terminal(w io.Writer) io.Writer {
	out := colorprofile.NewWriter(w, os.Environ())
	switch os.Getenv("WG_COLOR_MODE") {
	case "always":
		out.Profile = colorprofile.ANSI
	case "never":
		out.Profile = colorprofile.NoTTY
	}
	return out
}

// A line is an indented label, a colon and what it says.
var (
	lineShape = regexp.MustCompile(`^( *)([a-z ]+):(.*)$`)
	unitShape = regexp.MustCompile(`([0-9]) ((?:[KMGT]i)?B|[kMG]?bit/s|ms|%|(?:day|hour|minute|second)s?)\b`)
)

// Paint gives what Text prints the colours of `wg show`.
func Paint(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		parts := lineShape.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if parts == nil {
			b.WriteString(line)
			continue
		}
		indent, label, value := parts[1], parts[2], parts[3]
		style, known := map[string]lipgloss.Style{"interface": Good, "peer": Doubt, "path": Accent}[label]
		switch {
		case known:
			b.WriteString(indent + style.Bold(true).Render(label) + ":" + " " + style.Render(strings.TrimSpace(value)))
		case label == "state":
			state, rest := value[1:], ""
			if end := strings.IndexAny(state, ", "); end >= 0 {
				state, rest = state[:end], state[end:]
			}
			b.WriteString(indent + Bold.Render(label) + ": " + StateStyle(state).Render(state) + rest)
		case slices.Contains([]string{"dropped", "too small"}, label):
			b.WriteString(indent + Bold.Render(label) + ":" + " " + Doubt.Render(strings.TrimSpace(value)))
		default:
			// Not Accent.Render of the whole match: the number stays plain.
			b.WriteString(indent + Bold.Render(label) + ":" + unitShape.ReplaceAllString(value, "$1 "+Accent.Render("$2")))
		}
		b.WriteString("\n")
	}
	return b.String()
}
