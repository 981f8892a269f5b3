package tunnel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
)

func TestShape(t *testing.T) {
	p := New(0x01020304)
	p.Wrap(nil, nil)
	got := p.Wrap([]byte("x"), []byte("seventeen bytes.."))
	want := append([]byte("x\x04\x00\x00\x00\x04\x03\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00seventeen bytes.."), make([]byte, 15+16)...)
	if !bytes.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for inner, size := range map[int]int{0: 32, 1: 48, 16: 48, 52: 96, 1408: 1440, 1409: 1452, 1420: 1452} {
		if got := len(p.Wrap(nil, make([]byte, inner))); got != size || Size(inner) != size {
			t.Errorf("%d inner bytes make %d (Size says %d), want %d", inner, got, Size(inner), size)
		}
	}
}

func message(index uint32, counter uint64) []byte {
	b := make([]byte, Overhead)
	b[0] = typeData
	binary.LittleEndian.PutUint32(b[4:], index)
	binary.LittleEndian.PutUint64(b[8:], counter)
	return b
}

func TestReplayWindow(t *testing.T) {
	const far = 1 << 40
	p := New(1)
	for _, step := range []struct {
		index   uint32
		counter uint64
		want    error
	}{
		{1, 0, nil}, {1, 0, ErrDuplicate}, {1, 2, nil}, {1, 1, nil}, {1, 1, ErrDuplicate},
		{1, 8128, nil}, {1, 3, nil}, {1, 0, ErrDuplicate}, // exactly at the edge
		{1, 8132, nil}, {1, 3, ErrLate}, {1, 4, nil}, {1, 5, nil},
		{1, far, nil}, {1, far - Window, nil}, {1, far - Window - 1, ErrLate}, {1, far - 64, nil}, {1, far - 64, ErrDuplicate},
		{2, 0, nil}, {1, far + 1, nil}, // key pairs overlap
		{3, 0, nil}, {4, 0, nil}, {2, 1, nil},
		{1, far + 2, nil}, // forgotten: WireGuard would not have the keys; here it begins anew
	} {
		if _, err := p.Unwrap(message(step.index, step.counter)); !errors.Is(err, step.want) {
			t.Errorf("key pair %d, counter %d: %v, want %v", step.index, step.counter, err, step.want)
		}
	}
	if _, err := p.Unwrap([]byte{1, 0, 0, 0}); err != ErrNotData {
		t.Errorf("a handshake: %v, want %v", err, ErrNotData)
	}
	if got, want := p.Stats(), (Stats{Received: 17, OutOfOrder: 6, Duplicates: 4, Late: 2, NotData: 1, MaxLag: 8128}); got != want {
		t.Errorf("stats\n got %+v\nwant %+v", got, want)
	}
}

// TestReplayWindowAgainstNaiveModel remembers every counter ever seen.
func TestReplayWindowAgainstNaiveModel(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		p := New(1)
		seen := map[uint64]bool{}
		newest := uint64(0)
		for range 20000 {
			c := newest
			switch rng.IntN(4) {
			case 0:
				c += uint64(rng.IntN(3))
			case 1:
				c += uint64(rng.IntN(300))
			default:
				c -= min(c, uint64(rng.IntN(9000)))
			}
			var want error
			switch {
			case newest > c && newest-c > Window:
				want = ErrLate
			case seen[c]:
				want = ErrDuplicate
			}
			if _, err := p.Unwrap(message(1, c)); err != want {
				t.Fatalf("seed %d, newest %d, counter %d: %v, want %v", seed, newest, c, err, want)
			}
			seen[c], newest = true, max(newest, c)
		}
	}
}
