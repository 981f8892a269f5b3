package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// runner starts one process for go-plugin; it is a runner.Runner.
type runner struct {
	ctx      context.Context // ends the process while it starts
	begun    func() bool     // ends that
	cfg      *Config
	path     string
	dir      string // of the socket, which the plugin makes
	cmd      *exec.Cmd
	stdout   io.ReadCloser
	stderr   *errorPipe
	tail     tail
	exited   chan struct{} // closed when the process has ended
	err      error         // why, valid when exited
	isolated bool          // has no network
	limited  bool          // the kernel bounds its memory and files
}

func newRunner(ctx context.Context, cfg *Config, path string, env []string, dir string) (*runner, error) {
	r := &runner{ctx: ctx, begun: func() bool { return true }, cfg: cfg, path: path, dir: dir, exited: make(chan struct{})}
	r.cmd = &exec.Cmd{Path: path, Args: []string{filepath.Base(path)}, Env: env, Dir: "/"}
	var err error
	// Pipes of our own: cmd.Wait would close its own while they are read.
	var outW, errW *os.File
	if r.stdout, outW, err = os.Pipe(); err != nil {
		return nil, err
	}
	var errR *os.File
	if errR, errW, err = os.Pipe(); err != nil {
		_ = r.stdout.Close()
		_ = outW.Close()
		return nil, err
	}
	r.stderr = &errorPipe{Reader: io.TeeReader(errR, &r.tail), Closer: errR, over: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = outW, errW
	return r, nil
}

// Start starts the process, and waits for its end in the background.
func (r *runner) Start(context.Context) error {
	started := make(chan error, 1)
	go r.run(started)
	err := <-started
	// The child has its own; ours would keep the pipes open.
	_ = r.cmd.Stdout.(*os.File).Close()
	_ = r.cmd.Stderr.(*os.File).Close()
	if err != nil {
		_ = r.stdout.Close()
		_ = r.stderr.Close()
		return explainStart(r.path, err)
	}
	r.begun = context.AfterFunc(r.ctx, func() { _ = r.Kill(context.Background()) })
	return nil
}

func explainStart(path string, err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w; a plugin runs as an unprivileged user, who must be able to execute it: chmod 755 %s, and its directories", err, path)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w; if the file is there, the interpreter or loader that it names is not", err)
	case strings.Contains(err.Error(), "exec format error"):
		return fmt.Errorf("%w: it is no program for this machine", err)
	}
	return err
}

// Wait waits for the end of the process.
func (r *runner) Wait(context.Context) error {
	<-r.exited
	return r.err
}

// Kill ends the process and its children.
func (r *runner) Kill(context.Context) error {
	select {
	case <-r.exited:
		return nil
	default:
	}
	if r.cmd.Process == nil {
		return nil
	}
	return killSession(r.cmd.Process)
}

// Stdout is where the handshake is read.
func (r *runner) Stdout() io.ReadCloser { return r.stdout }

// Stderr is what is logged.
func (r *runner) Stderr() io.ReadCloser { return r.stderr }

// Name is for logs.
func (r *runner) Name() string { return r.path }

// ID is the process's.
func (r *runner) ID() string {
	if r.cmd.Process == nil {
		return ""
	}
	return fmt.Sprint(r.cmd.Process.Pid)
}

// Diagnose says what the process may have had in mind.
func (r *runner) Diagnose(context.Context) string { return "" }

// PluginToHost lets a plugin name a socket in its own directory only: we
// would connect, as root, to whatever it says.
func (r *runner) PluginToHost(network, addr string) (string, string, error) {
	if network != "unix" || filepath.Dir(filepath.Clean(addr)) != filepath.Clean(r.dir) {
		return "", "", fmt.Errorf("it listens on %s %q; want a unix socket in the directory that PLUGIN_UNIX_SOCKET_DIR names", network, addr)
	}
	return network, addr, nil
}

// HostToPlugin is the other way.
func (r *runner) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}

// errorPipe is the process's standard error. over is closed once it has been read
// to its end.
type errorPipe struct {
	io.Reader
	io.Closer
	once sync.Once
	over chan struct{}
}

func (p *errorPipe) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if err != nil {
		p.once.Do(func() { close(p.over) })
	}
	return n, err
}

// tail keeps the last of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if n := len(t.b) - tailSize; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

// last is the line that says most of why a program ended: a panic's, or else
// the last.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var last string
	for line := range strings.Lines(string(t.b)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return clip(line)
		}
		if line != "" {
			last = line
		}
	}
	return clip(last)
}

// clip bounds what a plugin can put into messages.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}
