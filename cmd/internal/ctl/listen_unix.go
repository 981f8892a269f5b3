//go:build unix

package ctl

import (
	"net"
	"os"
	"sync"
	"syscall"
)

// The umask belongs to the whole process.
var umask sync.Mutex

// listen makes the socket accessible to its owner only, from the start.
func listen(path string) (l net.Listener, err error) {
	masked(0o077, func() { l, err = net.Listen("unix", path) })
	return l, err
}

// MakeDir makes a directory for sockets if it is not there, and those above
// it. Everybody may pass through, whatever our umask is: others have sockets
// beside ours (a relayd that is not root, a metrics socket for Prometheus), and
// each socket has a mode of its own.
func MakeDir(dir string) (err error) {
	masked(0o022, func() { err = os.MkdirAll(dir, 0o755) })
	return err
}

func masked(mask int, f func()) {
	umask.Lock()
	defer umask.Unlock()
	defer syscall.Umask(syscall.Umask(mask))
	f()
}
