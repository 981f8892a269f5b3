package control

import (
	"crypto/ecdh"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
)

// Key is an X25519 private or public key, or a preshared key: 32 bytes, as in
// WireGuard. The zero Key means none.
//
// A Key does not show itself: all verbs of fmt, and so slog, print a
// placeholder, because nothing tells a private key from a public one. Call
// String where a public key is to be shown.
type Key [32]byte

const redacted = "(key)"

// ParseKey reads a key as wg writes it: 44 characters of standard base64. The
// error never repeats the text.
func ParseKey(s string) (Key, error) {
	var k Key
	if n := base64.StdEncoding.EncodedLen(len(k)); len(s) != n {
		return Key{}, fmt.Errorf("a key is %d characters of base64, this has %d", n, len(s))
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(k) {
		return Key{}, fmt.Errorf("a key is 32 bytes in standard base64, ending in one '=': this is not")
	}
	return Key(b), nil
}

// GenerateKey makes a private key from 32 bytes of rand, clamped as wg genkey
// does it.
func GenerateKey(rand io.Reader) (Key, error) {
	var k Key
	if _, err := io.ReadFull(rand, k[:]); err != nil {
		return Key{}, fmt.Errorf("control: reading randomness for a key: %w", err)
	}
	k[0] &= 248
	k[31] = k[31]&127 | 64
	return k, nil
}

// Public is the public key of the private key k.
func (k Key) Public() Key {
	private, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		panic("control: 32 bytes are no X25519 key: " + err.Error()) // it takes any 32 bytes
	}
	return Key(private.PublicKey().Bytes())
}

// IsZero reports whether k is no key.
func (k Key) IsZero() bool { return k == Key{} }

// String is the key itself, as wg writes it. Call it for public keys only.
func (k Key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// Format prints a placeholder for every verb.
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText refuses: a key enters no file or log by accident.
func (k Key) MarshalText() ([]byte, error) {
	return nil, errors.New("a control.Key is not marshalled: call String where it may be shown")
}

// UnmarshalText reads a key as ParseKey does.
func (k *Key) UnmarshalText(text []byte) error {
	parsed, err := ParseKey(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}
