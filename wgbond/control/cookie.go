package control

import (
	"crypto/subtle"
	"io"
	"net/netip"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
)

const (
	labelMAC1   = "wg-bond mac1 v1"
	labelCookie = "wg-bond cookie v1"

	// cookieLife is how long a responder keeps the secret that its cookies
	// come from, and an initiator a cookie.
	cookieLife = 2 * time.Minute
)

// mac is what mac1, mac2 and a cookie are.
type mac [16]byte

// keyedMAC is BLAKE2s with a key and 16 bytes of output.
func keyedMAC(key, data []byte) mac {
	h, err := blake2s.New128(key)
	if err != nil {
		panic("control: " + err.Error()) // keys here have 16 or 32 bytes
	}
	h.Write(data)
	var m mac
	h.Sum(m[:0])
	return m
}

// labelled derives a key from a label and a public key.
func labelled(label string, public Key) [32]byte {
	return blake2s.Sum256(append([]byte(label), public[:]...))
}

// appendMACs ends a handshake datagram with mac1 for the receiver and mac2 from
// the cookie, if there is one.
func appendMACs(msg []byte, receiver Key, cookie *mac) (out []byte, mac1 mac) {
	key := labelled(labelMAC1, receiver)
	mac1 = keyedMAC(key[:], msg)
	msg = append(msg, mac1[:]...)
	var mac2 mac
	if cookie != nil {
		mac2 = keyedMAC(cookie[:], msg)
	}
	return append(msg, mac2[:]...), mac1
}

// mac1Key checks mac1 of what is sent to one public key.
type mac1Key [32]byte

func mac1KeyOf(receiver Key) mac1Key { return mac1Key(labelled(labelMAC1, receiver)) }

// check reports whether msg, which ends in two MACs, has the right mac1.
func (k *mac1Key) check(msg []byte) bool {
	at := len(msg) - macsSize
	want := keyedMAC(k[:], msg[:at])
	return subtle.ConstantTimeCompare(want[:], msg[at:at+16]) == 1
}

// cookies makes and checks a responder's cookies without remembering any.
type cookies struct {
	sealKey [32]byte
	rand    io.Reader

	secret  [32]byte
	renewed time.Duration // when secret was drawn
	drawn   bool
}

// of is the cookie of an address at now.
func (c *cookies) of(now time.Duration, from netip.AddrPort) (mac, error) {
	if !c.drawn || now-c.renewed >= cookieLife {
		if _, err := io.ReadFull(c.rand, c.secret[:]); err != nil {
			return mac{}, err
		}
		c.renewed, c.drawn = now, true
	}
	var b [18]byte
	addr := from.Addr().As16()
	copy(b[:], addr[:])
	le.PutUint16(b[16:], from.Port())
	return keyedMAC(c.secret[:], b[:]), nil
}

// proven reports whether msg's mac2 was made from the cookie of its address.
func (c *cookies) proven(now time.Duration, from netip.AddrPort, msg []byte) bool {
	at := len(msg) - 16
	if mac(msg[at:]) == (mac{}) {
		return false
	}
	cookie, err := c.of(now, from)
	if err != nil {
		return false
	}
	want := keyedMAC(cookie[:], msg[:at])
	return subtle.ConstantTimeCompare(want[:], msg[at:]) == 1
}

// appendReply appends nonce and sealed cookie for the sender of msg.
func (c *cookies) appendReply(dst []byte, now time.Duration, from netip.AddrPort, msg []byte) ([]byte, error) {
	cookie, err := c.of(now, from)
	if err != nil {
		return nil, err
	}
	var nonce [chacha20poly1305.NonceSizeX]byte
	if _, err := io.ReadFull(c.rand, nonce[:]); err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(c.sealKey[:])
	if err != nil {
		return nil, err
	}
	mac1 := msg[len(msg)-macsSize : len(msg)-16]
	return aead.Seal(append(dst, nonce[:]...), nonce[:], cookie[:], mac1), nil
}

// openCookie opens nonce and sealed cookie of a reply to the initiation with
// this mac1.
func openCookie(sealed []byte, responder Key, mac1 mac) (mac, error) {
	key := labelled(labelCookie, responder)
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		return mac{}, err
	}
	n := aead.NonceSize()
	cookie, err := aead.Open(nil, sealed[:n], sealed[n:], mac1[:])
	if err != nil {
		return mac{}, ErrAuth
	}
	return mac(cookie), nil
}
