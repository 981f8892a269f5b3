//go:build linux

package emulator

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// Capture writes packets to a pcap file: classic format, nanoseconds, link
// type 101 (raw IP). A goroutine of its own writes, so that a slow disk
// cannot hold up a link; packets that it has no room for are counted.
type Capture struct {
	records chan record
	done    chan error
	missed  atomic.Uint64
	wall    time.Duration // what to add to the monotonic clock
}

type record struct {
	at  time.Duration
	pkt []byte
}

// NewCapture creates the file.
func NewCapture(file string) (*Capture, error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	c := &Capture{
		records: make(chan record, 8192),
		done:    make(chan error, 1),
		wall:    time.Duration(time.Now().UnixNano()) - monotonic(),
	}
	go func() {
		w := bufio.NewWriterSize(f, 1<<20)
		// magic (nanoseconds) | version 2.4 | zone, accuracy 0 | snap length | link type
		head := binary.NativeEndian.AppendUint32(nil, 0xa1b23c4d)
		head = binary.NativeEndian.AppendUint16(head, 2)
		head = binary.NativeEndian.AppendUint16(head, 4)
		for _, v := range []uint32{0, 0, MTU, 101} {
			head = binary.NativeEndian.AppendUint32(head, v)
		}
		w.Write(head)
		var b []byte
		for r := range c.records {
			at := r.at + c.wall
			b = b[:0]
			for _, v := range []uint32{uint32(at / time.Second), uint32(at % time.Second), uint32(len(r.pkt)), uint32(len(r.pkt))} {
				b = binary.NativeEndian.AppendUint32(b, v)
			}
			w.Write(b)
			w.Write(r.pkt)
		}
		// bufio keeps the first error and Flush returns it.
		c.done <- errors.Join(w.Flush(), f.Close())
	}()
	return c, nil
}

// Packet records a copy of one IP packet at a monotonic time.
func (c *Capture) Packet(at time.Duration, pkt []byte) {
	select {
	case c.records <- record{at, append([]byte(nil), pkt...)}:
	default:
		c.missed.Add(1)
	}
}

// Close completes the file. No Packet may come any more: end the links'
// Capture first.
func (c *Capture) Close() error {
	close(c.records)
	err := <-c.done
	if n := c.missed.Load(); n > 0 {
		err = errors.Join(err, fmt.Errorf("capture: %d packets are missing from the file, the disk was too slow", n))
	}
	return err
}
