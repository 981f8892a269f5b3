package udp

import (
	"bytes"
	"slices"
	"testing"
)

func TestTrainLength(t *testing.T) {
	repeat := func(n, size int) []int { return slices.Repeat([]int{size}, n) }
	for _, c := range []struct {
		name  string
		sizes []int
		want  int
	}{
		{"nothing", nil, 0},
		{"one", []int{5}, 1},
		{"equal", []int{5, 5, 5}, 3},
		{"the last shorter", []int{5, 5, 3}, 3},
		{"a shorter one ends it", []int{5, 5, 3, 3}, 3},
		{"a longer one is another's", []int{5, 5, 6}, 2},
		{"longer at once", []int{5, 6}, 1},
		{"empty ones go alone", []int{0, 0, 0}, 1},
		{"an empty one cannot be the short last", []int{5, 5, 0}, 2},
		{"64 segments", repeat(70, 10), 64},
		{"64 KiB", repeat(64, 1420), 46},
		{"two that do not fit", repeat(2, 40000), 1},
		{"the largest", repeat(2, 65507), 1},
		{"beyond the largest", repeat(2, 66000), 1},
	} {
		bufs := make([][]byte, len(c.sizes))
		for i, size := range c.sizes {
			bufs[i] = make([]byte, size)
		}
		if got := trainLength(bufs); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// naiveSplit is the model of inbound.split: all segments at once.
func naiveSplit(packet []byte, size int) [][]byte {
	if size <= 0 || len(packet) == 0 {
		return [][]byte{packet}
	}
	return slices.Collect(slices.Chunk(packet, size))
}

// FuzzSplit hands a packet out in calls of few messages and compares with the
// model.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("aaaabbbbcccc"), 4, 2, 10)
	f.Add([]byte("aaaabbbbcc"), 4, 64, 10)
	f.Add([]byte(""), 4, 1, 10)
	f.Add([]byte("one datagram"), 0, 1, 100)
	f.Add([]byte("aaaaaaaaaaaab"), 12, 3, 5)
	f.Add([]byte("aaa"), 1<<31-1, 1, 5)
	f.Fuzz(func(t *testing.T, packet []byte, size, messages, space int) {
		if size < 0 || messages < 1 || messages > 256 || space < 0 || space > 1<<16 {
			t.Skip()
		}
		p := inbound{rest: packet, size: size, left: true}
		var got [][]byte
		dropped := 0
		for p.left {
			ms := make([]Message, messages)
			for i := range ms {
				ms[i].Buf = make([]byte, space)
			}
			n, truncated := p.split(ms)
			dropped += truncated
			for _, m := range ms[:n] {
				got = append(got, m.Buf)
			}
			if n < len(ms) && p.left {
				t.Fatalf("%d of %d messages filled though segments are left", n, len(ms))
			}
		}
		want := naiveSplit(packet, size)
		fit := slices.DeleteFunc(slices.Clone(want), func(b []byte) bool { return len(b) > space })
		if !slices.EqualFunc(got, fit, bytes.Equal) || dropped != len(want)-len(fit) {
			t.Fatalf("got %q and %d dropped, want %q and %d", got, dropped, fit, len(want)-len(fit))
		}
	})
}
