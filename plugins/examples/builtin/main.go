// Command builtin serves one of wg-bond's built-in schedulers as a plugin: the
// one whose name the program has. It is there to compare them: a link to it
// called minrtt is the plugin minrtt, with the parameters of the built-in.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/wg-bond/wg-bond/plugins/sdk"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
)

func main() {
	name := filepath.Base(os.Args[0])
	i := slices.Index(builtin.Names(), name)
	if i < 0 {
		fmt.Fprintf(os.Stderr, "this program is called %q; want one of %q: link to it\n", name, builtin.Names())
		os.Exit(1)
	}
	sdk.Serve(sdk.Plugin{Name: name, Does: builtin.All[i].Does, New: builtin.All[i].Configure})
}
