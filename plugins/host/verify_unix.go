//go:build unix

package host

import (
	"fmt"
	"os"
	"syscall"
)

// trusted reports why the file or directory at path cannot be trusted.
func trusted(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return judge(path, info.Mode(), int(info.Sys().(*syscall.Stat_t).Uid), os.Geteuid())
}
