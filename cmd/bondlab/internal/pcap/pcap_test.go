package pcap

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestRoundTrip(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.pcap")
	w, err := Create(file)
	if err != nil {
		t.Fatal(err)
	}
	pkts := [][]byte{[]byte("first"), {}, bytes.Repeat([]byte{7}, 1500)}
	for _, p := range pkts {
		w.Packet(time.Unix(1, 2), p)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFile(file)
	if err != nil || len(got) != len(pkts) {
		t.Fatalf("%d packets, %v; expected %d", len(got), err, len(pkts))
	}
	for i := range pkts {
		if !bytes.Equal(got[i], pkts[i]) {
			t.Errorf("packet %d is %q, expected %q", i, got[i], pkts[i])
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b[:len(b)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(file); err == nil {
		t.Error("a file that is cut off was read without error")
	}
}
