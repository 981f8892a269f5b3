//go:build !unix

package daemon

import "errors"

func closeOnExec(int) {}

func detach(bool) error {
	return errors.New("this system has no background processes of this kind: use -f")
}
