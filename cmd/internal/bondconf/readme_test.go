package bondconf

import (
	"os"
	"strings"
	"testing"
)

// The side files that README.md shows are ones that we read.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	key := strings.Repeat("A", 42) + "g=" // stands for what README leaves out
	readme := strings.ReplaceAll(string(text), `"…"`, `"`+key+`"`)

	server, err := Parse("wg0.bond.toml", example(t, readme, "[serve]"), nil)
	if err != nil {
		t.Errorf("the server's: %v", err)
	} else if server.Serve.Listen.Port() != 51820 || server.Serve.Upstream.Port() != 51821 {
		t.Errorf("the server's: read as %+v", server.Serve)
	}
	borrower, err := Parse("wg0.bond.toml", example(t, readme, "[[path]]"), nil)
	if err != nil {
		t.Errorf("the borrower's: %v", err)
	} else if len(borrower.Paths) != 2 || borrower.Paths[1].Relay.Port() != 51900 {
		t.Errorf("the borrower's: read as %+v", borrower.Paths)
	}
}

// example is the indented block of text that begins with the line first.
func example(t *testing.T, text, first string) []byte {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n\n    "+first+"\n")
	if !ok {
		t.Fatalf("README.md shows no file that begins with %s", first)
	}
	block := first + "\n"
	for line := range strings.Lines(rest) {
		if line != "\n" && !strings.HasPrefix(line, "    ") {
			break
		}
		block += strings.TrimPrefix(line, "    ")
	}
	return []byte(block)
}
