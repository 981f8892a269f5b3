package wgconf

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/wg-bond/wg-bond/cmd/internal/conferr"
)

// setter stores one key's value. It answers what was found and what would
// have been right; an empty want means that all is well. value has no white
// space around it; it is never empty unless the key allows that.
type setter func(p *parser, value string) (found, want string)

// key describes one key of a section.
type key struct {
	name string
	set  setter
	// words: it is a key of wg-quick's, whose value is a list of words or a
	// command, where white space counts. Elsewhere it counts for nothing, not
	// even inside a value, as in wg(8).
	words bool
	// empty: wg-quick takes an empty value for none. wg(8) calls it an error.
	empty bool
	// command: a shell gets the value, with any "#" in it.
	command bool
}

var interfaceKeys = []key{
	{name: "PrivateKey", set: func(p *parser, v string) (string, string) { return setKey(&p.cfg.Interface.PrivateKey, v, "private") }},
	{name: "ListenPort", set: func(p *parser, v string) (string, string) { return setPort(&p.cfg.Interface.ListenPort, v) }},
	{name: "FwMark", set: setFwMark},
	{name: "Address", set: setAddresses, words: true, empty: true},
	{name: "DNS", set: setDNS, words: true, empty: true},
	{name: "MTU", set: setMTU, words: true, empty: true},
	{name: "Table", set: setTable, words: true, empty: true},
	{name: "PreUp", set: func(p *parser, v string) (string, string) { return addHook(&p.cfg.Interface.PreUp, v) }, words: true, empty: true, command: true},
	{name: "PostUp", set: func(p *parser, v string) (string, string) { return addHook(&p.cfg.Interface.PostUp, v) }, words: true, empty: true, command: true},
	{name: "PreDown", set: func(p *parser, v string) (string, string) { return addHook(&p.cfg.Interface.PreDown, v) }, words: true, empty: true, command: true},
	{name: "PostDown", set: func(p *parser, v string) (string, string) { return addHook(&p.cfg.Interface.PostDown, v) }, words: true, empty: true, command: true},
	{name: "SaveConfig", set: setSaveConfig, words: true},
}

var peerKeys = []key{
	{name: "PublicKey", set: func(p *parser, v string) (string, string) { return setKey(&p.peer().PublicKey, v, "public") }},
	{name: "PresharedKey", set: func(p *parser, v string) (string, string) {
		return setKey(&p.peer().PresharedKey, v, "preshared")
	}},
	{name: "AllowedIPs", set: setAllowedIPs},
	{name: "Endpoint", set: setEndpoint},
	{name: "PersistentKeepalive", set: setKeepalive},
}

type section int

const (
	noSection section = iota
	interfaceSection
	peerSection
	unknownSection // already reported: its lines are not
)

type parser struct {
	cfg      *Config
	errs     conferr.List
	section  section
	peerLine []int // where each peer's section begins
}

func (p *parser) peer() *Peer { return &p.cfg.Peers[len(p.cfg.Peers)-1] }

// Parse reads data; name stands for the file in errors, which tell of every
// mistake at once.
func Parse(name string, data []byte) (*Config, error) {
	p := &parser{cfg: &Config{file: name, lines: map[place]int{}}, errs: conferr.List{File: name}}
	text := string(data)
	if after, ok := strings.CutPrefix(text, "\ufeff"); ok {
		p.errs.Add(1, "", "a byte order mark before the first line", "a file saved as UTF-8 without one: wg(8) refuses it too")
		text = after
	}
	for n := 1; text != ""; n++ {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		p.line(n, line)
	}
	for i, peer := range p.cfg.Peers {
		if peer.PublicKey.IsZero() && p.peerLine[i] != 0 {
			p.errs.Add(p.peerLine[i], "[Peer]", "no PublicKey in this section", "PublicKey = the peer's key, as `wg pubkey` prints it")
		}
	}
	if err := p.errs.Err(); err != nil {
		return nil, err
	}
	return p.cfg, nil
}

func (p *parser) line(n int, line string) {
	if strings.ContainsRune(line, 0) {
		p.errs.Add(n, "", "a zero byte", "a text file")
		return
	}
	whole := line
	line, _, _ = strings.Cut(line, "#")
	line = strings.TrimFunc(line, isSpace)
	if line == "" {
		return
	}
	if line[0] == '[' {
		p.header(n, line)
		return
	}
	name, value, hasValue := strings.Cut(line, "=")
	keys, where := interfaceKeys, "[Interface] "
	switch p.section {
	case peerSection:
		keys, where = peerKeys, "[Peer] "
	case noSection:
		p.errs.Add(n, "", conferr.Quote(hideKeys(line))+" before the first section", "[Interface] or [Peer] first")
		return
	case unknownSection:
		return
	}
	k := find(keys, name)
	if k == nil {
		p.unknown(n, where, line, squeeze(name), keys)
		return
	}
	where += k.name
	at := place{-1, k.name}
	if p.section == peerSection {
		at.peer = len(p.cfg.Peers) - 1
	}
	p.cfg.lines[at] = n
	if k.command && hasValue {
		_, value, _ = strings.Cut(whole, "=")
	}
	value = strings.TrimFunc(value, isSpace)
	if !k.words {
		value = squeeze(value)
	}
	if !hasValue || value == "" && !k.empty {
		p.errs.Add(n, where, "no value", k.name+" = …")
		return
	}
	if found, want := k.set(p, value); want != "" {
		p.errs.Add(n, where, found, want)
		if k.name == "PublicKey" {
			p.peerLine[len(p.peerLine)-1] = 0 // one error is enough
		}
	}
}

func (p *parser) header(n int, line string) {
	switch strings.ToLower(squeeze(line)) {
	case "[interface]":
		p.section = interfaceSection
	case "[peer]":
		p.section = peerSection
		p.cfg.Peers = append(p.cfg.Peers, Peer{})
		p.peerLine = append(p.peerLine, n)
	default:
		p.section = unknownSection
		p.errs.Add(n, "", "the section "+conferr.Quote(hideKeys(line)), "[Interface] or [Peer]")
	}
}

// Strip takes wg-quick(8)'s keys out of a file that Parse accepts: what is left
// is for `wg setconf` and `wg syncconf`. Comments stay; the output is that of
// `wg-quick strip`, to the byte.
func Strip(data []byte) string {
	var b strings.Builder
	inInterface := false
	for line := range strings.Lines(string(data)) {
		line = strings.Trim(strings.TrimSuffix(line, "\n"), " \t")
		content, _, _ := strings.Cut(line, "#")
		name, _, _ := strings.Cut(content, "=")
		if name = squeeze(name); strings.HasPrefix(name, "[") {
			inInterface = strings.EqualFold(name, "[interface]")
		}
		if k := find(interfaceKeys, name); inInterface && k != nil && k.words {
			continue
		}
		b.WriteString(line + "\n")
	}
	return b.String() + "\n"
}

// unknown explains a line with a key that its section does not have.
func (p *parser) unknown(n int, where, line, name string, keys []key) {
	other, otherName := peerKeys, "[Peer]"
	if p.section == peerSection {
		other, otherName = interfaceKeys, "[Interface]"
	}
	section := strings.TrimSpace(where)
	if k := find(other, name); k != nil {
		p.errs.Add(n, where+k.name, "a key of "+otherName+" in "+section, "it under "+otherName)
		return
	}
	if first, _, more := strings.Cut(strings.Map(blank, line), " "); more {
		if k := find(keys, first); k != nil {
			p.errs.Add(n, where+k.name, `no "=" after the key`, k.name+" = …")
			return
		}
	}
	if !strings.Contains(line, "=") {
		p.errs.Add(n, section, conferr.Quote(hideKeys(line)), "KEY = VALUE")
		return
	}
	var names []string
	for _, k := range keys {
		names = append(names, k.name)
	}
	p.errs.Add(n, section, "the unknown key "+conferr.Quote(hideKeys(name)), conferr.OneOf(name, names))
}

func find(keys []key, name string) *key {
	squeezed := squeeze(name)
	for i, k := range keys {
		// wg-quick(8) wants its own keys without spaces inside; wg(8) does not
		// care for its own. Nobody is hurt if we never do.
		if strings.EqualFold(squeezed, k.name) {
			return &keys[i]
		}
	}
	return nil
}

// isSpace is C's isspace in the C locale.
func isSpace(r rune) bool {
	switch r {
	case ' ', '\t', '\n', '\v', '\f', '\r':
		return true
	}
	return false
}

// blank turns every kind of white space into a plain space.
func blank(r rune) rune {
	if isSpace(r) {
		return ' '
	}
	return r
}

var keyLike = regexp.MustCompile(`[A-Za-z0-9+/]{40,}=*`)

// hideKeys takes out of a line that goes into an error what may be a key.
func hideKeys(line string) string { return keyLike.ReplaceAllString(line, "…") }

// squeeze removes all white space, as wg(8) does with every line.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if isSpace(r) {
			return -1
		}
		return r
	}, s)
}

// fields splits a list of Address or DNS: by commas, by white space or both.
func fields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || isSpace(r) })
}

func setKey(k *Key, v, kind string) (found, want string) {
	key, err := ParseKey(v)
	if err != nil {
		return describeSecret(v), "a " + kind + " key: 44 characters of base64, the last of them \"=\""
	}
	if key.IsZero() && kind == "public" {
		return "a key of zeros", "the peer's public key, as `wg pubkey` prints it"
	}
	*k = key
	return "", ""
}

func setPort(port *uint16, v string) (found, want string) {
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil {
		return conferr.Quote(v), "a port number from 0 (any) to 65535"
	}
	*port = uint16(n)
	return "", ""
}

func setFwMark(p *parser, v string) (found, want string) {
	digits, base := v, 10
	if rest, ok := strings.CutPrefix(v, "0x"); ok {
		digits, base = rest, 16
	}
	if strings.EqualFold(v, "off") {
		digits = "0"
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil {
		return conferr.Quote(v), "off, or a mark from 0 to 0xffffffff"
	}
	p.cfg.Interface.FwMark = uint32(n)
	return "", ""
}

func setAddresses(p *parser, v string) (found, want string) {
	for _, word := range fields(v) {
		a, ok := parsePrefix(word)
		if !ok {
			return conferr.Quote(word), "an address with its prefix length, like 10.0.0.2/24 or fd00::2/64"
		}
		p.cfg.Interface.Addresses = append(p.cfg.Interface.Addresses, a)
	}
	return "", ""
}

func setDNS(p *parser, v string) (found, want string) {
	for _, word := range fields(v) {
		// The rule is wg-quick's: digits and dots or a colon make an address.
		if strings.Trim(word, "0123456789.") != "" && !strings.Contains(word, ":") {
			if strings.ContainsFunc(word, notDomain) {
				return conferr.Quote(word), "addresses of name servers and domains to search"
			}
			p.cfg.Interface.Search = append(p.cfg.Interface.Search, word)
			continue
		}
		a, err := netip.ParseAddr(word)
		if err != nil {
			return conferr.Quote(word), "addresses of name servers and domains to search"
		}
		p.cfg.Interface.DNS = append(p.cfg.Interface.DNS, a)
	}
	return "", ""
}

func notDomain(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
		strings.ContainsRune("-._~", r) || r > 0x7f && r != '\ufffd')
}

func setMTU(p *parser, v string) (found, want string) {
	if v == "" {
		p.cfg.Interface.MTU = 0
		return "", ""
	}
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil || n < 68 {
		return conferr.Quote(v), "a size in bytes from 68 to 65535 (IPv6 needs 1280)"
	}
	p.cfg.Interface.MTU = int(n)
	return "", ""
}

func setTable(p *parser, v string) (found, want string) {
	switch strings.ToLower(v) {
	case "", "auto":
		p.cfg.Interface.Table = TableAuto
		return "", ""
	case "off":
		p.cfg.Interface.Table = TableOff
		return "", ""
	}
	n, err := strconv.ParseUint(v, 0, 32)
	if err == nil && n != 0 && !strings.Contains(v, "_") {
		p.cfg.Interface.Table = Table(strconv.FormatUint(n, 10))
		return "", ""
	}
	if v[0] < 'A' || strings.ContainsFunc(v, notDomain) {
		return conferr.Quote(v), "auto, off, a routing table's number from 1 to 4294967295, or its name in /etc/iproute2/rt_tables"
	}
	p.cfg.Interface.Table = Table(v)
	return "", ""
}

func addHook(hooks *[]string, v string) (found, want string) {
	if v != "" {
		*hooks = append(*hooks, v)
	}
	return "", ""
}

func setSaveConfig(p *parser, v string) (found, want string) {
	switch strings.ToLower(v) {
	case "true":
		p.cfg.Interface.SaveConfig = true
	case "false":
		p.cfg.Interface.SaveConfig = false
	default:
		return conferr.Quote(v), "true or false"
	}
	return "", ""
}

func setAllowedIPs(p *parser, v string) (found, want string) {
	peer := p.peer()
	for _, word := range strings.Split(v, ",") {
		// Since wireguard-tools 1.0.20250521 a sign adds or removes.
		rest, remove := strings.CutPrefix(word, "-")
		if !remove {
			rest = strings.TrimPrefix(word, "+")
		}
		a, ok := parsePrefix(rest)
		if !ok {
			return conferr.Quote(word), "address ranges like 10.0.0.0/24 or fd00::/64, with commas between them"
		}
		a = a.Masked()
		peer.AllowedIPs = slices.DeleteFunc(peer.AllowedIPs, func(b netip.Prefix) bool { return a == b })
		if !remove {
			peer.AllowedIPs = append(peer.AllowedIPs, a)
		}
	}
	return "", ""
}

// parsePrefix reads an address with or without a prefix length; without, it
// is the whole address.
func parsePrefix(s string) (netip.Prefix, bool) {
	address, bits, hasBits := strings.Cut(s, "/")
	a, err := netip.ParseAddr(address)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	n := uint64(a.BitLen())
	if hasBits {
		if n, err = strconv.ParseUint(bits, 10, 8); err != nil {
			return netip.Prefix{}, false
		}
	}
	prefix := netip.PrefixFrom(a, int(n))
	return prefix, prefix.IsValid()
}

func setEndpoint(p *parser, v string) (found, want string) {
	const right = "an address or name with a port, like 192.0.2.1:51820, [2001:db8::1]:51820 or vpn.example.com:51820"
	var host, port string
	if rest, ok := strings.CutPrefix(v, "["); ok {
		if host, port, ok = strings.Cut(rest, "]:"); !ok {
			return conferr.Quote(v), right
		}
	} else {
		i := strings.LastIndexByte(v, ':')
		if i < 0 {
			return conferr.Quote(v) + ", which has no port", right
		}
		host, port = v[:i], v[i+1:]
	}
	if host == "" || strings.ContainsAny(host, "[]/") {
		return conferr.Quote(v), right
	}
	if _, err := netip.ParseAddr(host); err != nil && strings.Contains(host, ":") {
		return conferr.Quote(v) + ", an IPv6 address without brackets", right
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return fmt.Sprintf("the port %s", conferr.Quote(port)), "a port number from 1 to 65535"
	}
	p.peer().Endpoint = Endpoint{Host: host, Port: uint16(n)}
	return "", ""
}

func setKeepalive(p *parser, v string) (found, want string) {
	if strings.EqualFold(v, "off") {
		v = "0"
	}
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil {
		return conferr.Quote(v), "off, or seconds from 1 to 65535"
	}
	p.peer().PersistentKeepalive = uint16(n)
	return "", ""
}
