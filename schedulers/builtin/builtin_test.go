package builtin

import (
	"strings"
	"testing"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/schedtest"
)

func TestConformance(t *testing.T) {
	for _, s := range All {
		t.Run(s.Name, func(t *testing.T) {
			schedtest.Run(t, func(testing.TB) schedulers.Scheduler { return s.New() })
		})
	}
}

func TestNew(t *testing.T) {
	for _, name := range append(Names(), "") {
		if s, err := New(name); err != nil || s == nil {
			t.Errorf("%q: %v, %v", name, s, err)
		}
	}
	if _, err := New("best"); err == nil || !strings.Contains(err.Error(), `"best"; there are earliest, `) {
		t.Errorf("error %v", err)
	}
	if Names()[0] != Default {
		t.Errorf("the default is %q, not the first of %q", Default, Names())
	}
}
