//go:build race

package wgtest

// Slowness is how much less is transferred under the race detector.
const Slowness = 8
