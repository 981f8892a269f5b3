//go:build linux

package lab

import (
	"testing"
	"time"
)

// TestSchedulerPlugin: the default scheduler in a process of its own decides at
// both ends, on the real kernel, and is changed time and again while a download
// goes on, which gets every byte.
func TestSchedulerPlugin(t *testing.T) {
	for _, name := range []string{"unequal", "cellular"} {
		t.Run(name, func(t *testing.T) {
			l := buildWith(t, name, Options{Bin: buildPrograms(t)})
			client, err := l.StartBond(l.Links)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Use("plugin:earliest"); err != nil {
				t.Fatal(err)
			}
			download(t, l, 1_000_000)
			for _, host := range []string{Borrower, Server} {
				for deadline := time.Now().Add(patience); ; {
					plugin, followed, fallback, err := l.Follows(host)
					if err != nil || !plugin {
						t.Fatalf("host %s: a plugin is not in charge: %v", host, err)
					}
					if followed > 0 {
						t.Logf("host %s: %d plans of the plugin, %d of the default", host, followed, fallback)
						break
					}
					if time.Now().After(deadline) {
						t.Fatalf("host %s: none of %d plans is the plugin's", host, fallback)
					}
					download(t, l, 10_000)
				}
			}
			swapped := make(chan error)
			go func() {
				for _, s := range []string{"minrtt", "plugin:minrtt", "earliest", "plugin:earliest"} {
					if err := l.Use(s); err != nil {
						swapped <- err
						return
					}
				}
				swapped <- nil
			}()
			download(t, l, 1_000_000)
			if err := <-swapped; err != nil {
				t.Error(err)
			}
			if err := client.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}
