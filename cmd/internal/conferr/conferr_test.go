package conferr

import (
	"errors"
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	words := []string{"device", "relay", "relay-key", "backup", "max-rate", "weight", "name"}
	for _, c := range []struct{ word, want string }{
		{"devcie", "device"},
		{"Device", "device"},
		{"relay_key", "relay-key"},
		{"relaykey", "relay-key"},
		{"relay-kye", "relay-key"},
		{"maxrate", "max-rate"},
		{"wieght", "weight"},
		{"nam", "name"},
		{"colour", ""},
		{"", ""},
		{"x", ""},
	} {
		if got := Nearest(c.word, words); got != c.want {
			t.Errorf("Nearest(%q) = %q, want %q", c.word, got, c.want)
		}
	}
}

func TestListIsSortedBoundedAndUnwraps(t *testing.T) {
	var l List
	if l.Err() != nil {
		t.Fatal("an empty list is an error")
	}
	l.File = "f"
	for line := 12; line > 0; line-- {
		l.Add(line, "k", "x", "y")
	}
	err := l.Err()
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 11 || lines[0] != "f:1: k: found x; want y" || lines[10] != "f: and 2 more" {
		t.Errorf("got %q", lines)
	}
	var e *Error
	if !errors.As(err, &e) || e.Line != 1 {
		t.Errorf("errors.As finds %+v", e)
	}
}
