package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestHelp: --help works everywhere, and every command, argument and flag
// says what it is for.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	exited := false
	parser, err := kong.New(new(commands), append(options(), kong.Writers(&out, &out), kong.Exit(func(int) { exited = true }))...)
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(false) {
		out.Reset()
		exited = false
		_, _ = parser.Parse(append(strings.Fields(leaf.Path()), "--help")) // goes on after the exit that is none
		if !exited || !strings.Contains(out.String(), "Usage: wg-bond "+leaf.Path()) || len(leaf.Help) == 0 || len(leaf.Detail) == 0 {
			t.Errorf("help of %s:\n%s", leaf.Path(), &out)
		}
		for _, f := range leaf.Flags {
			if f.Help == "" {
				t.Errorf("%s: the flag --%s has no help", leaf.Name, f.Name)
			}
		}
		for _, a := range leaf.Positional {
			if a.Help == "" {
				t.Errorf("%s: the argument %s has no help", leaf.Name, a.Name)
			}
		}
	}
}

// TestSurface: these command lines are scripted against.
func TestSurface(t *testing.T) {
	for _, line := range []string{
		"wg0", "-f wg0", "--foreground wg0", "device wg0", "device -f wg0", "device stats",
		"up wg0", "up --dry-run wg0", "save wg0", "strip wg0", "up wg0 -f", "up -f ./wg0.conf", "up --foreground wg0", "up wg0 --metrics 127.0.0.1:9586", "serve wg0 --metrics=unix:/run/x", "down wg0", "down ./wg0.conf",
		"status", "status wg0", "status --json", "status wg0 --json", "status -w", "status wg0 --watch --interval 500ms", "serve wg0", "serve wg0.conf -f", "doctor", "doctor wg0 --for 1s --json",
		"scheduler list", "scheduler show", "scheduler show --json", "scheduler use minrtt", "scheduler use minrtt --shadow -i wg0",
		"scheduler use --shadow", "scheduler test ./mine", "scheduler test ./mine --set a=1 --set b=[1,2] --against minrtt",
	} {
		parser, err := kong.New(new(commands), options()...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(wireguardGo(strings.Fields(line), names(parser))); err != nil {
			t.Errorf("wg-bond %s: %v", line, err)
		}
	}
	for _, line := range []string{"", "up", "down", "serve", "up wg0 wg1", "lift wg0", "stats", "help", "show", "-f", "wg0 -f wg1", "save", "strip", "status --watch --json"} {
		parser, err := kong.New(new(commands), options()...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(wireguardGo(strings.Fields(line), names(parser))); err == nil {
			t.Errorf("wg-bond %s: no error", line)
		}
	}
}
