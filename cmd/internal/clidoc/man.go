package clidoc

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// Page is what a manual page says beyond the model.
type Page struct {
	Section  int    // of the manual: 1 for everybody's commands, 8 for root's
	Version  string // of the program
	Sections []Section
}

// Section is a part of the page with a title, in capitals.
type Section struct{ Title, Text string }

// Write writes the page of app in the macros of man(7). In texts, an empty line
// parts paragraphs, and lines that begin with two spaces stay as they are.
func (p *Page) Write(w io.Writer, app *kong.Application) error {
	root := tree(app.Node, nil)
	summary, rest, _ := strings.Cut(app.Help, "\n")
	var b strings.Builder
	fmt.Fprintf(&b, ".\\\" Made by \"%s man\".\n.TH %s %d \"\" \"%s\"\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n", app.Name, strings.ToUpper(app.Name), p.Section, p.Version,
		roff(app.Name), roff(lowerFirst(strings.TrimSuffix(summary, "."))))
	first := root
	for len(first.subs) > 0 {
		first = first.subs[0]
	}
	root.each(func(c *command) {
		if len(c.subs) == 0 {
			if c != first {
				b.WriteString(".br\n")
			}
			fmt.Fprintf(&b, "\\fB%s\\fR %s\n", roff(strings.Join(append([]string{app.Name}, c.words...), " ")), synopsis(c))
		}
	})
	if rest = strings.TrimSpace(rest); rest != "" {
		b.WriteString(".SH DESCRIPTION\n" + prose(rest))
	}
	b.WriteString(".SH OPTIONS\n.TP\n\\fB\\-\\-help\\fR\nShow help, also of each command.\n")
	options(&b, visible(root.node.Flags))
	b.WriteString(".SH COMMANDS\n")
	root.each(func(c *command) {
		if len(c.words) == 0 {
			return
		}
		fmt.Fprintf(&b, ".SS %s\n%s", roff(strings.Join(c.words, " ")), prose(c.node.Help))
		if c.node.Detail != "" {
			b.WriteString(".PP\n" + prose(c.node.Detail))
		}
		for _, arg := range c.args {
			fmt.Fprintf(&b, ".TP\n\\fI%s\\fR\n%s", roff(strings.ToUpper(arg.Name)), prose(arg.Help))
		}
		options(&b, c.flags)
	})
	for _, s := range p.Sections {
		fmt.Fprintf(&b, ".SH %s\n%s", s.Title, prose(s.Text))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func options(b *strings.Builder, flags []*kong.Flag) {
	for _, f := range flags {
		b.WriteString(".TP\n")
		if f.Short != 0 {
			fmt.Fprintf(b, "\\fB\\-%c\\fR, ", f.Short)
		}
		fmt.Fprintf(b, "\\fB\\-\\-%s\\fR", roff(f.Name))
		if takesValue(f) {
			fmt.Fprintf(b, "=\\fI%s\\fR", roff(f.FormatPlaceHolder()))
		}
		b.WriteString("\n" + prose(f.Help))
	}
}

// synopsis is what may follow a command.
func synopsis(c *command) string {
	var parts []string
	for _, f := range c.flags {
		part := "\\fB\\-\\-" + roff(f.Name) + "\\fR"
		if takesValue(f) {
			part += "=\\fI" + roff(f.FormatPlaceHolder()) + "\\fR"
		}
		parts = append(parts, "["+part+"]")
	}
	for _, a := range c.args {
		part := "\\fI" + roff(strings.ToUpper(a.Name)) + "\\fR"
		if a.IsCumulative() {
			part += "..."
		}
		if !a.Required {
			part = "[" + part + "]"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " ")
}

// prose makes paragraphs, and displays of lines that are indented.
func prose(text string) string {
	var b strings.Builder
	display := false
	open := func(want bool) {
		switch {
		case want && !display:
			b.WriteString(".PP\n.nf\n")
		case !want && display:
			b.WriteString(".fi\n")
		}
		display = want
	}
	gap := false
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		line = strings.TrimRight(line, "\n ")
		if line == "" {
			gap = true
			continue
		}
		was := display
		open(strings.HasPrefix(line, "  "))
		if (gap || was) && !display {
			b.WriteString(".PP\n")
		} else if gap && was {
			b.WriteString("\n")
		}
		gap = false
		b.WriteString(roff(line) + "\n")
	}
	open(false)
	return b.String()
}

// roff makes text stand for itself.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}

// lowerFirst begins a summary as manual pages do; a name stays as it is.
func lowerFirst(text string) string {
	if len(text) > 1 && strings.ToLower(text[1:2]) == text[1:2] {
		return strings.ToLower(text[:1]) + text[1:]
	}
	return text
}
