package sim

import (
	"strings"
	"testing"
	"time"
)

func TestParseTrace(t *testing.T) {
	tr, err := ParseTrace(strings.NewReader("0\n0\n7\n1000\n"))
	if err != nil {
		t.Fatal(err)
	}
	if tr.Period() != time.Second || tr.Rate() != 4*1504*8 {
		t.Errorf("period %v, rate %v bit/s; want 1s and %d", tr.Period(), tr.Rate(), 4*1504*8)
	}
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", "trace: no lines; at least one time in milliseconds is needed"},
		{"a word", "1\n2\nthree\n", `trace line 3: "three" is not a time in whole milliseconds`},
		{"a blank line", "1\n\n2\n", `trace line 2: "" is not a time in whole milliseconds`},
		{"a fraction", "1.5\n", `trace line 1: "1.5" is not a time in whole milliseconds`},
		{"negative", "-1\n", "trace line 1: -1 ms is outside 0 to 999999999999 ms"},
		{"far too late", "1\n9999999999999\n", "trace line 2: 9999999999999 ms is outside 0 to 999999999999 ms"},
		{"falling", "5\n4\n", "trace line 2: 4 ms comes after 5 ms: times must not fall"},
		{"no period", "0\n0\n", "trace line 2: the last time is 0 ms; it is the period after which the trace starts again and must be above 0"},
		{"an endless line", "1\n" + strings.Repeat("1", 1<<17), "trace line 2: bufio.Scanner: token too long"},
	} {
		if _, err := ParseTrace(strings.NewReader(test.text)); err == nil || err.Error() != test.want {
			t.Errorf("%s:\n got %v\nwant %s", test.name, err, test.want)
		}
	}
}

func FuzzParseTrace(f *testing.F) {
	f.Add("0\n5\n9\n")
	f.Add("0\n0\n")
	f.Add("7")
	f.Add("-1\n")
	f.Fuzz(func(t *testing.T, text string) {
		tr, err := ParseTrace(strings.NewReader(text))
		if err != nil {
			return
		}
		// Any trace that parses carries a packet within two of its periods.
		l, err := NewLink[int](LinkConfig{Trace: tr})
		if err != nil {
			t.Fatal(err)
		}
		if !l.Push(0, 1500, 1) || l.Next() <= 0 || l.Next() > 2*tr.Period() {
			t.Errorf("period %v: a packet pushed at 0 arrives at %v", tr.Period(), l.Next())
		}
	})
}
