// Package bondconf reads the side file, NAME.bond.toml, that says how the
// WireGuard interface NAME is bonded while NAME.conf stays stock:
//
//	scheduler = "earliest"            # a built-in's or a plugin's name
//	metrics = "127.0.0.1:9586"        # for Prometheus; off unless set
//	remember = false                  # keep nothing of what paths carry for the next time; true unless set
//	[[path]]
//	device = "wwan0"                  # bound to this device; or a pattern, "wwan*": each that fits
//	monthly-quota = "5 GB"            # no more between two reset days, both directions
//	quota-reset-day = 15              # of the month; 1 unless set
//	max-rate = "3.6 Mbit/s"           # never send faster; bit/s, kbit/s, Mbit/s, Gbit/s or B/s, kB/s, MB/s, GB/s
//	metered = true                    # costs money by volume
//	[[path]]                          # a device found by what it is, with a name: one that fits
//	name = "stick"
//	driver = "cdc_mbim"               # as ethtool -i shows it; or a pattern
//	usb = "1-2"                       # the port, as in /sys/bus/usb/devices
//	network = "10.1.0.0/16"           # that it has an address in
//	[[path]]
//	name = "neighbour"                # for status and plugins; the device's name unless set
//	device = "wlan0"
//	relay = "10.9.0.2:51900"          # a relayd near us; or "auto": those that are found nearby, several at once
//	relay-key = "…base64 X25519…"     # its own; with "auto", of the only one that is meant
//	relay-code = "K7QF-2M0A-…"        # its invitation, if it made one
//	backup = true                     # only while no other path works
//	weight = 2                        # relative, for schedulers that want it; 1 unless set
//	[serve]                           # server side only
//	listen = ":51820"                 # public
//	upstream = "127.0.0.1:51821"      # the stock WireGuard; unless set, 127.0.0.1 and NAME.conf's ListenPort
//	[plugin.NAME]                     # parameters of a scheduler, built in or not; see package decide
//
// With no side file, or none of its [[path]], every interface with a default
// route is a path.
//
// Rates have units because half the world means bits and the other half
// bytes; a bare number is an error. k, M and G are powers of 1000.
package bondconf

import (
	"fmt"
	"net/netip"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/wg-bond/wg-bond/cmd/internal/conferr"
	"github.com/wg-bond/wg-bond/cmd/internal/conftoml"
	"github.com/wg-bond/wg-bond/cmd/internal/metrics/at"
	"github.com/wg-bond/wg-bond/cmd/internal/units"
	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/conn/netwatch"
	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// Suffix is what a side file's name has in place of ".conf".
const Suffix = ".bond.toml"

// Config is a side file.
type Config struct {
	// Scheduler is the name of a built-in or of one of Plugins; "" leaves the
	// choice to the program.
	Scheduler string
	Paths     []Path
	Serve     Serve
	Metrics   at.Address // where they are served; zero: nowhere
	Forget    bool       // what paths carry is not kept for the next time
	// Plugins holds the tables [plugin.NAME] as go-toml decodes them.
	Plugins map[string]map[string]any

	doc *conftoml.Document // nil: there is no file
}

// Names lists the schedulers that the file may name: the program's, then those
// that only have a table.
func (c *Config) Names(builtin []string) []string {
	names := slices.Clone(builtin)
	for _, name := range sortedKeys(c.Plugins) {
		if !slices.Contains(builtin, name) {
			names = append(names, name)
		}
	}
	return names
}

// Line is the line of the file, from 1, where the value at path stands, as
// "plugin", "metered", "budget"; 0 if it is not there.
func (c *Config) Line(path ...any) int {
	if c.doc == nil {
		return 0
	}
	return c.doc.Line(path...)
}

// Path is one [[path]].
type Path struct {
	Name     string // unique; empty for each of the devices that fit Match
	Device   string
	Match    netwatch.Match // the devices that are meant, if not zero; then there is no Device
	Relay    netip.AddrPort // invalid: straight to the server
	Auto     bool           // by relays that are found near the device, instead of Relay
	RelayKey wgconf.Key     // set if Relay is valid
	Code     lease.Code     // an invitation of the relay's; zero: none
	Backup   bool
	Metered  bool
	Weight   float64 // positive
	MaxRate  float64 // bytes per second of whole IP packets; 0: no limit
	// MonthlyQuota is what the path may carry from one QuotaDay to the next, bytes
	// of whole IP packets, both directions; 0: no limit.
	MonthlyQuota uint64
	QuotaDay     int // of the month, 1 to 31
}

// Spec is the path as a Bind takes it.
func (p *Path) Spec() mux.PathSpec {
	return mux.PathSpec{
		Name: p.Name, Device: p.Device, Match: p.Match, Relay: p.Relay, Auto: p.Auto, RelayKey: control.Key(p.RelayKey), Code: p.Code,
		Backup: p.Backup, Metered: p.Metered, Weight: p.Weight, MaxRate: p.MaxRate,
	}
}

// Serve is the table [serve].
type Serve struct {
	Listen   netip.AddrPort // invalid: there is no [serve]; the address may be unspecified
	Upstream netip.AddrPort // invalid: not given
}

// PathFor is where the side file of the WireGuard configuration at confPath
// is: next to it.
func PathFor(confPath string) string { return strings.TrimSuffix(confPath, ".conf") + Suffix }

// Load reads the side file of the WireGuard configuration at confPath, or
// answers an empty Config if there is none. builtin are the names of the
// schedulers that the program has.
func Load(confPath string, builtin []string) (*Config, error) {
	path := PathFor(confPath)
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return new(Config), nil
	}
	if err != nil {
		return nil, err
	}
	return Parse(path, data, builtin)
}

// Parse reads data; name stands for the file in errors, which tell of every
// mistake at once.
func Parse(name string, data []byte, builtin []string) (*Config, error) {
	doc, err := conftoml.Parse(name, data)
	if err != nil {
		return nil, err
	}
	p := &parser{cfg: &Config{doc: doc}, doc: doc, errs: conferr.List{File: name}}
	p.file(builtin)
	if err := p.errs.Err(); err != nil {
		return nil, err
	}
	return p.cfg, nil
}

type parser struct {
	cfg  *Config
	doc  *conftoml.Document
	errs conferr.List
}

// field is one key of a table that is read into a T. set answers what was
// found and what would have been right; an empty want means that all is well.
type field[T any] struct {
	name string
	set  func(into *T, value any) (found, want string)
}

var pathFields = []field[Path]{
	{"name", func(p *Path, v any) (string, string) {
		return matching(&p.Name, v, nameShape, "a name of up to 32 letters, digits, and . _ - @, in quotes")
	}},
	{"device", func(p *Path, v any) (string, string) {
		const want = `an interface's name in quotes, like "wwan0", or a pattern, like "wwan*"`
		if s, ok := v.(string); ok && strings.ContainsAny(s, `*?[\`) {
			return pattern(&p.Match.Device, s, want)
		}
		return matching(&p.Device, v, deviceShape, want)
	}},
	{"driver", func(p *Path, v any) (string, string) {
		return pattern(&p.Match.Driver, v, `a driver's name in quotes as "ethtool -i" shows it, like "cdc_mbim", or a pattern, like "cdc_*"`)
	}},
	{"usb", func(p *Path, v any) (string, string) {
		return matching(&p.Match.USB, v, usbShape, `a port in quotes as in /sys/bus/usb/devices, like "1-2" or "1-2.4"`)
	}},
	{"network", setNetwork},
	{"relay", setRelay},
	{"relay-key", setRelayKey},
	{"relay-code", setRelayCode},
	{"backup", func(p *Path, v any) (string, string) { return setBool(&p.Backup, v) }},
	{"metered", func(p *Path, v any) (string, string) { return setBool(&p.Metered, v) }},
	{"weight", setWeight},
	{"max-rate", setMaxRate},
	{"monthly-quota", setQuota},
	{"quota-reset-day", setQuotaDay},
}

var serveFields = []field[Serve]{
	{"listen", setListen},
	{"upstream", setUpstream},
}

// nameShape allows what needs no quoting anywhere; deviceShape is what the
// kernel takes for an interface's name.
var (
	nameShape   = regexp.MustCompile(`^[\pL\pN._@-]{1,32}$`)
	deviceShape = regexp.MustCompile(`^[^/\s\x00:]{1,15}$`)
	usbShape    = regexp.MustCompile(`^[0-9]+-[0-9]+(\.[0-9]+)*$`)
)

var topKeys = []string{"scheduler", "metrics", "remember", "path", "serve", "plugin"}

func (p *parser) file(builtin []string) {
	for _, key := range sortedKeys(p.doc.Root) {
		value, line := p.doc.Root[key], p.doc.Line(key)
		switch key {
		case "scheduler": // after the plugins, below
		case "metrics":
			p.metrics(value, line)
		case "remember":
			remember := true
			if found, want := setBool(&remember, value); want != "" {
				p.errs.Add(line, key, found, want)
			}
			p.cfg.Forget = !remember
		case "path":
			p.paths(value, line)
		case "serve":
			p.serve(value, line)
		case "plugin":
			p.plugins(value, line)
		default:
			want := conferr.OneOf(key, topKeys)
			if slices.ContainsFunc(pathFields, func(f field[Path]) bool { return f.name == key }) {
				want = "it under [[path]]"
			}
			p.errs.Add(line, "", "the unknown key "+conferr.Quote(key), want)
		}
	}
	if value, ok := p.doc.Root["scheduler"]; ok {
		p.scheduler(value, builtin)
	}
}

func (p *parser) scheduler(value any, builtin []string) {
	line := p.doc.Line("scheduler")
	names := p.cfg.Names(builtin)
	name, ok := value.(string)
	switch {
	case !ok:
		p.errs.Add(line, "scheduler", conftoml.Describe(value), "a scheduler's name in quotes, "+conferr.OneOf("", names))
	case !slices.Contains(names, name):
		p.errs.Add(line, "scheduler", conferr.Quote(name), conferr.OneOf(name, names))
	default:
		p.cfg.Scheduler = name
	}
}

func (p *parser) metrics(value any, line int) {
	text, ok := value.(string)
	a, err := at.Parse(text)
	if !ok || err != nil {
		p.errs.Add(line, "metrics", conftoml.Describe(value), at.Want+"; others must not reach it, for there is no password")
		return
	}
	p.cfg.Metrics = a
}

func (p *parser) plugins(value any, line int) {
	const want = "tables [plugin.NAME]"
	tables, ok := value.(map[string]any)
	if !ok {
		p.errs.Add(line, "plugin", conftoml.Describe(value), want)
		return
	}
	p.cfg.Plugins = map[string]map[string]any{}
	for _, name := range sortedKeys(tables) {
		table, ok := tables[name].(map[string]any)
		if !ok {
			p.errs.Add(p.doc.Line("plugin", name), "plugin."+name, conftoml.Describe(tables[name]), want)
			continue
		}
		p.cfg.Plugins[name] = table
	}
}

func (p *parser) serve(value any, line int) {
	table, ok := value.(map[string]any)
	if !ok {
		p.errs.Add(line, "serve", conftoml.Describe(value), "a table [serve]")
		return
	}
	good := read(p, table, serveFields, &p.cfg.Serve, "serve: ", "serve")
	s := p.cfg.Serve
	switch {
	case !good:
	case !s.Listen.IsValid():
		p.errs.Add(line, "serve", "no listen", `listen = ":51820", the port that clients know`)
	case s.Upstream.IsValid() && s.Upstream.Port() == s.Listen.Port() &&
		(s.Listen.Addr().IsUnspecified() || s.Listen.Addr() == s.Upstream.Addr()):
		p.errs.Add(p.doc.Line("serve", "upstream"), "serve: upstream", fmt.Sprintf("%q, which listen = \"%s\" takes for itself", s.Upstream, showListen(s.Listen)),
			"another port there, and as ListenPort of the stock WireGuard")
	}
}

func showListen(a netip.AddrPort) string {
	if a.Addr().IsUnspecified() {
		return fmt.Sprintf(":%d", a.Port())
	}
	return a.String()
}

func (p *parser) paths(value any, line int) {
	list, ok := value.([]any)
	if !ok {
		p.errs.Add(line, "path", conftoml.Describe(value), "tables [[path]], one for each path")
		return
	}
	if len(list) > schedulers.MaxPaths {
		p.errs.Add(p.doc.Line("path", schedulers.MaxPaths), "path", fmt.Sprintf("%d paths", len(list)), fmt.Sprintf("at most %d", schedulers.MaxPaths))
		return
	}
	for i, value := range list {
		where := fmt.Sprintf("path %d", i+1)
		table, ok := value.(map[string]any)
		if !ok {
			p.errs.Add(p.doc.Line("path", i), where, conftoml.Describe(value), "tables [[path]], one for each path")
			continue
		}
		entry := Path{Weight: 1, QuotaDay: 1}
		if !read(p, table, pathFields, &entry, where+": ", "path", i) || !p.complete(&entry, table, where, i) {
			continue
		}
		p.cfg.Paths = append(p.cfg.Paths, entry)
	}
}

// complete checks what one key of a path says against the others, and
// against the paths before.
func (p *parser) complete(path *Path, table map[string]any, where string, i int) bool {
	line := func(key string) int {
		if n := p.doc.Line("path", i, key); n > 0 {
			return n
		}
		return p.doc.Line("path", i)
	}
	_, hasKey := table["relay-key"]
	_, hasDay := table["quota-reset-day"]
	if !path.Match.IsZero() && path.Device != "" { // a name beside what else must fit
		path.Match.Device, path.Device = path.Device, ""
	}
	if path.Name == "" && path.Match.IsZero() {
		path.Name = path.Device
		if path.Relay.IsValid() || path.Auto {
			path.Name += "-relay"
		}
	}
	switch {
	case path.Device == "" && path.Match.IsZero():
		p.errs.Add(line(""), where, "no device", `device = "…", the interface that this path uses, or driver, usb or network to find it by`)
	case path.MonthlyQuota > 0 && path.Name == "":
		p.errs.Add(line("monthly-quota"), where+": monthly-quota", "no name beside it", `name = "…", under which the count is kept: each device that fits would have a quota of its own`)
	case hasDay && path.MonthlyQuota == 0:
		p.errs.Add(line("quota-reset-day"), where+": quota-reset-day", "no monthly-quota beside it", `monthly-quota = "5 GB"`)
	case path.Relay.IsValid() && !hasKey:
		p.errs.Add(line("relay"), where+": relay", "no relay-key beside it", "relay-key = \"…\", what `relayd pubkey` prints at the lender's")
	case !path.Code.IsZero() && !path.Relay.IsValid() && !path.Auto:
		p.errs.Add(line("relay-code"), where+": relay-code", "no relay beside it", `relay = "auto", or "ADDRESS:PORT" of the relayd that made it`)
	case !path.Code.IsZero() && hasKey && !path.Code.Of(control.Key(path.RelayKey)):
		p.errs.Add(line("relay-code"), where+": relay-code", "an invitation of another lender than relay-key's", "the one that it made")
	case hasKey && !path.Relay.IsValid() && !path.Auto:
		p.errs.Add(line("relay-key"), where+": relay-key", "no relay beside it", `relay = "ADDRESS:PORT" of a relayd near us`)
	case path.Relay.Addr().Zone() != "" && path.Relay.Addr().Zone() != path.Device:
		p.errs.Add(line("relay"), where+": relay", fmt.Sprintf("the link %q in %q", path.Relay.Addr().Zone(), path.Relay), fmt.Sprintf("the path's own device, %q", path.Device))
	default:
		for j, other := range p.cfg.Paths {
			if other.Device == path.Device && other.Match == path.Match && other.Relay == path.Relay && other.Auto == path.Auto && (!path.Auto || other.RelayKey == path.RelayKey) {
				p.errs.Add(line("device"), where+": device", fmt.Sprintf("%q, as path %d has, and the same relay", path.Device, j+1), "another device or another relay: twice the same link carries no more")
				return false
			}
			if other.Name == path.Name && path.Name != "" {
				p.errs.Add(line("name"), where+": name", fmt.Sprintf("%q, which path %d has", path.Name, j+1), "a name = \"…\" of its own for each path")
				return false
			}
		}
		return true
	}
	return false
}

// read fills into from table, whose place in the file is at, and reports
// whether all was well.
func read[T any](p *parser, table map[string]any, fields []field[T], into *T, where string, at ...any) bool {
	good := true
	var names []string
	for _, f := range fields {
		names = append(names, f.name)
	}
	for _, key := range sortedKeys(table) {
		line := p.doc.Line(append(slices.Clone(at), key)...)
		i := slices.Index(names, key)
		if i < 0 {
			p.errs.Add(line, strings.TrimSuffix(where, ": "), "the unknown key "+conferr.Quote(key), conferr.OneOf(key, names))
			good = false
			continue
		}
		if found, want := fields[i].set(into, table[key]); want != "" {
			p.errs.Add(line, where+key, found, want)
			good = false
		}
	}
	return good
}

func matching(into *string, v any, shape *regexp.Regexp, want string) (string, string) {
	s, ok := v.(string)
	if !ok || !shape.MatchString(s) {
		return conftoml.Describe(v), want
	}
	*into = s
	return "", ""
}

// pattern reads a pattern of path.Match.
func pattern(into *string, v any, want string) (string, string) {
	s, ok := v.(string)
	if _, err := path.Match(s, ""); !ok || err != nil || s == "" || len(s) > 64 {
		return conftoml.Describe(v), want
	}
	*into = s
	return "", ""
}

func setNetwork(p *Path, v any) (found, want string) {
	s, ok := v.(string)
	prefix, err := netip.ParsePrefix(s)
	if !ok || err != nil {
		return conftoml.Describe(v), `a network in quotes, like "10.1.0.0/16", that the device has an address in`
	}
	p.Match.Network = prefix.Masked()
	return "", ""
}

func setBool(into *bool, v any) (found, want string) {
	b, ok := v.(bool)
	if !ok {
		return conftoml.Describe(v), "true or false, without quotes"
	}
	*into = b
	return "", ""
}

func setRelay(p *Path, v any) (found, want string) {
	s, ok := v.(string)
	if ok && s == "auto" {
		p.Auto = true
		return "", ""
	}
	a, err := netip.ParseAddrPort(s)
	if !ok || err != nil || a.Port() == 0 || a.Addr().IsUnspecified() {
		return conftoml.Describe(v), `a relayd's address and port in quotes, like "10.9.0.2:51900" or "[fe80::2%wlan0]:51900"; or "auto"`
	}
	p.Relay = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	return "", ""
}

func setRelayKey(p *Path, v any) (found, want string) {
	const right = "a public key, as `relayd pubkey` prints it: 44 characters of base64 in quotes"
	s, ok := v.(string)
	if !ok {
		return conftoml.Describe(v), right
	}
	key, err := wgconf.ParseKey(s)
	if err != nil {
		return strings.TrimPrefix(err.Error(), "not a key: "), right
	}
	if key.IsZero() {
		return "a key of zeros", right
	}
	p.RelayKey = key
	return "", ""
}

func setRelayCode(p *Path, v any) (found, want string) {
	s, _ := v.(string)
	i, err := lease.ParseInvitation(s)
	if err != nil {
		return "what is none: " + err.Error(), "an invitation in quotes, as `relayd invite` prints it" // the text is a secret
	}
	p.Code = i.Code
	return "", ""
}

func setWeight(p *Path, v any) (found, want string) {
	var weight float64
	switch v := v.(type) {
	case int64:
		weight = float64(v)
	case float64:
		weight = v
	}
	// The bounds keep sums and products of weights far from infinity.
	if !(weight >= 1e-6 && weight <= 1e6) {
		return conftoml.Describe(v), "a positive number without quotes, from 0.000001 to 1000000"
	}
	p.Weight = weight
	return "", ""
}

func setMaxRate(p *Path, v any) (found, want string) {
	s, ok := v.(string)
	if !ok {
		return conftoml.Describe(v), units.WantRate
	}
	rate, ok := units.ParseRate(s)
	if !ok {
		return conferr.Quote(s), units.WantRate
	}
	p.MaxRate = rate
	return "", ""
}

func setQuota(p *Path, v any) (found, want string) {
	s, ok := v.(string)
	if !ok {
		return conftoml.Describe(v), units.WantAmount
	}
	amount, ok := units.ParseAmount(s)
	switch {
	case !ok:
		return conferr.Quote(s), units.WantAmount
	case amount < 1e6:
		return conferr.Quote(s), units.WantAmount + ", from 1 MB to 1000 TB"
	}
	p.MonthlyQuota = amount
	return "", ""
}

func setQuotaDay(p *Path, v any) (found, want string) {
	day, ok := v.(int64)
	if !ok || day < 1 || day > 31 {
		return conftoml.Describe(v), "a day of the month, 1 to 31, without quotes; in a shorter month it is the last day"
	}
	p.QuotaDay = int(day)
	return "", ""
}

func setListen(s *Serve, v any) (found, want string) {
	text, ok := v.(string)
	if ok && strings.HasPrefix(text, ":") {
		text = "[::]" + text
	}
	a, err := netip.ParseAddrPort(text)
	if !ok || err != nil || a.Port() == 0 {
		return conftoml.Describe(v), `a port with or without an address in quotes, like ":51820" or "192.0.2.1:51820"`
	}
	s.Listen = a
	return "", ""
}

func setUpstream(s *Serve, v any) (found, want string) {
	text, ok := v.(string)
	a, err := netip.ParseAddrPort(text)
	if !ok || err != nil || a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().IsMulticast() {
		return conftoml.Describe(v), `where the stock WireGuard listens, in quotes, like "127.0.0.1:51821"`
	}
	s.Upstream = a
	return "", ""
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
