//go:build !unix

package ctl

import (
	"net"
	"os"
)

func listen(path string) (net.Listener, error) { return net.Listen("unix", path) }

// MakeDir makes a directory for sockets if it is not there, and those above it.
func MakeDir(dir string) error { return os.MkdirAll(dir, 0o755) }
