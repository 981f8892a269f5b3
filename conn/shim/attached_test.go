package shim_test

import "github.com/wg-bond/wg-bond/wgbond"

// attached counts the paths that are.
func attached(paths []wgbond.PathStatus) (n int) {
	for _, p := range paths {
		if p.Attached {
			n++
		}
	}
	return n
}
