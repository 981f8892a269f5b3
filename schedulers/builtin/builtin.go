// Package builtin lists the schedulers that come with wg-bond.
package builtin

import (
	"fmt"
	"strings"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/backup"
	"github.com/wg-bond/wg-bond/schedulers/earliest"
	"github.com/wg-bond/wg-bond/schedulers/equalize"
	"github.com/wg-bond/wg-bond/schedulers/minrtt"
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
	New  func() schedulers.Scheduler
}

// All lists the built-in schedulers, the default first.
var All = []Scheduler{
	{"earliest", "each packet where it arrives soonest", earliest.New},
	{"minrtt", "the path with the lowest round-trip time first", minrtt.New},
	{"weighted", "bytes shared by the paths' weights", weighted.New},
	{"roundrobin", "the same number of bytes on every path", roundrobin.New},
	{"backup", "one path at a time, the first that works", backup.New},
	{"redundant", "every packet on every path", redundant.New},
	{"equalize", "all paths as slow as the slowest: the sum for senders that keep no queue (BBR)", equalize.New},
	{"auto", "earliest, and equalize while that pays", equalize.NewAuto},
}

// New makes the scheduler of that name; "" stands for Default. The error lists
// the names there are.
func New(name string) (schedulers.Scheduler, error) {
	if name == "" {
		name = Default
	}
	for _, s := range All {
		if s.Name == name {
			return s.New(), nil
		}
	}
	return nil, fmt.Errorf("no built-in scheduler %q; there are %s", name, strings.Join(Names(), ", "))
}

// Names lists the names for New, the default first.
func Names() []string {
	names := make([]string, len(All))
	for i, s := range All {
		names[i] = s.Name
	}
	return names
}
