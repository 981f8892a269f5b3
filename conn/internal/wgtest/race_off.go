//go:build !race

package wgtest

// Slowness is how much less is transferred, and how much longer waited, under
// the race detector.
const Slowness = 1
