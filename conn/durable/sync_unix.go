//go:build unix

package durable

import (
	"errors"
	"os"
)

// syncDir has a directory's entries written, without which a new name may be
// forgotten.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
