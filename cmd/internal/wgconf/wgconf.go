// Package wgconf reads and writes stock WireGuard configuration files: the
// format of `wg setconf` (wg(8)) together with the keys that wg-quick(8)
// adds to [Interface]. It takes no key of our own: bonding is configured in
// a side file (package bondconf), so that these files stay stock.
//
// What a line means follows wireguard-tools' src/config.c and wg-quick:
// "#" starts a comment, except in a hook, which bash gets as it is (in older
// versions of wg-quick a hook ended there); keys and section names ignore
// case; white space counts for nothing except between the words of Address,
// DNS and the hooks; the last of a repeated single value holds, lists and hooks
// add up; sections may repeat.
//
// We are stricter in one point: a port is a number, not a name from
// /etc/services.
package wgconf

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Key is a WireGuard key: private, public or preshared.
type Key [32]byte

// IsZero reports whether k is unset; all zeros is no valid key.
func (k Key) IsZero() bool { return k == Key{} }

// String is the key in base64, as in configuration files.
func (k Key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// Hex is the key as the UAPI writes it.
func (k Key) Hex() string { return hex.EncodeToString(k[:]) }

// ParseKey reads a key as wg(8) does: 44 characters of strict base64.
func ParseKey(s string) (Key, error) {
	var k Key
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(k) || len(s) != 44 {
		return Key{}, fmt.Errorf("not a key: %s instead of 44 characters of base64", describeSecret(s))
	}
	copy(k[:], b)
	return k, nil
}

// describeSecret says what is wrong with a key's text without showing it.
func describeSecret(s string) string {
	if len(s) == 44 {
		return "44 characters that are not 32 bytes in base64"
	}
	return fmt.Sprintf("%d characters", len(s))
}

// Config is a configuration file.
type Config struct {
	Interface Interface
	Peers     []Peer

	file  string
	lines map[place]int
}

// place is a key in [Interface], or in the peer'th [Peer].
type place struct {
	peer int // -1: [Interface]
	key  string
}

// At is where a key of [Interface] stands, the last one if there are several:
// "file:line: [Interface] key", for errors that Parse cannot know of.
func (c *Config) At(key string) string { return c.at("[Interface]", place{-1, key}) }

// AtPeer is where a key of the peer'th [Peer] stands.
func (c *Config) AtPeer(peer int, key string) string { return c.at("[Peer]", place{peer, key}) }

func (c *Config) at(section string, p place) string {
	if line := c.lines[p]; line > 0 {
		return fmt.Sprintf("%s:%d: %s %s", c.file, line, section, p.key)
	}
	return section + " " + p.key
}

// Interface is the section [Interface].
type Interface struct {
	// wg(8)'s keys.
	PrivateKey Key
	ListenPort uint16 // 0: any
	FwMark     uint32 // 0: none

	// wg-quick(8)'s keys.
	Addresses  []netip.Prefix // host bits kept
	DNS        []netip.Addr
	Search     []string // the names among the values of DNS
	MTU        int      // 0: to be derived
	Table      Table
	PreUp      []string
	PostUp     []string
	PreDown    []string
	PostDown   []string
	SaveConfig bool
}

// Table is where wg-quick(8) puts routes: "" (which is "auto"), "off", or a
// routing table by number or by its name in /etc/iproute2/rt_tables.
type Table string

// The two words with a meaning of their own.
const (
	TableAuto Table = ""
	TableOff  Table = "off"
)

// Peer is one section [Peer].
type Peer struct {
	PublicKey           Key
	PresharedKey        Key // zero: none
	Endpoint            Endpoint
	AllowedIPs          []netip.Prefix // masked
	PersistentKeepalive uint16         // seconds; 0: off
}

// Endpoint is a peer's address, by number or by name; zero: none.
type Endpoint struct {
	Host string
	Port uint16
}

// IsZero reports whether there is no endpoint.
func (e Endpoint) IsZero() bool { return e.Host == "" }

// String is host:port, with brackets around an IPv6 address.
func (e Endpoint) String() string {
	if e.IsZero() {
		return ""
	}
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

// Load reads the file at path.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// UAPI renders the configuration as the body of the UAPI's set operation
// (https://www.wireguard.com/xplatform/), for a device with no peers yet.
// endpoints holds each peer's address, in the order of Peers, as somebody
// resolved it; an invalid one leaves that peer without endpoint.
func (c *Config) UAPI(endpoints []netip.AddrPort) string {
	var b strings.Builder
	if !c.Interface.PrivateKey.IsZero() {
		fmt.Fprintf(&b, "private_key=%s\n", c.Interface.PrivateKey.Hex())
	}
	fmt.Fprintf(&b, "listen_port=%d\n", c.Interface.ListenPort)
	fmt.Fprintf(&b, "fwmark=%d\n", c.Interface.FwMark)
	b.WriteString("replace_peers=true\n")
	for i, p := range c.Peers {
		fmt.Fprintf(&b, "public_key=%s\n", p.PublicKey.Hex())
		if !p.PresharedKey.IsZero() {
			fmt.Fprintf(&b, "preshared_key=%s\n", p.PresharedKey.Hex())
		}
		if i < len(endpoints) && endpoints[i].IsValid() {
			fmt.Fprintf(&b, "endpoint=%s\n", endpoints[i])
		}
		fmt.Fprintf(&b, "persistent_keepalive_interval=%d\n", p.PersistentKeepalive)
		b.WriteString("replace_allowed_ips=true\n")
		for _, a := range p.AllowedIPs {
			fmt.Fprintf(&b, "allowed_ip=%s\n", a)
		}
	}
	return b.String()
}

// String renders the configuration as a file that Parse, wg(8) and
// wg-quick(8) read back to the same. It holds the private key.
func (c *Config) String() string {
	var b strings.Builder
	line := func(key string, value any) { fmt.Fprintf(&b, "%s = %v\n", key, value) }
	i := &c.Interface
	b.WriteString("[Interface]\n")
	for _, a := range i.Addresses {
		line("Address", a)
	}
	for _, d := range i.DNS {
		line("DNS", d)
	}
	for _, s := range i.Search {
		line("DNS", s)
	}
	if i.MTU != 0 {
		line("MTU", i.MTU)
	}
	if i.Table != TableAuto {
		line("Table", i.Table)
	}
	if i.SaveConfig {
		line("SaveConfig", true)
	}
	for _, h := range []struct {
		key   string
		hooks []string
	}{{"PreUp", i.PreUp}, {"PostUp", i.PostUp}, {"PreDown", i.PreDown}, {"PostDown", i.PostDown}} {
		for _, hook := range h.hooks {
			line(h.key, hook)
		}
	}
	if i.ListenPort != 0 {
		line("ListenPort", i.ListenPort)
	}
	if i.FwMark != 0 {
		line("FwMark", fmt.Sprintf("0x%x", i.FwMark))
	}
	if !i.PrivateKey.IsZero() {
		line("PrivateKey", i.PrivateKey)
	}
	for _, p := range c.Peers {
		b.WriteString("\n[Peer]\n")
		line("PublicKey", p.PublicKey)
		if !p.PresharedKey.IsZero() {
			line("PresharedKey", p.PresharedKey)
		}
		if len(p.AllowedIPs) > 0 {
			var ips []string
			for _, a := range p.AllowedIPs {
				ips = append(ips, a.String())
			}
			line("AllowedIPs", strings.Join(ips, ", "))
		}
		if !p.Endpoint.IsZero() {
			line("Endpoint", p.Endpoint)
		}
		if p.PersistentKeepalive != 0 {
			line("PersistentKeepalive", p.PersistentKeepalive)
		}
	}
	return b.String()
}
