// Package conferr is how the commands speak of mistakes in configuration
// files: every one with its file and line, the key, what was found there and
// what would be right, and all of them at once.
package conferr

import (
	"fmt"
	"sort"
	"strings"
)

// Error is one mistake.
type Error struct {
	File string
	Line int    // from 1; 0: the file as a whole
	Key  string // where in the file, for example "[Peer] Endpoint" or "path 2: relay"; may be empty
	// Found says what stands there, Want what would be right. Found must not
	// hold secrets: errors end up in logs and bug reports.
	Found, Want string
}

// Error is "file:line: key: found …; want …".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key)
		b.WriteString(": ")
	}
	fmt.Fprintf(&b, "found %s; want %s", e.Found, e.Want)
	return b.String()
}

// maxShown bounds what a List prints: past this many mistakes it is most
// likely not a configuration file at all.
const maxShown = 10

// List collects the mistakes of one file.
type List struct {
	File string
	errs []*Error
}

// Add notes a mistake.
func (l *List) Add(line int, key, found, want string) {
	l.errs = append(l.errs, &Error{File: l.File, Line: line, Key: key, Found: found, Want: want})
}

// Err is nil without mistakes, else an error with one line for each, in the
// order of the file. errors.As finds the first *Error in it.
func (l *List) Err() error {
	if len(l.errs) == 0 {
		return nil
	}
	sort.SliceStable(l.errs, func(i, j int) bool { return l.errs[i].Line < l.errs[j].Line })
	return listError(l.errs)
}

type listError []*Error

func (l listError) Error() string {
	var b strings.Builder
	for i, e := range l {
		if i == maxShown {
			fmt.Fprintf(&b, "\n%s: and %d more", e.File, len(l)-maxShown)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(e.Error())
	}
	return b.String()
}

func (l listError) Unwrap() []error {
	errs := make([]error, len(l))
	for i, e := range l {
		errs[i] = e
	}
	return errs
}

// Quote shows a value in an error, shortened if it is long.
func Quote(s string) string {
	const most = 60
	if len(s) > most {
		return fmt.Sprintf("%.*q… (%d characters)", most, s, len(s))
	}
	return fmt.Sprintf("%q", s)
}

// OneOf lists the words that would be right, the likely one first: if word is
// a misspelling of one of them, the answer begins with `"that" (did you mean
// it?)`.
func OneOf(word string, words []string) string {
	var b strings.Builder
	if guess := Nearest(word, words); guess != "" {
		fmt.Fprintf(&b, "%q (did you mean that?) or ", guess)
	}
	b.WriteString("one of ")
	b.WriteString(strings.Join(words, ", "))
	return b.String()
}

// Nearest is the one of words that word most likely misspells, or "" if none
// comes near. Letter case and the difference between "-" and "_" count for
// nothing.
func Nearest(word string, words []string) string {
	best, bestDistance := "", 3
	w := fold(word)
	for _, candidate := range words {
		c := fold(candidate)
		// A short word is near to anything: allow one slip per three letters.
		limit := min(bestDistance, 1+len(c)/3)
		if d := distance(w, c, limit); d < limit {
			best, bestDistance = candidate, d
		}
	}
	return best
}

func fold(s string) string {
	return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(s))
}

// distance is the number of single-letter insertions, deletions,
// substitutions and swaps of neighbours between a and b (optimal string
// alignment), or limit if it is that or more.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			same := 1
			if a[i-1] == b[j-1] {
				same = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+same)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit)
}
