package up

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNameServers(t *testing.T) {
	got := nameServers("# nameserver 192.0.2.9\nsearch example\nnameserver 192.0.2.1\nnameserver fe80::1%eth0 # the router\nnameserver none\nnameserver\n")
	if diff := cmp.Diff([]string{"192.0.2.1:53", "[fe80::1%eth0]:53"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestFindAnAddress: what is no name is answered without a question.
func TestFindAnAddress(t *testing.T) {
	l := &lookup{servers: []string{"127.0.0.1:1"}} // where nobody answers
	got, err := l.find(t.Context(), 0, "[2001:db8::1]:51820")
	if err != nil || len(got) != 1 || got[0].String() != "[2001:db8::1]:51820" {
		t.Errorf("found %v, %v", got, err)
	}
	if _, err := l.find(t.Context(), 0, "server.example:http"); err == nil {
		t.Error("a port by name is accepted")
	}
}
