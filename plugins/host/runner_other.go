//go:build !linux

package host

import (
	"errors"
	"os"
)

// run starts the process, answers on started, and waits for the end.
func (r *runner) run(started chan<- error) {
	if os.Geteuid() == 0 {
		started <- errors.New("on this system plugins cannot be run by root yet, for lack of a way to give up its rights")
		return
	}
	if err := r.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	r.err = r.cmd.Wait()
	close(r.exited)
}

func killSession(p *os.Process) error {
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// memory is not known on this system.
func (r *runner) memory() uint64 { return 0 }
