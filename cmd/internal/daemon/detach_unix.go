//go:build unix

package daemon

import (
	"os"

	"golang.org/x/sys/unix"
)

func closeOnExec(fd int) { unix.CloseOnExec(fd) }

func detach(keepOutput bool) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	standard := []int{0, 1, 2}
	if keepOutput {
		standard = standard[:1]
	}
	for _, fd := range standard {
		if err := dup(int(null.Fd()), fd); err != nil {
			return err
		}
	}
	if _, err := unix.Setsid(); err != nil {
		return err
	}
	return os.Chdir("/")
}
