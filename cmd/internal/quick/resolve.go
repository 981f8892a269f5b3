package quick

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
)

// Resolver finds the addresses of endpoints.
type Resolver struct {
	// Lookup asks for a host's addresses.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Wait waits between two tries, or until ctx is over.
	Wait func(ctx context.Context, d time.Duration) error
	// Output is where a try that failed is told.
	Output io.Writer
}

// SystemResolver asks as the system is set up to.
func SystemResolver(output io.Writer) *Resolver {
	return &Resolver{
		Lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
		Wait: func(ctx context.Context, d time.Duration) error {
			select {
			case <-time.After(d):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		Output: output,
	}
}

// Resolve finds the address of an endpoint. A name that cannot be resolved
// just now is tried again as wg(8) does: 15 times, or as often as
// WG_ENDPOINT_RESOLUTION_RETRIES says (a number or "infinity"), waiting a
// second at first and then ever longer, up to 20. A name that does not exist
// is an error at once.
func (r *Resolver) Resolve(ctx context.Context, e wgconf.Endpoint) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(e.Host); err == nil {
		return netip.AddrPortFrom(a, e.Port), nil
	}
	retries, err := resolveRetries()
	if err != nil {
		return netip.AddrPort{}, err
	}
	for wait := time.Second; ; wait = min(wait*6/5, 20*time.Second) {
		addresses, err := r.Lookup(ctx, e.Host)
		if err == nil && len(addresses) > 0 {
			return netip.AddrPortFrom(addresses[0].Unmap(), e.Port), nil
		}
		if err == nil {
			err = errors.New("no address")
		}
		var dns *net.DNSError
		if retries == 0 || !errors.As(err, &dns) || dns.IsNotFound {
			return netip.AddrPort{}, fmt.Errorf("found %q, whose address could not be found: %w; want a name that can be resolved now (a PreUp hook may bring the network), or an address", e, err)
		}
		retries--
		fmt.Fprintf(r.Output, "%v; trying again in %.2f seconds\n", err, wait.Seconds())
		if err := r.Wait(ctx, wait); err != nil {
			return netip.AddrPort{}, err
		}
	}
}

func resolveRetries() (int, error) {
	const name = "WG_ENDPOINT_RESOLUTION_RETRIES"
	switch text := os.Getenv(name); text {
	case "":
		return 15, nil
	case "infinity":
		return -1, nil
	default:
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return 0, fmt.Errorf("the variable %s: found %q; want a number or infinity", name, text)
		}
		return int(n), nil
	}
}
