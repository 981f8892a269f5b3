package conn

import (
	"crypto/rand"
	"testing"

	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/earliest"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// wireguard-go may open a Bind before the device has its private key.
func TestOpenBeforePrivateKey(t *testing.T) {
	b, err := NewBind(Config{
		Paths:     []mux.PathSpec{{Name: "loopback"}},
		Scheduler: func() schedulers.Scheduler { return earliest.New() },
	})
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := b.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	key, err := control.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.SetPeers(key, nil); err != nil {
		t.Fatal(err)
	}
	if got := b.server.Load().Port(); got != port {
		t.Errorf("with the key came port %d, Open had promised %d", got, port)
	}
	if err := b.Shutdown(); err != nil {
		t.Fatal(err)
	}
}
