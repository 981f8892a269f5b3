// Package clidoc writes a command's manual page and its completion for bash,
// zsh and fish from the model that kong has of it, so that neither says
// anything else than --help.
//
// What may stand for an argument or a flag's value is known by its kong tags:
// enum lists words, type:"path" is a file, complete:"interface" names a
// configuration in /etc/wireguard.
package clidoc

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// interfaces is where the configurations are that complete:"interface" names.
const interfaces = "/etc/wireguard"

// CompletionCommand is `NAME completion SHELL`.
type CompletionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is what --help says besides.
func (CompletionCommand) Help() string {
	return `Prints a script that completes commands, flags and names of configurations. The Debian package installs it. Elsewhere the shell
that runs takes it by "source <(THIS-COMMAND completion bash)", zsh alike; fish by "THIS-COMMAND completion fish | source".`
}

// Run runs the command.
func (c *CompletionCommand) Run(ctx *kong.Context) error {
	return Completion(ctx.Stdout, ctx.Model, c.Shell)
}

// ManCommand is `NAME man`.
type ManCommand struct{}

// Help is what --help says besides.
func (ManCommand) Help() string {
	return "Prints the manual page, for man -l or to be installed. It is made of what --help says."
}

// Run runs the command. vars has the version.
func (ManCommand) Run(ctx *kong.Context, page *Page) error {
	return page.Write(ctx.Stdout, ctx.Model)
}

// command is one node of the model with all that can be typed there.
type command struct {
	words []string // from below the program's name
	node  *kong.Node
	flags []*kong.Flag
	args  []*kong.Positional
	subs  []*command
}

// tree reads the model. A default command's flags and arguments are those of
// the command above it, too.
func tree(node *kong.Node, words []string) *command {
	c := &command{words: words, node: node, args: node.Positional}
	c.flags = visible(node.Flags)
	if d := node.DefaultCmd; d != nil {
		c.flags = append(c.flags, visible(d.Flags)...)
		c.args = append(slices.Clone(c.args), d.Positional...)
	}
	for _, child := range node.Children {
		if !child.Hidden {
			c.subs = append(c.subs, tree(child, append(slices.Clone(words), child.Name)))
		}
	}
	return c
}

func visible(all []*kong.Flag) []*kong.Flag {
	return slices.DeleteFunc(slices.Clone(all), func(f *kong.Flag) bool { return f.Hidden || f.Name == "help" })
}

// each calls f with c and all below it.
func (c *command) each(f func(*command)) {
	f(c)
	for _, sub := range c.subs {
		sub.each(f)
	}
}

// takesValue reports whether something follows the flag.
func takesValue(f *kong.Flag) bool { return !f.IsBool() && !f.IsCounter() }

// Kinds of values.
const (
	anything    = ""
	files       = "file"
	aWord       = "enum"
	anInterface = "interface"
)

// kind is what may stand for a value, with the words of an enum.
func kind(v *kong.Value) (kind string, words []string) {
	switch {
	case v.Enum != "":
		words := strings.Split(v.Enum, ",")
		for i := range words {
			words[i] = strings.TrimSpace(words[i])
		}
		return aWord, words
	case v.Tag.Get("complete") == anInterface:
		return anInterface, nil
	case strings.HasSuffix(v.Tag.Type, "path"), strings.HasSuffix(v.Tag.Type, "file"):
		return files, nil
	}
	return anything, nil
}

// Completion writes the script for shell: bash, zsh or fish.
func Completion(w io.Writer, app *kong.Application, shell string) error {
	var text string
	root := tree(app.Node, nil)
	switch shell {
	case "bash":
		text = bash(app.Name, root)
	case "zsh":
		text = zsh(app.Name, root)
	case "fish":
		text = fish(app.Name, root)
	default:
		return fmt.Errorf("found the shell %q; want bash, zsh or fish", shell)
	}
	_, err := io.WriteString(w, text)
	return err
}

// function is a shell function's name for a program's.
func function(name string) string { return "_" + strings.ReplaceAll(name, "-", "_") }
