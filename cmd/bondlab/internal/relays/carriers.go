//go:build linux

package relays

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/pion/turn/v4"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// way is an open way from the sender to the receiver.
type way struct {
	from, to netip.AddrPort
	header   []byte   // before every datagram; empty: none
	farewell [][]byte // to send when the turn is over
}

// carrier is who carries the datagrams; open makes way for one turn, from a
// socket that is closed again: its port stays the sender's.
type carrier struct {
	name string
	open func() (way, error)
}

func (l *lab) carriers() []carrier {
	plain := func(to netip.AddrPort) func() (way, error) {
		return func() (way, error) { return way{from: netip.AddrPortFrom(netip.IPv4Unspecified(), 0), to: to}, nil }
	}
	return []carrier{
		{"direct", plain(directly)},
		{"kernel", plain(nftPort)},
		{"relayd", l.borrow},
		{"turn", l.allocate},
	}
}

// patience is how long programs get on a busy machine.
const patience = 2 * time.Minute

// keys are new for every laboratory.
type keys struct{ borrower, relay control.Key }

func (k *keys) generate() (err error) {
	for _, into := range []*control.Key{&k.borrower, &k.relay} {
		if *into, err = control.GenerateKey(rand.Reader); err != nil {
			return err
		}
	}
	return nil
}

// config writes relayd's.
func (k *keys) config() (path string, err error) {
	dir, err := sandbox.Dir("relayd")
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "relayd.toml")
	return path, os.WriteFile(path, fmt.Appendf(nil, "listen = %q\ndevice = \"wwan0\"\nprivate-key = %q\n[[allow]]\npublic-key = %q\n",
		relaydPort, k.relay.String(), k.borrower.Public().String()), 0o600)
}

// listen opens a socket on the sender's host.
func (l *lab) listen() (c net.PacketConn, err error) {
	err = l.hosts["c"].Do(func() error {
		c, err = net.ListenPacket("udp4", sender.String())
		return err
	})
	return c, err
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.UDPAddr).AddrPort() }

// borrow asks relayd for a lease.
func (l *lab) borrow() (w way, err error) {
	c, err := l.listen()
	if err != nil {
		return w, err
	}
	defer c.Close()
	i, err := control.NewInitiator(control.InitiatorConfig{Service: control.Lease, Private: l.keys.borrower, Remote: l.keys.relay.Public(), Rand: rand.Reader})
	if err != nil {
		return w, err
	}
	b, err := lease.NewBorrower(lease.BorrowerConfig{Initiator: i, Target: target})
	if err != nil {
		return w, err
	}
	begun, buf := time.Now(), make([]byte, 2048)
	for {
		now := time.Since(begun)
		switch s := b.Status(now); {
		case s.State == lease.Granted:
			return way{from: addrPort(c.LocalAddr()), to: relaydPort, farewell: b.Release(nil)}, nil
		case s.State == lease.Refused:
			return w, fmt.Errorf("relayd refuses: %+v", s)
		case now > patience:
			return w, fmt.Errorf("relayd did not answer for %v", patience)
		}
		out, err := b.Transmit(now, time.Now(), nil)
		if err != nil {
			return w, err
		}
		for _, datagram := range out {
			if _, err := c.WriteTo(datagram, net.UDPAddrFromAddrPort(relaydPort)); err != nil {
				return w, err
			}
		}
		if err := c.SetReadDeadline(begun.Add(b.Next())); err != nil {
			return w, err
		}
		if n, _, err := c.ReadFrom(buf); err == nil { // otherwise it is time to ask again
			_ = b.Consume(time.Since(begun), buf[:n]) // what is of no use changes nothing
		}
	}
}

// The only user of the TURN server.
const realm, user, password = "bondlab", "borrower", "secret"

// allocate asks the TURN server for an address and a channel to the receiver,
// whose datagrams then have a header of four bytes (RFC 8656, 12.4).
func (l *lab) allocate() (w way, err error) {
	c, err := l.listen()
	if err != nil {
		return w, err
	}
	defer c.Close()
	seen := &channelWatch{PacketConn: c}
	client, err := turn.NewClient(&turn.ClientConfig{STUNServerAddr: turnPort.String(), TURNServerAddr: turnPort.String(),
		Conn: seen, Username: user, Password: password, Realm: realm})
	if err != nil {
		return w, err
	}
	defer client.Close()
	if err := client.Listen(); err != nil {
		return w, err
	}
	relayed, err := client.Allocate() // asks again and again
	if err != nil {
		return w, err
	}
	// Not closed: that would give the address back.
	for begun := time.Now(); seen.channel.Load() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > patience {
			return w, fmt.Errorf("no channel of the TURN server after %v", patience)
		}
		if _, err := relayed.WriteTo([]byte{0, 0, 0, 0}, net.UDPAddrFromAddrPort(target)); err != nil {
			return w, err
		}
	}
	n := seen.channel.Load()
	return way{from: addrPort(c.LocalAddr()), to: turnPort, header: []byte{byte(n >> 8), byte(n), size >> 8, size & 0xff}}, nil
}

// channelWatch notes the channel by which the client sends data.
type channelWatch struct {
	net.PacketConn
	channel atomic.Uint32
}

func (c *channelWatch) WriteTo(b []byte, to net.Addr) (int, error) {
	if len(b) >= 4 && b[0]>>6 == 1 {
		c.channel.Store(uint32(b[0])<<8 | uint32(b[1]))
	}
	return c.PacketConn.WriteTo(b, to)
}

// ServeTURN is pion's TURN server at an address, with another one for what it
// relays. It returns when it cannot listen; otherwise it serves until the
// process ends.
func ServeTURN(at netip.AddrPort, relay netip.Addr) error {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	// As much as relayd asks for: more than the sender ever has under way.
	if err := c.SetReadBuffer(4 << 20); err != nil {
		return err
	}
	_, err = turn.NewServer(turn.ServerConfig{
		Realm: realm,
		AuthHandler: func(name, realm string, _ net.Addr) ([]byte, bool) {
			return turn.GenerateAuthKey(name, realm, password), name == user
		},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: c,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{RelayAddress: relay.AsSlice(), Address: relay.String()}}},
	})
	if err != nil {
		return err
	}
	select {}
}
