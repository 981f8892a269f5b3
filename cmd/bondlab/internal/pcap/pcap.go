// Package pcap writes and reads packet captures: the classic format with
// nanoseconds and link type 101 (raw IP), which tshark and tcpdump read.
//
//	file:   magic a1b23c4d | version 2.4 | zone 0 | accuracy 0 | snap length | link type 101
//	packet: seconds | nanoseconds | bytes here | bytes on the wire | the IP packet
//
// All integers are 32 bits (the version's two 16) in the writer's byte order.
package pcap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

const (
	magic      = 0xa1b23c4d
	linkType   = 101
	snapLength = 65535
)

// Writer writes packets to a file. A goroutine of its own does, so that a
// slow disk holds nobody up; packets that it has no room for are counted.
type Writer struct {
	records chan record
	done    chan error
	missed  atomic.Uint64
}

type record struct {
	at  time.Time
	pkt []byte
}

// Create creates the file.
func Create(file string) (*Writer, error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	c := &Writer{records: make(chan record, 8192), done: make(chan error, 1)}
	go func() {
		w := bufio.NewWriterSize(f, 1<<20)
		head := binary.NativeEndian.AppendUint32(nil, magic)
		head = binary.NativeEndian.AppendUint16(head, 2)
		head = binary.NativeEndian.AppendUint16(head, 4)
		for _, v := range []uint32{0, 0, snapLength, linkType} {
			head = binary.NativeEndian.AppendUint32(head, v)
		}
		w.Write(head)
		var b []byte
		for r := range c.records {
			b = b[:0]
			for _, v := range []uint32{uint32(r.at.Unix()), uint32(r.at.Nanosecond()), uint32(len(r.pkt)), uint32(len(r.pkt))} {
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

// Packet records a copy of one IP packet, up to 65535 bytes.
func (c *Writer) Packet(at time.Time, pkt []byte) {
	select {
	case c.records <- record{at, append([]byte(nil), pkt...)}:
	default:
		c.missed.Add(1)
	}
}

// Close completes the file. No Packet may come any more.
func (c *Writer) Close() error {
	close(c.records)
	err := <-c.done
	if n := c.missed.Load(); n > 0 {
		err = errors.Join(err, fmt.Errorf("pcap: %d packets are missing from the file, the disk was too slow", n))
	}
	return err
}

// ReadFile returns the packets of a file that this package wrote, on a
// machine of the same byte order.
func ReadFile(file string) (packets [][]byte, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if len(b) < 24 || binary.NativeEndian.Uint32(b) != magic || binary.NativeEndian.Uint32(b[20:]) != linkType {
		return nil, fmt.Errorf("%s: not a pcap file with nanoseconds and raw IP packets", file)
	}
	for b = b[24:]; len(b) > 0; {
		if len(b) < 16 || uint64(len(b)-16) < uint64(binary.NativeEndian.Uint32(b[8:])) {
			return packets, fmt.Errorf("%s: the last packet is cut off", file)
		}
		n := binary.NativeEndian.Uint32(b[8:])
		packets = append(packets, b[16:16+n])
		b = b[16+n:]
	}
	return packets, nil
}
