// Package parameters reads what a user sets for a scheduler, built in or
// plugged in, in the table [plugin.NAME] of the side file:
//
//	margin := t.Duration("margin", 10*time.Millisecond, 0, time.Second)
//
//	wg0.bond.toml:8: [plugin.earliest] margin: found "10"; want a duration in quotes, from "0s" to "1s"
//
// A scheduler asks for every key that it knows, and goes on with the default
// where a value is wrong: whoever handed it the table asks for Problems, and
// does not use the scheduler if there are any.
package parameters

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Table is the user's table [plugin.NAME], or one within it. Each method reads
// a key and answers its value, or otherwise if the key is not there or wrong;
// what is wrong, and every key that nobody has asked for, is a Problem.
type Table struct {
	table    map[string]any
	at       []string
	asked    map[string]bool
	tables   []*Table
	problems []Problem
}

// Problem is one of the user's mistakes. It is shown with the file and line.
type Problem struct {
	// Key is where, from the outside in; empty: the table as a whole.
	Key []string
	// Found is what stands there, Want what would be right.
	Found, Want string
}

// Error is why a scheduler does not take its parameters.
type Error struct {
	Name     string // the scheduler's
	Problems []Problem
}

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = fmt.Sprintf("[plugin.%s]: ", e.Name)
		if len(p.Key) > 0 {
			lines[i] += strings.Join(p.Key, ".") + ": "
		}
		lines[i] += fmt.Sprintf("found %s; want %s", p.Found, p.Want)
	}
	return strings.Join(lines, "\n")
}

// New is the table that go-toml or JSON decoded; nil for an empty one.
func New(table map[string]any) *Table { return within(table) }

func within(table map[string]any, at ...string) *Table {
	return &Table{table: table, at: at, asked: map[string]bool{}}
}

// Has reports whether the user has set a key.
func (t *Table) Has(key string) bool { _, ok := t.table[key]; return ok }

// Keys lists what the user has set in this table, sorted.
func (t *Table) Keys() []string {
	keys := make([]string, 0, len(t.table))
	for key := range t.table {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// Problem tells the user of a mistake at key, "" for the table as a whole:
// what was found there and what would be right.
func (t *Table) Problem(key, found, want string) {
	t.problems = append(t.problems, Problem{t.key(key), found, want})
}

// key is the whole way to a key, or for "" to the table.
func (t *Table) key(key string) []string {
	at := slices.Clone(t.at)
	if key != "" {
		at = append(at, key)
	}
	return at
}

// Table reads a table within this one; it may be empty.
func (t *Table) Table(key string) *Table {
	v, ok := t.ask(key)
	table, isTable := v.(map[string]any)
	if ok && !isTable {
		t.Problem(key, show(v), "a table")
	}
	inner := within(table, t.key(key)...)
	t.tables = append(t.tables, inner)
	return inner
}

// Text reads a text.
func (t *Table) Text(key, otherwise string) string {
	return read(t, key, otherwise, "a text in quotes", func(v any) (string, bool) { s, ok := v.(string); return s, ok })
}

// Bool reads a switch.
func (t *Table) Bool(key string, otherwise bool) bool {
	return read(t, key, otherwise, "true or false, without quotes", func(v any) (bool, bool) { b, ok := v.(bool); return b, ok })
}

// Number reads a number from low to high.
func (t *Table) Number(key string, otherwise, low, high float64) float64 {
	return read(t, key, otherwise, fmt.Sprintf("a number from %g to %g, without quotes", low, high), func(v any) (float64, bool) {
		f, ok := v.(float64)
		if n, whole := v.(int64); whole { // TOML's; JSON has but one kind
			f, ok = float64(n), true
		}
		return f, ok && f >= low && f <= high
	})
}

// Duration reads a duration from low to high, like "25 ms" or "1.5 s".
func (t *Table) Duration(key string, otherwise, low, high time.Duration) time.Duration {
	return read(t, key, otherwise, fmt.Sprintf("a duration in quotes, from \"%v\" to \"%v\"", low, high), func(v any) (time.Duration, bool) {
		s, ok := v.(string)
		d, err := time.ParseDuration(strings.ReplaceAll(s, " ", ""))
		return d, ok && err == nil && d >= low && d <= high
	})
}

// Names reads a list of texts, none of them empty or there twice.
func (t *Table) Names(key string) []string {
	return read(t, key, nil, `a list of names in quotes, each once, like ["wwan0", "wlan0"]`, func(v any) ([]string, bool) {
		list, ok := v.([]any)
		var names []string
		for _, v := range list {
			name, isText := v.(string)
			if !isText || name == "" || slices.Contains(names, name) {
				return nil, false
			}
			names = append(names, name)
		}
		return names, ok
	})
}

var sizeShape = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)\s*([kMGT]?)B$`)

// Bytes reads a size, like "5 GB"; k, M, G and T are powers of 1000.
func (t *Table) Bytes(key string, otherwise float64) float64 {
	return read(t, key, otherwise, `a size in quotes, like "5 GB" or "300 MB"`, func(v any) (float64, bool) {
		s, ok := v.(string)
		parts := sizeShape.FindStringSubmatch(s)
		if !ok || parts == nil {
			return 0, false
		}
		n, err := strconv.ParseFloat(parts[1], 64)
		n *= map[string]float64{"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[parts[2]]
		return n, err == nil && n <= 1e18
	})
}

func read[T any](t *Table, key string, otherwise T, want string, parse func(any) (T, bool)) T {
	v, ok := t.ask(key)
	if !ok {
		return otherwise
	}
	value, ok := parse(v)
	if !ok {
		t.Problem(key, show(v), want)
		return otherwise
	}
	return value
}

func (t *Table) ask(key string) (any, bool) {
	t.asked[key] = true
	v, ok := t.table[key]
	return v, ok
}

// Problems lists what is wrong here and in the tables within, and the keys that
// nobody has asked for. Call it when all has been read.
func (t *Table) Problems() []Problem {
	var known []string
	for key := range t.asked {
		known = append(known, key)
	}
	slices.Sort(known)
	want := "one of " + strings.Join(known, ", ")
	if len(known) == 0 {
		want = "nothing: it takes no parameters"
	}
	out := slices.Clone(t.problems)
	for _, key := range t.Keys() {
		if !t.asked[key] {
			out = append(out, Problem{t.key(key), fmt.Sprintf("the unknown key %q", key), want})
		}
	}
	for _, inner := range t.tables {
		out = append(out, inner.Problems()...)
	}
	return out
}

func show(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case map[string]any:
		return "a table"
	case []any:
		return "a list"
	}
	return fmt.Sprint(v)
}
