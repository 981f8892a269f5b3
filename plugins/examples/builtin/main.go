// Command builtin serves one of wg-bond's built-in schedulers as a plugin: the
// one whose name the program has. It is there to compare them: a link to it
// called minrtt is the plugin minrtt. It also is the shortest plugin there is.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/wg-bond/wg-bond/plugins/sdk"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
)

func main() {
	name := filepath.Base(os.Args[0])
	if _, err := builtin.New(name); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	sdk.Serve(sdk.Plugin{
		Name: name, Does: "what the built-in of that name does",
		New: func(*sdk.Parameters) func() schedulers.Scheduler {
			return func() schedulers.Scheduler {
				s, _ := builtin.New(name) // was found above
				return s
			}
		},
	})
}
