//go:build unix

package relayd

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v4"
	"golang.org/x/sys/unix"
)

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// perGbit reports the processor's seconds for a gigabit of payload, both ends'
// sending and receiving included.
func perGbit(b *testing.B, since time.Duration, bytes int) {
	b.ReportMetric((cpu(b)-since).Seconds()/(float64(bytes)*8/1e9), "cpu-s/Gbit")
}

// BenchmarkTURN is BenchmarkForwarding through pion's TURN server, the usual way
// to have a UDP relay in Go: the same datagrams over the same loopback, from a
// TURN client to a peer.
func BenchmarkTURN(b *testing.B) {
	listen := func() net.PacketConn {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		return c
	}
	const realm, user, password = "test", "alice", "secret"
	log := logging.NewDefaultLoggerFactory()
	log.DefaultLogLevel = logging.LogLevelDisabled
	front := listen()
	server, err := turn.NewServer(turn.ServerConfig{
		Realm: realm, LoggerFactory: log,
		AuthHandler: func(name, realm string, _ net.Addr) ([]byte, bool) {
			return turn.GenerateAuthKey(name, realm, password), name == user
		},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: front,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	own := listen()
	defer own.Close()
	client, err := turn.NewClient(&turn.ClientConfig{STUNServerAddr: front.LocalAddr().String(), TURNServerAddr: front.LocalAddr().String(),
		Conn: own, Username: user, Password: password, Realm: realm, LoggerFactory: log})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	if err := client.Listen(); err != nil {
		b.Fatal(err)
	}
	relayed, err := client.Allocate()
	if err != nil {
		b.Fatal(err)
	}
	defer relayed.Close()
	peer := listen()
	defer peer.Close()

	const burst = 16 // more than that overflow the server's buffers
	packet, buf := data(1, 1452), make([]byte, bufferSize)
	b.SetBytes(1452)
	b.ReportAllocs()
	lost := 0
	round := func() {
		for range burst {
			if _, err := relayed.WriteTo(packet, peer.LocalAddr()); err != nil {
				b.Fatal(err)
			}
		}
		for range burst {
			if err := peer.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				b.Fatal(err)
			}
			if _, _, err := peer.ReadFrom(buf); isTimeout(err) {
				lost++
				return
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
	round() // binds the channel
	b.ResetTimer()
	began, bytes := cpu(b), 0
	for sent := 0; sent < b.N; sent += burst {
		round()
		bytes += burst * 1452
	}
	perGbit(b, began, bytes)
	if lost > 0 {
		b.ReportMetric(float64(lost), "lost-bursts")
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// BenchmarkForwardingCPU is BenchmarkForwarding, with the processor time to set
// beside BenchmarkTURN's.
func BenchmarkForwardingCPU(b *testing.B) {
	began := cpu(b)
	BenchmarkForwarding(b)
	perGbit(b, began, b.N*1452)
}
