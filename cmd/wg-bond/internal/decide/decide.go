// Package decide is which scheduler an interface follows: what the side file
// says, until somebody says otherwise over the control socket.
//
//	NAME.bond.toml ── at start, SIGHUP ──┐
//	wg-bond scheduler use ── socket ─────┴→ choice.Choice → every session
package decide

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wg-bond/wg-bond/cmd/internal/bondconf"
	"github.com/wg-bond/wg-bond/cmd/internal/conferr"
	"github.com/wg-bond/wg-bond/cmd/internal/conftoml"
	"github.com/wg-bond/wg-bond/cmd/internal/ctl"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/plugins/choice"
	"github.com/wg-bond/wg-bond/plugins/host"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
	"github.com/wg-bond/wg-bond/schedulers/parameters"
)

// Names lists what a side file may name without a table for it: the built-ins
// and the installed plugins.
func Names() []string {
	return slices.Concat(builtin.Names(), slices.Sorted(maps.Keys(host.Installed(host.Dirs))))
}

// Decider is who decides for one interface.
type Decider struct {
	conf string // the path of NAME.conf
	log  *slog.Logger
	it   *choice.Choice

	mu sync.Mutex // guards the below, and makes changes one at a time
	is wish       // what the side file said when it was last obeyed
}

// wish is what a side file says of a scheduler.
type wish struct {
	name     string
	table    map[string]any // of name
	fallback map[string]any // of the default
}

// Start begins with what the side file of the WireGuard configuration at conf
// says. The error is for the user.
func Start(conf string, bond *bondconf.Config, log *slog.Logger) (*Decider, error) {
	d := &Decider{conf: conf, log: log}
	d.is = wished(bond)
	o, err := d.option(context.Background(), bond, d.is.name)
	if err != nil {
		return nil, err
	}
	d.it = choice.New(o)
	return d, nil
}

func wished(bond *bondconf.Config) wish {
	name := bond.Scheduler
	if name == "" {
		name = builtin.Default
	}
	return wish{name, bond.Plugins[name], bond.Plugins[builtin.Default]}
}

// NewScheduler makes the scheduler of one session.
func (d *Decider) NewScheduler() schedulers.Scheduler { return d.it.NewScheduler() }

// Close ends the plugins.
func (d *Decider) Close() { d.it.Close() }

// Summary is who is in charge, and why the default decides instead, if it
// does.
func (d *Decider) Summary() (name, trouble string) {
	st := d.it.Status()
	if st.ChargePlugin != nil {
		trouble = troubleOf(st.ChargePlugin, time.Now())
	}
	return st.Charge, trouble
}

// missedFor is how long a plan that was not in time is worth telling.
const missedFor = 10 * time.Second

// troubleOf is what keeps a plugin from deciding, or last did.
func troubleOf(p *host.Status, now time.Time) string {
	switch {
	case !p.Running:
		return fmt.Sprintf("it does not run, %s decides: %s", builtin.Default, p.Reason)
	case p.Missed != "" && now.Sub(p.MissedAt) < missedFor:
		return fmt.Sprintf("%s; %s decides meanwhile", p.Missed, builtin.Default)
	case p.Reason != "":
		return fmt.Sprintf("last trouble, %s: %s", status.Ago(now.Sub(p.At)), p.Reason)
	}
	return ""
}

// Reload reads the side file again, and puts in charge what it now says, if
// that is something else than what it said before.
func (d *Decider) Reload() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	bond, err := bondconf.Load(d.conf, Names())
	if err != nil {
		return err
	}
	next := wished(bond)
	if reflect.DeepEqual(next, d.is) {
		return nil
	}
	o, err := d.option(context.Background(), bond, next.name)
	if err != nil {
		return err
	}
	d.it.Use(o)
	d.is = next
	d.log.Info("another scheduler, by the side file", "scheduler", next.name)
	return nil
}

// use is an operation of the control socket: NAME, and "shadow" if it shall
// only watch. The name "" ends the shadow.
func (d *Decider) use(arguments []string) (any, error) {
	if len(arguments) == 0 || len(arguments) > 2 || len(arguments) == 2 && arguments[1] != "shadow" {
		return nil, fmt.Errorf("found the arguments %q; want a scheduler's name, and \"shadow\" or nothing", arguments)
	}
	name, shadow := arguments[0], len(arguments) == 2
	d.mu.Lock()
	defer d.mu.Unlock()
	if shadow && name == "" {
		d.it.Shadow(nil)
		return d.show(nil)
	}
	bond, err := bondconf.Load(d.conf, Names())
	if err != nil {
		return nil, err
	}
	o, err := d.option(context.Background(), bond, name)
	if err != nil {
		return nil, err
	}
	if shadow {
		d.it.Shadow(o)
	} else {
		d.it.Use(o)
		d.is = wish{} // the side file's word counts again at the next SIGHUP
	}
	d.log.Info("a scheduler, by the user", "scheduler", name, "shadow", shadow)
	return d.show(nil)
}

// Operations are those of the control socket.
func (d *Decider) Operations() map[string]ctl.Handler {
	return map[string]ctl.Handler{"scheduler-use": d.use, "scheduler-show": d.show, "scheduler-list": d.list}
}

// own are the keys of [plugin.NAME] that are not the plugin's.
var own = []string{"path", "sha256", "user", "network"}

// option finds the scheduler of that name.
func (d *Decider) option(ctx context.Context, bond *bondconf.Config, name string) (*choice.Option, error) {
	errs := mistakes{conferr.List{File: bondconf.PathFor(d.conf)}, bond}
	builtins := errs.builtins()
	if err := errs.Err(); err != nil {
		return nil, err
	}
	if maker, ok := builtins[name]; ok {
		return &choice.Option{Name: name, New: maker}, nil
	}
	table, configured := bond.Plugins[name]
	if _, installed := host.Installed(host.Dirs)[name]; !configured && !installed {
		return nil, fmt.Errorf("found no scheduler %q; want %s; a program of that name in %s would be one, or a table [plugin.%s] with its path in %s",
			name, conferr.OneOf(name, bond.Names(Names())), strings.Join(host.Dirs, " or "), name, errs.File)
	}
	cfg := host.Config{Name: name, Log: d.log, Fallback: builtins[builtin.Default], Parameters: map[string]any{}}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		value := table[key]
		var into *string
		switch key {
		case "path":
			into = &cfg.Path
		case "sha256":
			into = &cfg.SHA256
		case "user":
			into = &cfg.User
		case "network":
			var ok bool
			if cfg.Network, ok = value.(bool); !ok {
				errs.at(name, []string{key}, conftoml.Describe(value), "true or false, without quotes")
			}
			continue
		default:
			cfg.Parameters[key] = value
			continue
		}
		var ok bool
		if *into, ok = value.(string); !ok || *into == "" {
			errs.at(name, []string{key}, conftoml.Describe(value), "a text in quotes")
		}
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	p, err := host.Launch(ctx, cfg)
	if errs.parameters(err) {
		return nil, errs.Err()
	}
	if err != nil {
		if configured {
			return nil, fmt.Errorf("%s:%d: [plugin.%s]: %w", errs.File, bond.Line("plugin", name), name, err)
		}
		return nil, err
	}
	return choice.FromPlugin(name, p), nil
}

// mistakes are those in the tables [plugin.NAME] of a side file.
type mistakes struct {
	conferr.List
	bond *bondconf.Config
}

// at notes a mistake at key, from the outside in, of a scheduler's table.
func (m *mistakes) at(name string, key []string, found, want string) {
	path := []any{"plugin", name}
	line := m.bond.Line(path...)
	where := "[plugin." + name + "]"
	for i, k := range key {
		if i == 0 {
			where += " " + strings.Join(key, ".")
		}
		if path = append(path, k); m.bond.Line(path...) > 0 {
			line = m.bond.Line(path...)
		}
	}
	m.Add(line, where, found, want)
}

// parameters notes what a scheduler has found in its table, if err is that.
func (m *mistakes) parameters(err error) bool {
	var wrong *parameters.Error
	if !errors.As(err, &wrong) {
		return false
	}
	for _, p := range wrong.Problems {
		m.at(wrong.Name, p.Key, p.Found, p.Want)
	}
	return true
}

// builtins is what makes each built-in scheduler with the user's parameters.
// All their tables are checked, whoever is in charge: a mistake shall be told
// now, not when that scheduler is needed.
func (m *mistakes) builtins() map[string]func() schedulers.Scheduler {
	makers := map[string]func() schedulers.Scheduler{}
	for _, name := range builtin.Names() {
		table := m.bond.Plugins[name]
		if i := slices.IndexFunc(own, func(key string) bool { return table[key] != nil }); i >= 0 {
			m.at(name, own[i:i+1], "the key of a program", fmt.Sprintf("another name for the plugin: %s is built in", name))
			continue
		}
		maker, err := builtin.Configured(name, table)
		m.parameters(err)
		makers[name] = maker
	}
	return makers
}
