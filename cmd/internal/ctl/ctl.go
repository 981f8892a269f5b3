// Package ctl is how the commands talk to a wg-bond that runs: over the
// socket Dir/NAME.sock, open to its owner only.
//
//	client                                     server
//	{"operation": "status", "arguments": […]}\n ──→  Handler
//	            ←────────────  {"result": …} or {"error": "…"}, and the end
//
// One request a connection. WireGuard's own state is not ours to tell: that
// is on the UAPI socket, where wg(8) finds it.
package ctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Dir is where the sockets are, and the journals of package quick.
const Dir = "/run/wg-bond"

// maxRequest bounds a request, bytes.
const maxRequest = 4096

// ErrNotRunning is why Call failed if nobody listens on the socket.
var ErrNotRunning = errors.New("not running")

type request struct {
	Operation string   `json:"operation"`
	Arguments []string `json:"arguments,omitempty"`
}

type answer struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// Handler does an operation. Its result is sent as JSON.
type Handler func(arguments []string) (any, error)

// SocketPath is where the wg-bond of the interface name listens.
func SocketPath(name string) string { return filepath.Join(Dir, name+".sock") }

// JournalPath is where the journal of the interface name is.
func JournalPath(name string) string { return filepath.Join(Dir, name+".json") }

// Server serves operations until Close.
type Server struct {
	listener net.Listener
	handlers map[string]Handler
	wg       sync.WaitGroup
}

// Listen opens the socket at path and serves handlers, by operation. A socket
// left behind by a program that ended is replaced.
func Listen(path string, handlers map[string]Handler) (*Server, error) {
	if err := MakeDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	l, err := listen(path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return nil, fmt.Errorf("another wg-bond answers at %s", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
		l, err = listen(path)
	}
	if err != nil {
		return nil, err
	}
	s := &Server{listener: l, handlers: handlers}
	s.wg.Add(1)
	go s.accept()
	return s, nil
}

func (s *Server) accept() {
	defer s.wg.Done()
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			defer c.Close()
			s.serve(c)
		}()
	}
}

func (s *Server) serve(c net.Conn) {
	// Who connects and says nothing must not stay for ever.
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	var r request
	var result any
	err := json.NewDecoder(io.LimitReader(c, maxRequest)).Decode(&r)
	if err == nil {
		handle := s.handlers[r.Operation]
		if handle == nil {
			err = fmt.Errorf("this wg-bond does not know the operation %q; it may be of another version", r.Operation)
		} else {
			result, err = handle(r.Arguments)
		}
	}
	var a answer
	if err == nil {
		a.Result, err = json.Marshal(result)
	}
	if err != nil {
		a = answer{Error: err.Error()}
	}
	_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_ = json.NewEncoder(c).Encode(a) // a client that has left does not matter
}

// Retire removes the socket, so that a successor may listen; what was asked
// is still answered.
func (s *Server) Retire() error {
	err := s.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Close retires, and waits until what was asked is answered. It must not be
// called by a Handler.
func (s *Server) Close() error {
	err := s.Retire()
	s.wg.Wait()
	return err
}

// Call asks the server at path to do an operation and decodes its result into
// result, which may be nil. The error matches ErrNotRunning if there is none.
func Call(path, operation string, result any, arguments ...string) error {
	c, err := net.Dial("unix", path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return ErrNotRunning
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%s: permission denied; run it as root (sudo)", path)
	}
	if err != nil {
		return err
	}
	defer c.Close()
	// Hooks may take long, but not that long.
	if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return err
	}
	if err := json.NewEncoder(c).Encode(request{operation, arguments}); err != nil {
		return err
	}
	var a answer
	if err := json.NewDecoder(c).Decode(&a); err != nil {
		return fmt.Errorf("%s ended without an answer: %w", path, err)
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(a.Result, result)
}
