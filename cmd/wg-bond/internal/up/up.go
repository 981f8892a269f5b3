// Package up is `wg-bond up` and `wg-bond down`: it does what wg-quick(8)
// does (package quick), with an interface whose datagrams travel by several
// paths (packages tunnel and conn). Device is the same without what
// wg-quick(8) does: the plan has one step, the interface.
//
//	up:    read NAME.conf, NAME.bond.toml → plan → steps → serve the sockets → wait
//	wait:  SIGHUP              → the side file's scheduler
//	       another signal      → PreDown, SaveConfig, undo, PostDown
//	       `wg-bond down`      → undo (the hooks and SaveConfig are that command's)
//	       the interface gone  → undo (whoever removed it, like `wg-quick down`, has run the hooks)
package up

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/wg-bond/wg-bond/cmd/internal/bondconf"
	"github.com/wg-bond/wg-bond/cmd/internal/metrics"
	"github.com/wg-bond/wg-bond/cmd/internal/metrics/at"
	"github.com/wg-bond/wg-bond/cmd/internal/quick"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/cmd/internal/tracefile"
	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/decide"
)

// ErrOnlyLinux is what up and serve answer on other systems.
var ErrOnlyLinux = errors.New("only Linux so far: on this system wg-bond can read status, but not bring up or serve an interface")

// Options are those of the command line that up and serve share.
type Options struct {
	Trace   string // a file for the first session's trace (package tracefile); empty: none
	Metrics string // where to serve metrics, instead of what the side file says; empty: as that says
}

// Args is a command with these options.
func (o *Options) Args(command string) []string {
	args := []string{command}
	if o.Trace != "" {
		args = append(args, "--trace="+o.Trace)
	}
	if o.Metrics != "" {
		args = append(args, "--metrics="+o.Metrics)
	}
	return args
}

// ServeMetrics serves those of the interface that files describe and ask tells
// of. The server is nil if nobody wants them.
func (o *Options) ServeMetrics(files *Files, ask func() (*status.Interface, error)) (*metrics.Server, error) {
	address := files.Bond.Metrics
	if o.Metrics != "" {
		var err error
		if address, err = at.Parse(o.Metrics); err != nil {
			return nil, fmt.Errorf("--metrics: %w", err)
		}
	}
	return metrics.Serve(address, metrics.NewBond(files.Name, ask))
}

// Traces makes the files for traces, if there are to be any. open is nil if
// not; closeAll is to be called when all sessions have ended.
func (o *Options) Traces(log *slog.Logger) (open func(session string) io.Writer, closeAll func(), err error) {
	if o.Trace == "" {
		return nil, func() {}, nil
	}
	files, err := tracefile.New(o.Trace, log)
	if err != nil {
		return nil, nil, err
	}
	return files.Open, func() {
		if err := files.Close(); err != nil {
			log.Error("a trace is not whole", "error", err)
		}
	}, nil
}

// Files are an interface's name and what its two files say.
type Files struct {
	Name, Path string
	WireGuard  *wgconf.Config
	Bond       *bondconf.Config
}

// Load reads the files that a command line means. It warns on standard error
// of a private key that everybody can read.
func Load(arg string) (*Files, error) {
	f := new(Files)
	data, err := f.locate(arg)
	if err != nil {
		return nil, err
	}
	if f.WireGuard, err = wgconf.Parse(f.Path, data); err != nil {
		return nil, err
	}
	if err := f.loadBond(); err != nil {
		return nil, err
	}
	return f, nil
}

// locate finds and reads NAME.conf.
func (f *Files) locate(arg string) (data []byte, err error) {
	if f.Name, f.Path, err = quick.Locate(arg); err != nil {
		return nil, err
	}
	if data, err = os.ReadFile(f.Path); err != nil {
		return nil, quick.Unreadable(f.Path, err)
	}
	if quick.WorldReadable(f.Path) {
		fmt.Fprintf(os.Stderr, "Warning: `%s' is world accessible\n", f.Path)
	}
	return data, nil
}

func (f *Files) loadBond() (err error) {
	if f.Bond, err = bondconf.Load(f.Path, decide.Names()); err != nil {
		return quick.Unreadable(f.Path, err)
	}
	return nil
}

// Strip prints the configuration that arg means to out, without what only
// wg-quick(8) understands, for `wg syncconf`.
func Strip(arg string, out io.Writer) error {
	f := new(Files)
	data, err := f.locate(arg)
	if err != nil {
		return err
	}
	if _, err := wgconf.Parse(f.Path, data); err != nil {
		return err
	}
	_, err = io.WriteString(out, wgconf.Strip(data))
	return err
}

func (f *Files) sidePath() string { return bondconf.PathFor(f.Path) }

// Logger logs to standard error as much as LOG_LEVEL says, whose words are
// wireguard-go's: verbose or debug, error, silent. Otherwise it logs warnings,
// and in the foreground what happens as well.
func Logger(foreground bool) *slog.Logger {
	level := slog.LevelWarn
	if foreground {
		level = slog.LevelInfo
	}
	switch os.Getenv("LOG_LEVEL") {
	case "verbose", "debug":
		level = slog.LevelDebug
	case "error":
		level = slog.LevelError
	case "silent":
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// KeepOutput reports whether the user asked to see what a program in the
// background logs.
func KeepOutput() bool {
	level := os.Getenv("LOG_LEVEL")
	return level != "" && level != "silent"
}

// Trace prints a step as wg-quick does.
func Trace(step quick.Step) { fmt.Fprintf(os.Stderr, "[#] %s\n", step) }

// The variables of wireguard-go's that hold descriptors.
const (
	tunVariable  = "WG_TUN_FD"
	uapiVariable = "WG_UAPI_FD"
)

// DeviceDescriptors are the variables with the descriptors that Device takes.
var DeviceDescriptors = []string{tunVariable, uapiVariable}
