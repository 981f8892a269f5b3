//go:build unix

package ctl

import (
	"net"
	"sync"
	"syscall"
)

// The umask belongs to the whole process.
var umask sync.Mutex

// listen makes the socket accessible to its owner only, from the start.
func listen(path string) (net.Listener, error) {
	umask.Lock()
	defer umask.Unlock()
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	return net.Listen("unix", path)
}
