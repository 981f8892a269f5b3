package main

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/wg-bond/wg-bond/cmd/internal/conferr"
	"github.com/wg-bond/wg-bond/cmd/internal/conftoml"
	"github.com/wg-bond/wg-bond/cmd/internal/metrics/at"
	"github.com/wg-bond/wg-bond/cmd/internal/units"
	"github.com/wg-bond/wg-bond/relayd"
	"github.com/wg-bond/wg-bond/relayd/access"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// defaultListen is where relayd listens unless told otherwise.
const defaultListen = ":51900"

// What a value should look like, for errors.
const (
	wantListen  = `an address and port in quotes, like ":51900", "192.0.2.1:51900" or "[2001:db8::1]:51900"`
	wantDevice  = `an interface's name in quotes, like "wwan0"`
	wantPrivate = "44 characters of base64 in quotes, as relayd genkey prints them"
	wantPublic  = "44 characters of base64 in quotes, as wg show prints them at the borrower"
	wantBool    = "true or false"
	wantName    = "up to 32 letters, digits, spaces and . _ - in quotes"
	wantControl = `the path of a socket, in quotes, like "` + defaultControl + `"`
	wantState   = `a directory in quotes, like "/var/lib/relayd"`
	wantUser    = `a user's name in quotes, like "nobody"; "root" stays root`
	wantKeyFile = "the path, in quotes, of a file that holds what relayd genkey prints"
)

// deviceShape is what the kernel takes for an interface's name.
var deviceShape = regexp.MustCompile(`^[^/\s\x00:]{1,15}$`)

var (
	nameShape = regexp.MustCompile(`^[\pL\pN ._-]{1,32}$`)
	absolute  = regexp.MustCompile(`^/[^\x00]+$`)
)

// config is what a configuration file says.
type config struct {
	relayd.Config
	Name      string   // for people, in announcements; the host's name unless set
	Announce  []string // devices
	Control   string   // the control socket
	StateDir  string   // empty: nothing is kept
	AuditFile string   // empty: none
	User      string   // to become after the start; empty: unprivileged
	Metrics   at.Address
}

const (
	// defaultControl is where relayd invite and its like reach a relayd.
	defaultControl = "/run/wg-bond/relayd/control.sock"
	// invitationsFile is in the state directory.
	invitationsFile = "invitations.json"
)

// loadConfig reads a configuration file. Its errors tell of every mistake with
// its place.
func loadConfig(file string) (*config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parseConfig(file, data)
}

// parseConfig reads the text of a configuration file. A private-key-file is
// looked for from where file is.
func parseConfig(file string, data []byte) (*config, error) {
	doc, err := conftoml.Parse(file, data)
	if err != nil {
		return nil, err
	}
	p := &parser{doc: doc, errs: conferr.List{File: file}, cfg: &config{Control: defaultControl}}
	keys := map[string]func(value any, line int){
		"listen":                p.listen,
		"device":                p.device,
		"private-key":           p.privateKey,
		"private-key-file":      p.privateKeyFile,
		"allow-private-targets": p.allowPrivateTargets,
		"allow":                 p.allow,
		"announce":              p.announce,
		"name":                  func(v any, line int) { p.matching(&p.cfg.Name, v, line, "name", nameShape, wantName) },
		"control":               func(v any, line int) { p.matching(&p.cfg.Control, v, line, "control", absolute, wantControl) },
		"state-dir":             func(v any, line int) { p.matching(&p.cfg.StateDir, v, line, "state-dir", absolute, wantState) },
		"user":                  func(v any, line int) { p.matching(&p.cfg.User, v, line, "user", nameShape, wantUser) },
		"open":                  p.open,
		"metrics":               p.metrics,
	}
	maps.Copy(keys, p.limits())
	known := slices.Sorted(maps.Keys(keys))
	for _, key := range slices.Sorted(maps.Keys(doc.Root)) {
		line := doc.Line(key)
		if set := keys[key]; set != nil {
			set(doc.Root[key], line)
			continue
		}
		want := conferr.OneOf(key, known)
		if key == "public-key" {
			want = "it under [[allow]]"
		}
		p.errs.Add(line, "", "the unknown key "+conferr.Quote(key), want)
	}
	p.complete()
	if err := p.errs.Err(); err != nil {
		return nil, err
	}
	return p.cfg, nil
}

type parser struct {
	doc  *conftoml.Document
	errs conferr.List
	cfg  *config
}

// text is value as a string; it notes the mistake if it is none.
func (p *parser) text(value any, line int, key, want string) (string, bool) {
	s, ok := value.(string)
	if !ok {
		p.errs.Add(line, key, conftoml.Describe(value), want)
	}
	return s, ok
}

func (p *parser) listen(value any, line int) {
	s, ok := p.text(value, line, "listen", wantListen)
	if !ok {
		return
	}
	at, err := parseListen(s)
	if err != nil {
		p.errs.Add(line, "listen", conferr.Quote(s), wantListen)
	}
	p.cfg.Listen = at
}

// parseListen reads an address to listen at, with a port.
func parseListen(s string) ([]netip.AddrPort, error) {
	at, err := relayd.ParseListen(s)
	if err == nil && at[0].Port() == 0 {
		return nil, fmt.Errorf("%q: borrowers must know the port, so it cannot be 0", s)
	}
	return at, err
}

func (p *parser) metrics(value any, line int) {
	s, ok := p.text(value, line, "metrics", at.Want)
	if !ok {
		return
	}
	a, err := at.Parse(s)
	if err != nil {
		p.errs.Add(line, "metrics", conferr.Quote(s), at.Want+"; others must not reach it, for there is no password")
	}
	p.cfg.Metrics = a
}

func (p *parser) device(value any, line int) {
	s, ok := p.text(value, line, "device", wantDevice)
	if ok && !deviceShape.MatchString(s) {
		p.errs.Add(line, "device", conferr.Quote(s), wantDevice)
	}
	p.cfg.Device = s
}

// matching reads a text of a certain shape.
func (p *parser) matching(into *string, value any, line int, key string, shape *regexp.Regexp, want string) {
	s, ok := p.text(value, line, key, want)
	if ok && !shape.MatchString(s) {
		p.errs.Add(line, key, conferr.Quote(s), want)
		return
	}
	*into = s
}

func (p *parser) announce(value any, line int) {
	const want = `a list of the devices that borrowers are near, like ["wlan0"]`
	list, ok := value.([]any)
	if !ok {
		p.errs.Add(line, "announce", conftoml.Describe(value), want)
		return
	}
	for _, v := range list {
		s, ok := v.(string)
		if !ok || !deviceShape.MatchString(s) {
			p.errs.Add(line, "announce", conftoml.Describe(v), want)
			continue
		}
		p.cfg.Announce = append(p.cfg.Announce, s)
	}
}

// open reads the table [open]; what it does not say is as access has it.
func (p *parser) open(value any, line int) {
	table, ok := value.(map[string]any)
	if !ok {
		p.errs.Add(line, "open", conftoml.Describe(value), "a table [open]")
		return
	}
	o := access.Open{Leases: access.OpenLeases, Rate: access.OpenRate, PerDay: access.OpenPerDay}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		line, value := p.doc.Line("open", key), table[key]
		text, _ := value.(string)
		switch key {
		case "leases":
			n, ok := value.(int64)
			if !ok || n < 1 || n > relayd.DefaultMaxLeases {
				p.errs.Add(line, "open: leases", conftoml.Describe(value), fmt.Sprintf("a number from 1 to %d", relayd.DefaultMaxLeases))
			}
			o.Leases = int(n)
		case "rate":
			rate, ok := units.ParseRate(text)
			if !ok {
				p.errs.Add(line, "open: rate", conftoml.Describe(value), units.WantRate)
			}
			o.Rate = uint64(rate)
		case "per-day":
			amount, ok := units.ParseAmount(text)
			if !ok {
				p.errs.Add(line, "open: per-day", conftoml.Describe(value), units.WantAmount)
			}
			o.PerDay = amount
		default:
			p.errs.Add(line, "open", "the unknown key "+conferr.Quote(key), conferr.OneOf(key, []string{"leases", "rate", "per-day"}))
		}
	}
	p.cfg.Open = o
}

func (p *parser) privateKey(value any, line int) {
	s, ok := p.text(value, line, "private-key", wantPrivate)
	if !ok {
		return
	}
	k, err := control.ParseKey(s)
	if err != nil || k.IsZero() {
		p.errs.Add(line, "private-key", "what is no key", wantPrivate) // the text may be a secret
	}
	p.cfg.PrivateKey = k
}

func (p *parser) privateKeyFile(value any, line int) {
	const key = "private-key-file"
	s, ok := p.text(value, line, key, wantKeyFile)
	if !ok {
		return
	}
	if _, both := p.doc.Root["private-key"]; both {
		p.errs.Add(line, key, "a second private key", "either private-key or private-key-file")
		return
	}
	if !filepath.IsAbs(s) {
		s = filepath.Join(filepath.Dir(p.errs.File), s)
	}
	k, err := readKeyFile(s)
	if err != nil {
		p.errs.Add(line, key, err.Error(), wantKeyFile)
	}
	p.cfg.PrivateKey = k
}

// readKeyFile reads a file that holds a private key and nothing else.
func readKeyFile(file string) (control.Key, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return control.Key{}, err
	}
	k, err := control.ParseKey(strings.TrimSpace(string(data)))
	if err != nil {
		return control.Key{}, fmt.Errorf("%s: %w", file, err)
	}
	if k.IsZero() {
		return control.Key{}, fmt.Errorf("%s: the key is all zeros", file)
	}
	return k, nil
}

func (p *parser) allowPrivateTargets(value any, line int) {
	b, ok := value.(bool)
	if !ok {
		p.errs.Add(line, "allow-private-targets", conftoml.Describe(value), wantBool)
	}
	p.cfg.AllowPrivateTargets = b
}

func (p *parser) allow(value any, line int) {
	const want = "tables [[allow]], one for each borrower"
	list, ok := value.([]any)
	if !ok {
		p.errs.Add(line, "allow", conftoml.Describe(value), want)
		return
	}
	seen := map[control.Key]int{}
	for i, entry := range list {
		where := fmt.Sprintf("allow %d", i+1)
		line := p.doc.Line("allow", i)
		table, ok := entry.(map[string]any)
		if !ok {
			p.errs.Add(line, where, conftoml.Describe(entry), want)
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(table)) {
			if key != "public-key" {
				p.errs.Add(p.doc.Line("allow", i, key), where, "the unknown key "+conferr.Quote(key), conferr.OneOf(key, []string{"public-key"}))
			}
		}
		value, ok := table["public-key"]
		if !ok {
			p.errs.Add(line, where, "no public-key", wantPublic)
			continue
		}
		line = p.doc.Line("allow", i, "public-key")
		where += ": public-key"
		s, ok := p.text(value, line, where, wantPublic)
		if !ok {
			continue
		}
		k, err := control.ParseKey(s)
		switch {
		case err != nil || k.IsZero():
			p.errs.Add(line, where, conferr.Quote(s), wantPublic)
		case seen[k] > 0:
			p.errs.Add(line, where, fmt.Sprintf("the key of line %d again", seen[k]), "each borrower once")
		default:
			seen[k] = line
			p.cfg.Allow = append(p.cfg.Allow, k)
		}
	}
}

// complete notes what is missing or does not go together.
func (p *parser) complete() {
	has := func(key string) bool { _, ok := p.doc.Root[key]; return ok }
	if !has("listen") {
		p.cfg.Listen, _ = parseListen(defaultListen)
	}
	if !has("private-key") && !has("private-key-file") {
		p.errs.Add(0, "", "no private key", `private-key-file = "FILE" or private-key = "…", made by relayd genkey`)
	}
	if list, ok := p.doc.Root["allow"].([]any); (!has("allow") || ok && len(list) == 0) && !has("open") && !has("state-dir") {
		p.errs.Add(0, "", "nobody who may borrow", "[[allow]] with public-key = \"…\", for each borrower; or state-dir, where invitations are kept; or [open]")
	}
	if p.cfg.StateDir != "" {
		p.cfg.Invitations = filepath.Join(p.cfg.StateDir, invitationsFile)
	}
	p.completeLimits()
	if i := slices.Index(p.cfg.Announce, p.cfg.Device); i >= 0 {
		p.errs.Add(p.doc.Line("announce"), "announce", fmt.Sprintf("%q, the device that is lent", p.cfg.Device), "those on which borrowers are near; strangers on the other side are none")
	}
	if len(p.cfg.Announce) > 0 && p.cfg.Device == "" {
		p.errs.Add(p.doc.Line("announce"), "announce", "no device beside it", `device = "…", the one to lend, so that it is known which is not`)
	}
	if own := p.cfg.PrivateKey; !own.IsZero() {
		if i := slices.Index(p.cfg.Allow, own.Public()); i >= 0 {
			p.errs.Add(p.doc.Line("allow"), "allow", "this relayd's own public key", "those of borrowers")
		}
	}
}

// settings are the flags that say what a configuration file can say.
type settings struct {
	Listen              string   `placeholder:"ADDRESS:PORT" help:"Where borrowers reach us; :PORT for all addresses. Unless set, :51900."`
	Device              string   `placeholder:"NAME" help:"The network device to lend."`
	PrivateKeyFile      string   `placeholder:"FILE" type:"path" help:"A file with our private key, as genkey prints it."`
	PrivateKey          string   `placeholder:"KEY" help:"Our private key itself: other users can see it in the list of processes."`
	Allow               []string `placeholder:"KEY" sep:"none" help:"WireGuard public key of one who may borrow; may be repeated."`
	AllowPrivateTargets bool     `help:"Forward to servers in private networks, too."`
}

func (s *settings) given() bool {
	return s.Listen != "" || s.Device != "" || s.PrivateKeyFile != "" || s.PrivateKey != "" || len(s.Allow) > 0 || s.AllowPrivateTargets
}

// config makes a configuration of flags alone.
func (s *settings) config() (*config, error) {
	cfg := &config{Control: defaultControl, Config: relayd.Config{Device: s.Device, AllowPrivateTargets: s.AllowPrivateTargets}}
	var err error
	if s.Listen == "" {
		s.Listen = defaultListen
	}
	if cfg.Listen, err = parseListen(s.Listen); err != nil {
		return nil, fmt.Errorf("--listen=%w", err)
	}
	if s.Device != "" && !deviceShape.MatchString(s.Device) {
		return nil, fmt.Errorf("--device=%q: want an interface's name, like wwan0", s.Device)
	}
	switch {
	case s.PrivateKey != "" && s.PrivateKeyFile != "":
		return nil, errors.New("--private-key and --private-key-file: want one of them")
	case s.PrivateKeyFile != "":
		if cfg.PrivateKey, err = readKeyFile(s.PrivateKeyFile); err != nil {
			return nil, fmt.Errorf("--private-key-file: %w", err)
		}
	case s.PrivateKey != "":
		if cfg.PrivateKey, err = control.ParseKey(s.PrivateKey); err != nil {
			return nil, fmt.Errorf("--private-key: %w", err)
		}
	default:
		return nil, errors.New("no private key: want --private-key-file=FILE, made by relayd genkey")
	}
	if len(s.Allow) == 0 {
		return nil, errors.New("nobody may borrow: want --allow=KEY for each borrower, the WireGuard public key that wg show prints there")
	}
	for _, text := range s.Allow {
		k, err := control.ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("--allow=%s: %w", text, err)
		}
		cfg.Allow = append(cfg.Allow, k)
	}
	return cfg, nil
}
