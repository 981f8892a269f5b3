package sdk

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/plugins/schedpb"
)

// Parameters is the user's table [plugin.NAME], or one within it. Each method
// reads a key and answers its value, or otherwise if the key is not there or
// wrong; what is wrong, and every key that nobody has asked for, is shown to
// the user with the file and line.
type Parameters struct {
	table    map[string]any
	at       []string
	asked    map[string]bool
	tables   []*Parameters
	problems []*schedpb.Problem
}

func newParameters(table map[string]any, at ...string) *Parameters {
	return &Parameters{table: table, at: at, asked: map[string]bool{}}
}

// Has reports whether the user has set a key.
func (p *Parameters) Has(key string) bool { _, ok := p.table[key]; return ok }

// Keys lists what the user has set in this table, sorted.
func (p *Parameters) Keys() []string {
	keys := make([]string, 0, len(p.table))
	for key := range p.table {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// Problem tells the user of a mistake at key, "" for the table as a whole:
// what was found there and what would be right.
func (p *Parameters) Problem(key, found, want string) {
	at := slices.Clone(p.at)
	if key != "" {
		at = append(at, key)
	}
	p.problems = append(p.problems, &schedpb.Problem{Key: at, Found: found, Want: want})
}

// Table reads a table within this one; it may be empty.
func (p *Parameters) Table(key string) *Parameters {
	v, ok := p.ask(key)
	table, isTable := v.(map[string]any)
	if ok && !isTable {
		p.Problem(key, show(v), "a table")
	}
	t := newParameters(table, append(slices.Clone(p.at), key)...)
	p.tables = append(p.tables, t)
	return t
}

// Text reads a text.
func (p *Parameters) Text(key, otherwise string) string {
	return read(p, key, otherwise, "a text in quotes", func(v any) (string, bool) { s, ok := v.(string); return s, ok })
}

// Bool reads a switch.
func (p *Parameters) Bool(key string, otherwise bool) bool {
	return read(p, key, otherwise, "true or false, without quotes", func(v any) (bool, bool) { b, ok := v.(bool); return b, ok })
}

// Number reads a number from low to high.
func (p *Parameters) Number(key string, otherwise, low, high float64) float64 {
	return read(p, key, otherwise, fmt.Sprintf("a number from %g to %g, without quotes", low, high), func(v any) (float64, bool) {
		f, ok := v.(float64)
		return f, ok && f >= low && f <= high
	})
}

// Duration reads a duration from low to high, like "25 ms" or "1.5 s".
func (p *Parameters) Duration(key string, otherwise, low, high time.Duration) time.Duration {
	return read(p, key, otherwise, fmt.Sprintf("a duration in quotes, from \"%v\" to \"%v\"", low, high), func(v any) (time.Duration, bool) {
		s, ok := v.(string)
		d, err := time.ParseDuration(strings.ReplaceAll(s, " ", ""))
		return d, ok && err == nil && d >= low && d <= high
	})
}

var sizeShape = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)\s*([kMGT]?)B$`)

// Bytes reads a size, like "5 GB"; k, M, G and T are powers of 1000.
func (p *Parameters) Bytes(key string, otherwise float64) float64 {
	return read(p, key, otherwise, `a size in quotes, like "5 GB" or "300 MB"`, func(v any) (float64, bool) {
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

func read[T any](p *Parameters, key string, otherwise T, want string, parse func(any) (T, bool)) T {
	v, ok := p.ask(key)
	if !ok {
		return otherwise
	}
	value, ok := parse(v)
	if !ok {
		p.Problem(key, show(v), want)
		return otherwise
	}
	return value
}

func (p *Parameters) ask(key string) (any, bool) {
	p.asked[key] = true
	v, ok := p.table[key]
	return v, ok
}

// all lists the problems here and in the tables within, with the keys that
// nobody asked for.
func (p *Parameters) all() []*schedpb.Problem {
	var known []string
	for key := range p.asked {
		known = append(known, key)
	}
	slices.Sort(known)
	want := "one of " + strings.Join(known, ", ")
	if len(known) == 0 {
		want = "nothing: it takes no parameters"
	}
	for _, key := range p.Keys() {
		if !p.asked[key] {
			p.Problem(key, fmt.Sprintf("the unknown key %q", key), want)
		}
	}
	out := p.problems
	for _, t := range p.tables {
		out = append(out, t.all()...)
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
