// Package builtin lists the schedulers that come with wg-bond.
package builtin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/backup"
	"github.com/wg-bond/wg-bond/schedulers/earliest"
	"github.com/wg-bond/wg-bond/schedulers/equalize"
	"github.com/wg-bond/wg-bond/schedulers/minrtt"
	"github.com/wg-bond/wg-bond/schedulers/parameters"
	"github.com/wg-bond/wg-bond/schedulers/redundant"
	"github.com/wg-bond/wg-bond/schedulers/roundrobin"
	"github.com/wg-bond/wg-bond/schedulers/weighted"
)

// Default is the name of the scheduler used when none is named.
const Default = "earliest"

// Scheduler is one built-in scheduler.
type Scheduler struct {
	Name string
	Does string // in a few words, for people
	// Configure reads the user's parameters, which each scheduler's package
	// tells of, and returns what makes the scheduler of one session. It is
	// what sdk.Plugin.New is for a plugin: mistakes are t.Problems.
	Configure func(t *parameters.Table) func() schedulers.Scheduler
}

// New makes one with no parameters set.
func (s Scheduler) New() schedulers.Scheduler { return s.Configure(parameters.New(nil))() }

// All lists the built-in schedulers, the default first.
var All = []Scheduler{
	{"earliest", "each packet where it arrives soonest", earliest.Configure},
	{"minrtt", "the path with the lowest round-trip time first", minrtt.Configure},
	{"weighted", "bytes shared by the paths' weights", weighted.Configure},
	{"roundrobin", "the same number of bytes on every path", roundrobin.Configure},
	{"backup", "one path at a time, the first that works", backup.Configure},
	{"redundant", "every packet on every path", redundant.Configure},
	{"equalize", "all paths as slow as the slowest: the sum for senders that keep no queue (BBR)", equalize.Configure},
	{"auto", "earliest, and equalize while that pays", equalize.ConfigureAuto},
}

// New makes the scheduler of that name, with no parameters set; "" stands for
// Default. The error lists the names there are.
func New(name string) (schedulers.Scheduler, error) {
	maker, err := Configured(name, nil)
	if err != nil {
		return nil, err
	}
	return maker(), nil
}

// Configured is what makes the scheduler of that name with the user's
// parameters, a table as go-toml decodes it. The error is a *parameters.Error if
// these are wrong; otherwise it lists the names there are.
func Configured(name string, table map[string]any) (func() schedulers.Scheduler, error) {
	if name == "" {
		name = Default
	}
	i := slices.IndexFunc(All, func(s Scheduler) bool { return s.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("no built-in scheduler %q; there are %s", name, strings.Join(Names(), ", "))
	}
	t := parameters.New(table)
	maker := All[i].Configure(t)
	if wrong := t.Problems(); len(wrong) > 0 {
		return nil, &parameters.Error{Name: name, Problems: wrong}
	}
	return maker, nil
}

// Names lists the names for New, the default first.
func Names() []string {
	names := make([]string, len(All))
	for i, s := range All {
		names[i] = s.Name
	}
	return names
}
