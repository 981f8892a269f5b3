// Package durable writes files that must be right after a power cut.
package durable

import (
	"errors"
	"os"
	"path/filepath"
)

// Write replaces a file, readable by its owner alone: whenever the power goes it
// is there whole, as before or anew, and once Write has returned nil it is anew.
func Write(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}
