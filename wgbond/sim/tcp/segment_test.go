package tcp

import (
	"errors"
	"testing"
)

var segments = map[string]Segment{
	"data":  {Flow: 3, Flags: ACK, Len: 1368, Seq: 1 << 40, Ack: 100, TSVal: 5e9, TSEcr: 4e9},
	"SYN":   {Flow: 3, Flags: SYN},
	"SACK":  {Flags: ACK | DSACK, Ack: 1 << 33, Blocks: 3, SACK: [3]Block{{1<<33 - 4000, 1<<33 - 3000}, {1<<33 + 1, 1<<33 + 1e6}, {1<<33 + 2e6, 1<<33 + 3e6}}},
	"empty": {Flags: ACK},
}

func TestSegmentRoundTrip(t *testing.T) {
	for name, size := range map[string]int{"data": 1420, "SYN": 60, "SACK": 80, "empty": 52} {
		want := segments[name]
		b := want.Marshal([]byte("before"))
		if len(b) != 6+size || want.Size() != size {
			t.Errorf("%s: %d bytes, Size %d, want %d", name, len(b)-6, want.Size(), size)
		}
		var got Segment
		if err := got.Unmarshal(append(b[6:], 0, 0, 0)); err != nil || got != want {
			t.Errorf("%s: got %+v (%v), want %+v", name, got, err, want)
		}
	}
}

func FuzzSegment(f *testing.F) {
	for _, s := range segments {
		f.Add(s.Marshal(nil))
	}
	f.Add([]byte{})
	f.Add([]byte{Magic, 0xff})
	f.Add(append([]byte{Magic, byte(SYN) | 3<<4}, make([]byte, 58)...)) // a SYN with blocks
	f.Fuzz(func(t *testing.T, b []byte) {
		var s, again Segment
		if err := s.Unmarshal(b); err != nil {
			if !errors.Is(err, ErrNotSegment) {
				t.Errorf("%v is not ErrNotSegment", err)
			}
			return
		}
		if err := again.Unmarshal(s.Marshal(nil)); err != nil || again != s {
			t.Errorf("got %+v (%v), want %+v", again, err, s)
		}
	})
}
