package quick

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
)

// Resolve finds the address of an endpoint. A name that cannot be resolved
// just now is tried again as wg(8) does: 15 times, or as often as
// WG_ENDPOINT_RESOLUTION_RETRIES says (a number or "infinity"), waiting a
// second at first and then ever longer, up to 20. A name that does not exist
// is an error at once.
func Resolve(ctx context.Context, e wgconf.Endpoint) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(e.Host); err == nil {
		return netip.AddrPortFrom(a, e.Port), nil
	}
	retries, err := resolveRetries()
	if err != nil {
		return netip.AddrPort{}, err
	}
	for wait := time.Second; ; wait = min(wait*6/5, 20*time.Second) {
		addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", e.Host)
		if err == nil {
			return netip.AddrPortFrom(addresses[0].Unmap(), e.Port), nil
		}
		var dns *net.DNSError
		if retries == 0 || !errors.As(err, &dns) || dns.IsNotFound {
			return netip.AddrPort{}, fmt.Errorf("[Peer] Endpoint: found %q, whose address could not be found: %w", e, err)
		}
		retries--
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return netip.AddrPort{}, ctx.Err()
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
