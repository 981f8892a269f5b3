//go:build !unix

package host

import "fmt"

// trusted refuses everything: how to tell who may write a file is not known
// here.
func trusted(path string) error {
	return fmt.Errorf("%w: this system's file permissions are not understood yet, so %s cannot be run as a plugin", ErrRefused, path)
}
