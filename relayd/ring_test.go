package relayd

import (
	"fmt"
	"testing"
)

func TestRingIsAQueue(t *testing.T) {
	r := newRing()
	buf := make([]byte, bufferSize)
	bufs := newBuffers(10)
	in, out := 0, 0
	push := func() bool {
		datagram := fmt.Appendf(buf[:0], "%d", in)
		if !r.push(&datagram) {
			return false
		}
		if buf = datagram; len(buf) != bufferSize {
			t.Fatalf("a buffer of %d bytes came back", len(buf))
		}
		in++
		return true
	}
	for range 1000 {
		for range 17 {
			push()
		}
		n, _ := r.take(bufs)
		for _, b := range bufs[:n] {
			if string(b) != fmt.Sprint(out) {
				t.Fatalf("got %s, want %d", b, out)
			}
			out++
		}
	}
	for push() {
	}
	if in-out != ringSlots {
		t.Errorf("%d wait, want %d", in-out, ringSlots)
	}
}

func TestRingWakesAndCloses(t *testing.T) {
	r := newRing()
	got := make(chan string)
	go func() {
		defer close(got)
		bufs := newBuffers(4)
		for n := r.pop(bufs); n > 0; n = r.pop(bufs) {
			for _, b := range bufs[:n] {
				got <- string(b)
			}
		}
	}()
	for n := range 100 {
		buf := fmt.Appendf(make([]byte, 0, bufferSize), "%d", n)
		r.push(&buf)
		r.signal()
		if s := <-got; s != fmt.Sprint(n) {
			t.Fatalf("got %s, want %d", s, n)
		}
	}
	r.close()
	if s, ok := <-got; ok {
		t.Errorf("got %s after the end", s)
	}
	buf := make([]byte, bufferSize)
	if r.push(&buf) {
		t.Error("a closed ring takes datagrams")
	}
}
