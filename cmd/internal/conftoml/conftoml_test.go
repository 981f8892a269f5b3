package conftoml

import (
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	doc, err := Parse("f", []byte(strings.Join([]string{
		`top = 1`, // line 1
		`[serve]`,
		`listen = "x" # a comment`,
		`[[path]]`,
		`device = "a"`,
		`[[path]]`, // 6
		`"device" = "b"`,
		`[path.more]`,
		`deep = true`,
		`[[path.list]]`,
		`in = 1`, // 11
		`[plugin.x]`,
		`inline = { a = 1, b = [ { c = 2 } ] }`,
		`many = [`,
		`  1,`,
		`]`,
		`dotted.key = 3`, // 17
	}, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path []any
		line int
	}{
		{[]any{"top"}, 1},
		{[]any{"serve"}, 2},
		{[]any{"serve", "listen"}, 3},
		{[]any{"path"}, 4},
		{[]any{"path", 0}, 4},
		{[]any{"path", 0, "device"}, 5},
		{[]any{"path", 1}, 6},
		{[]any{"path", 1, "device"}, 7},
		{[]any{"path", 1, "more"}, 8},
		{[]any{"path", 1, "more", "deep"}, 9},
		{[]any{"path", 1, "list", 0, "in"}, 11},
		{[]any{"plugin", "x", "inline", "a"}, 13},
		{[]any{"plugin", "x", "inline", "b", 0, "c"}, 13},
		{[]any{"plugin", "x", "many", 0}, 14},
		{[]any{"plugin", "x", "dotted", "key"}, 17},
		{[]any{"path", 2}, 0},
		{[]any{"path", "0"}, 0},
	} {
		if got := doc.Line(c.path...); got != c.line {
			t.Errorf("line of %v: %d, want %d", c.path, got, c.line)
		}
	}
}

func TestSyntaxErrorHasItsLine(t *testing.T) {
	_, err := Parse("f", []byte("a = 1\nb = = 2\n"))
	if err == nil || !strings.HasPrefix(err.Error(), "f:2: found what is not TOML: ") {
		t.Errorf("got %v", err)
	}
}
