package quick

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
)

// scripted answers lookups in turn, the last answer again and again, and
// waits in no time.
type scripted struct {
	answers []error // nil: 192.0.2.7
	asked   int
	waits   []time.Duration
}

func (s *scripted) resolver(output *bytes.Buffer) *Resolver {
	return &Resolver{
		Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			err := s.answers[min(s.asked, len(s.answers)-1)]
			s.asked++
			if err != nil {
				return nil, err
			}
			return []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.7"), netip.MustParseAddr("2001:db8::7")}, nil
		},
		Wait: func(_ context.Context, d time.Duration) error {
			s.waits = append(s.waits, d)
			return nil
		},
		Output: output,
	}
}

func TestResolve(t *testing.T) {
	later := &net.DNSError{Err: "server misbehaving", Name: "vpn.example", IsTemporary: true}
	never := &net.DNSError{Err: "no such host", Name: "vpn.example", IsNotFound: true}
	name := wgconf.Endpoint{Host: "vpn.example", Port: 5}
	for _, c := range []struct {
		name     string
		endpoint wgconf.Endpoint
		retries  string
		answers  []error
		want     string // an address or an error
		asked    int
		waits    []time.Duration
	}{
		{"an address is no question", wgconf.Endpoint{Host: "fe80::1%eth0", Port: 9}, "", nil, "[fe80::1%eth0]:9", 0, nil},
		{"at once", name, "", []error{nil}, "192.0.2.7:5", 1, nil},
		{"after a while", name, "", []error{later, later, nil}, "192.0.2.7:5", 3, []time.Duration{time.Second, 1200 * time.Millisecond}},
		{"no such name", name, "", []error{later, never}, `found "vpn.example:5", whose address could not be found: lookup vpn.example: no such host; want a name that can be resolved now (a PreUp hook may bring the network), or an address`, 2, []time.Duration{time.Second}},
		{"for good", name, "1", []error{later}, `found "vpn.example:5", whose address could not be found: lookup vpn.example: server misbehaving; want a name that can be resolved now (a PreUp hook may bring the network), or an address`, 2, []time.Duration{time.Second}},
		{"no retries", name, "0", []error{later}, `found "vpn.example:5", whose address could not be found: lookup vpn.example: server misbehaving; want a name that can be resolved now (a PreUp hook may bring the network), or an address`, 1, nil},
		{"wrong number of retries", name, "many", []error{nil}, `the variable WG_ENDPOINT_RESOLUTION_RETRIES: found "many"; want a number or infinity`, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("WG_ENDPOINT_RESOLUTION_RETRIES", c.retries)
			s := &scripted{answers: c.answers}
			var output bytes.Buffer
			a, err := s.resolver(&output).Resolve(t.Context(), c.endpoint)
			got := a.String()
			if err != nil {
				got = err.Error()
			}
			if got != c.want || s.asked != c.asked || !slices.Equal(s.waits, c.waits) {
				t.Errorf("got %s after %d questions, waits %v", got, s.asked, s.waits)
			}
			if n := bytes.Count(output.Bytes(), []byte("trying again")); n != len(c.waits) {
				t.Errorf("told %d times:\n%s", n, &output)
			}
		})
	}
}

// TestResolveWaitsLongerAndLonger: 15 retries, from 1 to 20 seconds apart.
func TestResolveWaitsLongerAndLonger(t *testing.T) {
	t.Setenv("WG_ENDPOINT_RESOLUTION_RETRIES", "")
	s := &scripted{answers: []error{&net.DNSError{Err: "timeout", IsTimeout: true}}}
	_, err := s.resolver(new(bytes.Buffer)).Resolve(t.Context(), wgconf.Endpoint{Host: "a", Port: 1})
	if err == nil || len(s.waits) != 15 || s.waits[0] != time.Second || !slices.IsSorted(s.waits) || s.waits[14] > 20*time.Second {
		t.Errorf("%v, waits %v", err, s.waits)
	}
	s = &scripted{answers: []error{&net.DNSError{Err: "timeout", IsTimeout: true}}}
	r := s.resolver(new(bytes.Buffer))
	r.Wait = func(context.Context, time.Duration) error { return context.Canceled }
	if _, err := r.Resolve(t.Context(), wgconf.Endpoint{Host: "a", Port: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
