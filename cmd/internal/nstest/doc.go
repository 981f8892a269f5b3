//go:build !linux

// Package nstest gives tests network namespaces of their own; there are none
// on this system.
package nstest
