package parameters

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// TestValues: what each kind takes, and what it says of what it does not.
func TestValues(t *testing.T) {
	for _, c := range []struct {
		read  func(*Table) any
		value any
		want  any // a string that begins "want" is the end of the problem
	}{
		{text, "x", "x"},
		{text, int64(3), "want a text in quotes"},
		{boolean, true, true},
		{boolean, "true", "want true or false, without quotes"},
		{number, int64(3), 3.},
		{number, 2.5, 2.5},
		{number, 11., "want a number from 0 to 10, without quotes"},
		{number, math.NaN(), "want a number from 0 to 10, without quotes"},
		{number, "3", "want a number from 0 to 10, without quotes"},
		{duration, "25 ms", 25 * time.Millisecond},
		{duration, "1.5s", 1500 * time.Millisecond},
		{duration, "-1s", `want a duration in quotes, from "0s" to "1m0s"`},
		{duration, "25", `want a duration in quotes, from "0s" to "1m0s"`},
		{duration, int64(25), `want a duration in quotes, from "0s" to "1m0s"`},
		{size, "5 GB", 5e9},
		{size, "1.5MB", 1.5e6},
		{size, "7 B", 7.},
		{size, "5 GiB", `want a size in quotes, like "5 GB" or "300 MB"`},
		{size, "5", `want a size in quotes, like "5 GB" or "300 MB"`},
		{size, "99999999999 TB", `want a size in quotes, like "5 GB" or "300 MB"`},
		{names, []any{"a", "b"}, "[a b]"},
		{names, []any{}, "[]"},
		{names, []any{"a", int64(1)}, `want a list of names in quotes, each once, like ["wwan0", "wlan0"]`},
		{names, "a", `want a list of names in quotes, each once, like ["wwan0", "wlan0"]`},
		{table, map[string]any{}, "{}"},
		{table, "a", "want a table"},
	} {
		p := New(map[string]any{"key": c.value})
		got, wrong := c.read(p), p.Problems()
		if want, _ := c.want.(string); strings.HasPrefix(want, "want ") {
			if len(wrong) != 1 || "want "+wrong[0].Want != want || fmt.Sprint(wrong[0].Key) != "[key]" || wrong[0].Found != show(c.value) {
				t.Errorf("%#v: problems %+v, %s", c.value, wrong, want)
			}
			continue
		}
		if got != c.want || len(wrong) > 0 {
			t.Errorf("%#v: got %v, want %v, problems %+v", c.value, got, c.want, wrong)
		}
	}
}

func text(p *Table) any     { return p.Text("key", "") }
func boolean(p *Table) any  { return p.Bool("key", false) }
func number(p *Table) any   { return p.Number("key", 1, 0, 10) }
func duration(p *Table) any { return p.Duration("key", 0, 0, time.Minute) }
func size(p *Table) any     { return p.Bytes("key", 0) }
func names(p *Table) any    { return fmt.Sprint(p.Names("key")) }
func table(p *Table) any    { p.Table("key"); return "{}" }

// TestProblems: every mistake, with the whole way to it, however often asked.
func TestProblems(t *testing.T) {
	p := New(map[string]any{"a": 1., "b": map[string]any{"c": true, "d": map[string]any{"e": 3.}}})
	inner := p.Table("b")
	if inner.Text("c", "otherwise") != "otherwise" || !p.Has("a") || p.Has("c") || fmt.Sprint(p.Keys()) != "[a b]" {
		t.Error("the table is not what was given")
	}
	inner.Table("d")
	p.Problem("", "no budget", "a budget")
	for range 2 {
		if got, want := fmt.Sprint(p.Problems()), `[{[] no budget a budget} {[a] the unknown key "a" one of b} `+
			`{[b c] true a text in quotes} {[b d e] the unknown key "e" nothing: it takes no parameters}]`; got != want {
			t.Errorf("problems\n got %s\nwant %s", got, want)
		}
	}
	err := Error{"mine", p.Problems()[:3]}
	if want := "[plugin.mine]: found no budget; want a budget\n[plugin.mine]: a: found the unknown key \"a\"; want one of b\n" +
		"[plugin.mine]: b.c: found true; want a text in quotes"; err.Error() != want {
		t.Errorf("error\n got %s\nwant %s", err.Error(), want)
	}
}
