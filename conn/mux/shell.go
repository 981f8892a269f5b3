package mux

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wg-bond/wg-bond/conn/memory"
	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/trace"
)

// Socket is what the shell needs of a UDP socket; *udp.Socket is one, and so
// is any emulated network's.
type Socket interface {
	// ReadBatch waits for datagrams; see udp.Socket. It returns an error that
	// is net.ErrClosed after Close.
	ReadBatch(ms []udp.Message) (n int, err error)
	// WriteBatch sends bufs to one destination, in order; see udp.Socket. It
	// borrows bufs until it returns.
	WriteBatch(bufs [][]byte, to netip.AddrPort, from netip.Addr) (sent int, err error)
	SetMark(mark uint32) error
	LocalAddr() netip.AddrPort
	Close() error
}

// ListenFunc opens a socket.
type ListenFunc func(cfg udp.Config) (Socket, error)

// ListenUDP is the ListenFunc of real sockets.
func ListenUDP(cfg udp.Config) (Socket, error) {
	s, err := udp.Listen(cfg)
	if err != nil {
		return nil, err // not s: a nil *udp.Socket is no nil Socket
	}
	return s, nil
}

// BatchSize is how many datagrams are read, and written, at once; the number
// that wireguard-go handles at once.
const BatchSize = 128

// orderBytes bounds what all sessions hold to put it in order: what eight may
// hold by themselves. Beyond it packets go on as they come.
const orderBytes = 128 << 20

// Shell is what the sessions and servers of one Bind or shim have in common.
// Make one with NewShell.
type Shell struct {
	Pool  Pool
	Drops Drops
	Log   *slog.Logger
	// Trace is asked where the trace of a new session goes (wgbond/trace); nil,
	// or nil from it: nowhere. Its Write must not block. Set it before the first
	// session is made.
	Trace func(session string) io.Writer
	// Memory remembers what paths carried; nil: nothing does. Set it before the
	// first session is made.
	Memory *memory.Book

	order  *wgbond.OrderBudget
	listen ListenFunc
	start  time.Time
	mark   atomic.Uint32
	copies copies
}

// NewShell makes a Shell that opens its sockets with listen. Nil for listen is
// ListenUDP, nil for log discards.
func NewShell(listen ListenFunc, log *slog.Logger) *Shell {
	if listen == nil {
		listen = ListenUDP
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Shell{Log: log, order: wgbond.NewOrderBudget(orderBytes), listen: listen, start: time.Now()}
}

// recorder is for the trace of a new session; nil: none.
func (sh *Shell) recorder(session string) *trace.Recorder {
	if sh.Trace == nil {
		return nil
	}
	w := sh.Trace(session)
	if w == nil {
		return nil
	}
	return trace.NewRecorder(w, trace.Header{Session: session, Started: time.Now().Format(time.RFC3339)})
}

// Now is the engine's time: monotonic, since the Shell was made.
func (sh *Shell) Now() time.Duration { return time.Since(sh.start) }

// Listen opens a socket that carries the mark.
func (sh *Shell) Listen(cfg udp.Config) (Socket, error) {
	cfg.Mark = sh.mark.Load()
	return sh.listen(cfg)
}

// ListenAll opens a server's sockets of both families, on all addresses and
// one port; 0 is any. One is nil where the machine lacks its family.
func (sh *Shell) ListenAll(port uint16) (v4, v6 Socket, err error) {
	tries := 1
	if port == 0 {
		tries = 20 // the port that one family picks may be taken in the other
	}
	for range tries {
		if v4, v6, err = sh.listenBoth(port); !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return v4, v6, err
}

func (sh *Shell) listenBoth(port uint16) (v4, v6 Socket, err error) {
	open := func(a netip.Addr) (Socket, error) {
		return sh.Listen(udp.Config{Local: netip.AddrPortFrom(a, port), PacketInfo: true})
	}
	v4, err = open(netip.IPv4Unspecified())
	if err != nil && !errors.Is(err, syscall.EAFNOSUPPORT) {
		return nil, nil, err
	}
	if v4 != nil {
		port = v4.LocalAddr().Port()
	}
	v6, err6 := open(netip.IPv6Unspecified())
	switch {
	case err6 == nil:
		return v4, v6, nil
	case v4 != nil && errors.Is(err6, syscall.EAFNOSUPPORT):
		return v4, nil, nil
	case v4 != nil:
		_ = v4.Close()
	}
	return nil, nil, err6
}

// SetMark sets the fwmark of the sockets opened from now on. Those that are
// open have SetMark methods of their own.
func (sh *Shell) SetMark(mark uint32) { sh.mark.Store(mark) }

// Write sends batch as far as possible; what cannot be sent is counted. The
// error is that of a path which is gone, as udp.Gone says, or of a socket that
// is closed.
func (sh *Shell) Write(sock Socket, batch [][]byte, to netip.AddrPort, from netip.Addr) error {
	_, err := sh.write(sock, batch, to, from)
	return err
}

// write is Write; it also tells the size of the shortest datagram that the
// device does not carry whole, 0 if none was refused for that.
func (sh *Shell) write(sock Socket, batch [][]byte, to netip.AddrPort, from netip.Addr) (tooLong int, err error) {
	for len(batch) > 0 {
		n, err := sock.WriteBatch(batch, to, from)
		if err == nil {
			return tooLong, nil
		}
		batch = batch[n:]
		switch {
		case udp.Gone(err), isClosed(err):
			sh.Drops.Add(DropGone, len(batch))
			return tooLong, err
		case udp.TooLong(err):
			sh.Drops.Add(DropTooLong, 1)
			if len(batch) > 0 && (tooLong == 0 || len(batch[0]) < tooLong) {
				tooLong = len(batch[0])
			}
		case udp.Transient(err):
			sh.Drops.Add(DropNoBuffer, 1)
		default:
			sh.Drops.Add(DropSendFailed, 1)
		}
		batch = batch[min(1, len(batch)):]
	}
	return tooLong, nil
}

// Messages lends n messages with buffers of the Pool, for ReadBatch.
func (sh *Shell) Messages(n int) []udp.Message {
	ms := make([]udp.Message, n)
	sh.Pool.arm(ms)
	return ms
}

// Release takes the messages' buffers back.
func (sh *Shell) Release(ms []udp.Message) {
	for i := range ms {
		sh.Pool.Put(ms[i].Buf)
		ms[i].Buf = nil
	}
}
