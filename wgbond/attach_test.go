package wgbond

import (
	"fmt"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// TestAttachWithOneLost loses one message of those that take a second path on,
// each in turn: the path works a fifth of a second later at most.
func TestAttachWithOneLost(t *testing.T) {
	attach := func(lost int) (took time.Duration, messages int) {
		w := newWorld(t, 1, ten)
		w.bond()
		begin := w.now
		w.addPath(1, ten)
		w.paths[1].lose = func(_ bool, pkt []byte) bool {
			if wire.ControlKind(pkt) != wire.Sealed {
				return false
			}
			messages++
			return messages == lost
		}
		for w.now-begin < 3*time.Second {
			w.run(5 * ms)
			if popcount(w.client.workingLinks()) == 2 && popcount(w.server.workingLinks()) == 2 {
				return w.now - begin, messages
			}
		}
		return w.now - begin, messages
	}
	undisturbed, messages := attach(0)
	within(t, "messages", float64(messages), 6, 20)
	within(t, "ms without loss", float64(undisturbed)/1e6, 80, 180)
	for lost := 1; lost <= messages; lost++ {
		t.Run(fmt.Sprintf("message %d", lost), func(t *testing.T) {
			took, _ := attach(lost)
			within(t, "ms longer than without loss", float64(took-undisturbed)/1e6, 0, 200)
		})
	}
}
