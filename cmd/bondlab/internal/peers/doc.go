//go:build !linux

// Package peers shows which WireGuards work together, in network namespaces;
// there are none on this system.
package peers
