package wgtest

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// NoLeaks returns what is to be called at the end of a test: it fails if
// goroutines that the test began do not end. Some end a moment after the Close
// that ends them, on a busy machine later than goleak itself would wait.
func NoLeaks(t testing.TB) (check func()) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	return func() {
		t.Helper()
		for deadline := time.Now().Add(Patience); ; {
			err := goleak.Find(before)
			if err == nil {
				return
			}
			if time.Now().After(deadline) {
				t.Error(err)
				return
			}
		}
	}
}

// Allocations is what f allocates in a call, the least of several series:
// timers and whatever else goes on in the process allocate by time, and a busy
// machine makes few calls in that.
func Allocations(f func()) float64 {
	least := testing.AllocsPerRun(100, f)
	for try := 0; try < 20 && least > 0; try++ {
		least = min(least, testing.AllocsPerRun(100, f))
	}
	return least
}
