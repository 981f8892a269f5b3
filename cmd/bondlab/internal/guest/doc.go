//go:build !linux

// Package guest boots a small Linux in qemu, in network namespaces; there are
// none on this system.
package guest
