package conn

import (
	"context"
	"net/netip"
	"slices"
	"time"
)

// translator is what is known of the NAT64 of a device's network. Guarded by
// Bind.mu.
type translator struct {
	addrs  string       // the device's when it was asked for: others are another network's
	prefix netip.Prefix // invalid: none is known
	asking bool
	next   time.Duration // when to ask again
	wait   time.Duration
}

// translateLocked tells the paths whose devices have no IPv4 what their networks
// offer in its place, and asks for that if a peer has nothing else.
func (b *Bind) translateLocked(now time.Duration) {
	if b.cfg.NAT64 == nil {
		return
	}
	needed := false
	for _, d := range *b.dialled.Load() {
		needed = needed || !slices.ContainsFunc(d.Targets(), func(t netip.AddrPort) bool { return t.Addr().Is6() })
	}
	for i := range b.paths.paths {
		p := &b.paths.paths[i]
		if !p.WantsNAT64() {
			continue
		}
		t := b.translators[p.Device]
		if t == nil || t.addrs != p.Addrs {
			t = &translator{addrs: p.Addrs}
			if b.translators == nil {
				b.translators = map[string]*translator{}
			}
			b.translators[p.Device] = t
		}
		p.NAT64 = t.prefix
		if needed && !t.prefix.IsValid() && !t.asking && now >= t.next {
			t.asking, t.wait = true, min(max(2*t.wait, silentFor), lookupMost)
			go b.askTranslator(t, p.Device, b.mark)
		}
	}
}

// askTranslator asks for the prefix of a device's network.
func (b *Bind) askTranslator(t *translator, device string, mark uint32) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	prefix, err := b.cfg.NAT64(ctx, mark, device)
	b.mu.Lock()
	defer b.mu.Unlock()
	t.asking, t.next = false, b.shell.Now()+t.wait
	if err != nil {
		b.shell.Log.Info("the device's network has no IPv4, and names no NAT64 prefix now; asked again later", "device", device, "err", err)
		return
	}
	t.prefix = prefix
	b.shell.Log.Info("the device's network reaches IPv4 by its NAT64 prefix", "device", device, "prefix", prefix)
	if b.watch != nil && b.translators[device] == t {
		b.rescanLocked()
	}
}
