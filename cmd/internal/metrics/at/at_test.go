package at

import (
	"strings"
	"testing"
)

// TestAddress: nothing that others could reach.
func TestAddress(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:9586": "127.0.0.1:9586", "localhost:9586": "127.0.0.1:9586", "[::1]:9586": "[::1]:9586", "127.9.9.9:1": "127.9.9.9:1", "unix:/run/x": "unix:/run/x",
	} {
		if a, err := Parse(text); err != nil || a.String() != want || a.IsZero() {
			t.Errorf("%s: %v, %v", text, a, err)
		}
	}
	for _, text := range []string{"", ":9586", "0.0.0.0:9586", "[::]:9586", "192.0.2.1:9586", "127.0.0.1", "127.0.0.1:0", "unix:", "unix:run/x", "example.com:1"} {
		if a, err := Parse(text); err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("%q: %v, %v", text, a, err)
		}
	}
}
