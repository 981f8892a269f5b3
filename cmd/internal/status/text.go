package status

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Text prints i in the manner of `wg show`. showKeys is true if the user set
// WG_HIDE_KEYS=never; else private and preshared keys are "(hidden)". now is
// for the age of handshakes.
func Text(w io.Writer, i *Interface, showKeys bool, now time.Time) error {
	p := &printer{w: w, showKeys: showKeys, now: now}
	p.interfaceSection(i)
	for n := range i.Peers {
		p.line("")
		p.peer(&i.Peers[n])
	}
	return p.err
}

type printer struct {
	w        io.Writer
	showKeys bool
	now      time.Time
	err      error // the first
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) secret(key string) string {
	if p.showKeys && key != "" {
		return key
	}
	return "(hidden)"
}

func (p *printer) interfaceSection(i *Interface) {
	p.line("interface: %s", i.Name)
	if i.PublicKey != "" {
		p.line("  public key: %s", i.PublicKey)
		p.line("  private key: %s", p.secret(i.PrivateKey))
	}
	if i.ListenPort != 0 {
		p.line("  listening port: %d", i.ListenPort)
	}
	if i.FwMark != 0 {
		p.line("  fwmark: 0x%x", i.FwMark)
	}
	if i.Upstream != "" {
		p.line("  serving: the WireGuard at %s", i.Upstream)
	}
	if i.PlainClients != 0 {
		p.line("  plain clients: %d", i.PlainClients)
	}
	if i.Scheduler != "" {
		p.line("  scheduler: %s%s", i.Scheduler, parenthesis(i.SchedulerTrouble))
	}
	p.drops(i.Drops, i.Discards)
}

func (p *printer) peer(peer *Peer) {
	p.line("peer: %s", peer.PublicKey)
	if peer.HasPresharedKey {
		p.line("  preshared key: %s", p.secret(peer.PresharedKey))
	}
	if peer.Endpoint != "" {
		p.line("  endpoint: %s", peer.Endpoint)
	}
	if len(peer.AllowedIPs) > 0 {
		p.line("  allowed ips: %s", strings.Join(peer.AllowedIPs, ", "))
	}
	if peer.LatestHandshake != 0 {
		p.line("  latest handshake: %s", Ago(p.now.Sub(time.Unix(peer.LatestHandshake, 0))))
	}
	if peer.RxBytes != 0 || peer.TxBytes != 0 {
		p.line("  transfer: %s received, %s sent", Bytes(peer.RxBytes), Bytes(peer.TxBytes))
	}
	if peer.PersistentKeepalive != 0 {
		p.line("  persistent keepalive: every %s", Span(time.Duration(peer.PersistentKeepalive)*time.Second))
	}
	if peer.Bond != nil {
		p.bond(peer.Bond)
	}
}

func (p *printer) bond(b *Bond) {
	if b.Bonded {
		p.line("  bond: since %s", Span(seconds(b.BondedFor)))
	} else {
		p.line("  bond: plain WireGuard, %s", orElse(b.PlainReason, "no answer from the other end yet"))
	}
	if b.ClientAddress != "" {
		p.line("  shown to WireGuard as: %s", b.ClientAddress)
	}
	if b.Queue != 0 || b.Reordering != 0 {
		p.line("  waiting: %s to be sent, %d packets for their order", Bytes(uint64(b.Queue)), b.Reordering)
	}
	if b.Repairs != 0 {
		p.line("  repaired: %d of %d datagrams sent again", b.Repairs, b.Sent)
	}
	p.drops(b.Drops, b.Discards)
	for i := range b.Paths {
		p.path(&b.Paths[i])
	}
}

func (p *printer) path(path *Path) {
	p.line("  path: %s", path.Name)
	if path.Device != "" {
		p.line("    device: %s", path.Device)
	}
	if path.Relay != "" {
		p.line("    relay: %s%s", path.Relay, parenthesis(path.Lease))
	}
	if path.Remote != "" {
		p.line("    remote: %s", path.Remote)
	}
	state := path.State
	for _, note := range []struct {
		is   bool
		text string
	}{{path.Backup, "backup"}, {path.Metered, "metered"}} {
		if note.is {
			state += ", " + note.text
		}
	}
	p.line("    state: %s%s", state, parenthesis(path.Reason))
	if path.Charge != "" {
		p.line("    not trusted: %s", path.Charge)
	}
	if path.MTUNote != "" {
		p.line("    too small: %s", path.MTUNote)
	}
	if path.Rate != 0 {
		p.line("    rate: %s", Rate(path.Rate))
	}
	if path.RTT != 0 {
		p.line("    round trip: %s, lowest %s", milliseconds(path.RTT), milliseconds(path.MinRTT))
	}
	if path.Rate != 0 || path.RTT != 0 || path.Loss != 0 {
		p.line("    loss: %.1f %%", 100*path.Loss)
		p.line("    in flight: %s", Bytes(uint64(path.InFlight)))
	}
	if verdict := path.Verdict(); verdict != "" {
		p.line("    scheduler: %s", verdict)
	}
	if path.RxBytes != 0 || path.TxBytes != 0 {
		p.line("    transfer: %s received, %s sent", Bytes(path.RxBytes), Bytes(path.TxBytes))
		p.line("    share: %.0f %%", 100*path.Share)
	}
	if path.Quota != 0 {
		p.line("    quota: %s of %s used, until %s", Bytes(path.QuotaUsed), Bytes(path.Quota), time.Unix(path.QuotaReset, 0).In(p.now.Location()).Format("2 January"))
	}
}

// drops prints what was dropped, with the reasons, and how much was discarded
// in the course of business, without: nobody need look into that.
func (p *printer) drops(drops, discards map[string]uint64) {
	var reasons []string
	for reason, n := range drops {
		if n != 0 {
			reasons = append(reasons, fmt.Sprintf("%d %s", n, reason))
		}
	}
	if len(reasons) > 0 {
		slices.Sort(reasons)
		p.line("  dropped: %s", strings.Join(reasons, ", "))
	}
	var harmless uint64
	for _, n := range discards {
		harmless += n
	}
	if harmless > 0 {
		p.line("  discarded: %d duplicates and overtaken messages, as usual", harmless)
	}
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func parenthesis(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func milliseconds(s float64) string { return fmt.Sprintf("%.1f ms", 1000*s) }

// Rate shows bytes per second in the unit of links.
func Rate(bytesPerSecond float64) string {
	bits := 8 * bytesPerSecond
	switch {
	case bits >= 1e9:
		return fmt.Sprintf("%.2f Gbit/s", bits/1e9)
	case bits >= 1e6:
		return fmt.Sprintf("%.2f Mbit/s", bits/1e6)
	case bits >= 1e3:
		return fmt.Sprintf("%.1f kbit/s", bits/1e3)
	}
	return fmt.Sprintf("%.0f bit/s", bits)
}

// Bytes shows a number of bytes as `wg show` does.
func Bytes(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value := float64(n) / 1024
	for _, unit := range []string{"KiB", "MiB", "GiB"} {
		if value < 1024 {
			return fmt.Sprintf("%.2f %s", value, unit)
		}
		value /= 1024
	}
	return fmt.Sprintf("%.2f TiB", value)
}

// Ago shows how long ago something was, as `wg show` does.
func Ago(d time.Duration) string {
	switch {
	case d < 0:
		return "in the future: the clock was set back"
	case d < time.Second:
		return "Now"
	}
	return Span(d) + " ago"
}

// Span shows a time in days, hours, minutes and seconds, as `wg show` does.
func Span(d time.Duration) string {
	left := int64(d / time.Second)
	var parts []string
	for _, unit := range []struct {
		name    string
		seconds int64
	}{{"day", 24 * 3600}, {"hour", 3600}, {"minute", 60}, {"second", 1}} {
		n := left / unit.seconds
		left %= unit.seconds
		switch {
		case n == 1:
			parts = append(parts, "1 "+unit.name)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", n, unit.name))
		}
	}
	if len(parts) == 0 {
		return "0 seconds"
	}
	return strings.Join(parts, ", ")
}
