package wgbond

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// TestGreeting: WireGuard's handshake message before there is a bond goes out
// by one path after the other, never by two at once, until something answers.
func TestGreeting(t *testing.T) {
	for _, c := range []struct {
		name   string
		added  []time.Duration // when each path comes, after the message
		answer time.Duration   // when path 0 brings one; Never: it does not
		want   []time.Duration // when a copy goes out
	}{
		{"paths are there", []time.Duration{0, 0, 0}, Never, []time.Duration{0, greetEvery, 2 * greetEvery}},
		{"paths come late", []time.Duration{40 * ms, 60 * ms}, Never, []time.Duration{40 * ms, 40*ms + greetEvery}},
		{"a path comes much later", []time.Duration{0, time.Second}, Never, []time.Duration{0, time.Second}},
		{"just in time", []time.Duration{greetFor - ms}, Never, []time.Duration{greetFor - ms}},
		{"too late", []time.Duration{greetFor}, Never, nil},
		{"answered", []time.Duration{0, 0, 0}, greetEvery + 30*ms, []time.Duration{0, greetEvery}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1)
			s, start := w.client, w.now
			initiation := make([]byte, 148)
			initiation[0] = wire.TypeWGInitiation
			s.Send(start, [][]byte{initiation})
			var got []time.Duration
			paths := 0
			for now := start; now <= start+greetFor; now += ms {
				for paths < len(c.added) && now >= start+c.added[paths] {
					if _, err := s.AddPath(now, PathConfig{Name: fmt.Sprint(paths)}); err != nil {
						t.Fatal(err)
					}
					paths++
				}
				if now == start+c.answer {
					response := make([]byte, 92)
					response[0] = wire.TypeWGResponse
					s.Receive(now, 0, response)
				}
				if s.Next() <= now {
					s.Advance(now)
				}
				for id := range paths {
					for _, pkt := range s.Transmit(now, schedulers.PathID(id), make([][]byte, 0, 16)) {
						if bytes.Equal(pkt, initiation) {
							got = append(got, now-start)
						}
					}
					s.Transmitted(now, schedulers.PathID(id))
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("copies went out at %v, want %v", got, c.want)
			}
		})
	}
}

// TestGreetingAcrossBond: where the other end drops the copies, they go out at
// once.
func TestGreetingAcrossBond(t *testing.T) {
	w := newWorld(t, 1, seedPath, seedPath)
	w.bond()
	initiation := make([]byte, 148)
	initiation[0] = wire.TypeWGInitiation
	w.client.Send(w.now, [][]byte{initiation})
	for id := range schedulers.PathID(2) {
		if !slices.ContainsFunc(w.client.Transmit(w.now, id, make([][]byte, 0, 16)), func(p []byte) bool { return bytes.Equal(p, initiation) }) {
			t.Errorf("path %d carries no copy", id)
		}
	}
}
