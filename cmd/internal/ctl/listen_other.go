//go:build !unix

package ctl

import "net"

func listen(path string) (net.Listener, error) { return net.Listen("unix", path) }
