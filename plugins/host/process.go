package host

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	pluginrunner "github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/wg-bond/wg-bond/plugins/schedpb"
	"github.com/wg-bond/wg-bond/schedulers/parameters"
)

// maxMessage bounds a message from the plugin, bytes; a plan has less than 4000.
const maxMessage = 64 << 10

// About is what a plugin says of itself.
type About struct{ Name, Does, Version string }

// process is one run of a plugin.
type process struct {
	runner *runner
	client *plugin.Client
	rpc    schedpb.SchedulerClient
	about  About
	began  time.Time

	once   sync.Once
	failed chan struct{} // closed when it is to be given up
	why    string        // valid when failed
}

// start verifies, starts and configures the program. Errors are for the user.
func start(ctx context.Context, cfg *Config) (*process, error) {
	path := cfg.Path
	if path == "" {
		var err error
		if path, err = Find(cfg.Name, Dirs); err != nil {
			return nil, err
		}
	}
	if err := Verify(path, cfg.SHA256); err != nil {
		return nil, err
	}
	table, err := toStruct(cfg.Parameters)
	if err != nil {
		return nil, fmt.Errorf("[plugin.%s]: %w", cfg.Name, err)
	}
	p := &process{failed: make(chan struct{}), began: time.Now()}
	logger := newLogger(cfg.Log, cfg.Name)
	p.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  plugin.HandshakeConfig{ProtocolVersion: schedpb.Version, MagicCookieKey: schedpb.CookieKey, MagicCookieValue: schedpb.CookieValue},
		Plugins:          plugin.PluginSet{schedpb.PluginName: service{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     cfg.Limits.Start,
		Logger:           logger,
		SyncStdout:       lineWriter{logger},
		SyncStderr:       lineWriter{logger},
		GRPCDialOptions:  []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage))},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, dir string) (pluginrunner.Runner, error) {
			r, err := newRunner(ctx, cfg, path, cmd.Env, dir)
			if err != nil {
				return nil, err
			}
			p.runner = r
			return r, nil
		},
	})
	if err := p.shake(ctx, cfg, path, table); err != nil {
		p.kill()
		return nil, err
	}
	p.runner.begun()
	return p, nil
}

// shake does all that comes between the start and the first plan.
func (p *process) shake(ctx context.Context, cfg *Config, path string, table *structpb.Struct) error {
	if _, err := p.client.Start(); err != nil {
		return p.explain(path, cfg.Limits.Start, err)
	}
	protocol, err := p.client.Client()
	if err != nil {
		return p.explain(path, cfg.Limits.Start, err)
	}
	raw, err := protocol.Dispense(schedpb.PluginName)
	if err != nil {
		return p.explain(path, cfg.Limits.Start, err)
	}
	p.rpc = raw.(schedpb.SchedulerClient)
	ctx, cancel := context.WithTimeout(ctx, cfg.Limits.Start)
	defer cancel()
	answer, err := p.rpc.Configure(ctx, &schedpb.ConfigureRequest{Parameters: table})
	if err != nil {
		return fmt.Errorf("%s did not take its parameters: %s%s", path, rpcError(err), p.said())
	}
	p.about = About{clip(answer.GetName()), clip(answer.GetDoes()), clip(answer.GetVersion())}
	if len(answer.GetProblems()) == 0 {
		return nil
	}
	e := &parameters.Error{Name: cfg.Name}
	for _, m := range answer.GetProblems()[:min(len(answer.GetProblems()), 20)] {
		problem := parameters.Problem{Found: clip(m.GetFound()), Want: clip(m.GetWant())}
		for _, k := range m.GetKey()[:min(len(m.GetKey()), 8)] {
			problem.Key = append(problem.Key, clip(k))
		}
		e.Problems = append(e.Problems, problem)
	}
	return e
}

// noMessage is how go-plugin begins when the first line is not the handshake.
const noMessage = "Unrecognized remote plugin message: "

// explain says what a failed handshake means and what can be done.
func (p *process) explain(path string, limit time.Duration, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "ncompatible API version"):
		return fmt.Errorf("%s speaks another version of the scheduler protocol; this wg-bond needs version %d: build the plugin again with this wg-bond's plugins/sdk, or for other languages print %d as the second field of the handshake (%s)",
			path, schedpb.Version, schedpb.Version, clip(text))
	case strings.Contains(text, "core API version"):
		return fmt.Errorf("%s speaks another version of go-plugin's handshake; want %d as its first field (%s)", path, plugin.CoreProtocolVersion, clip(text))
	case strings.Contains(text, "exited before"), strings.HasPrefix(text, noMessage+"\n"):
		// Its end shows as an empty line or as such, whichever is noticed first.
		return fmt.Errorf("%s ended before its handshake%s", path, p.saidAtLast())
	case strings.Contains(text, "Unrecognized remote plugin message"):
		found := strings.TrimPrefix(strings.SplitN(text, "\n", 2)[0], noMessage)
		return fmt.Errorf("%s printed %q first; want the handshake, %d|%d|unix|SOCKET|grpc|CERTIFICATE, and nothing before it: is it a scheduler made with plugins/sdk?%s",
			path, clip(found), plugin.CoreProtocolVersion, schedpb.Version, p.said())
	case strings.Contains(text, "timeout while waiting for plugin"):
		return fmt.Errorf("%s has printed no handshake within %v%s", path, limit, p.said())
	case strings.Contains(text, "unsupported plugin protocol"):
		return fmt.Errorf("%s speaks another protocol than gRPC: want \"grpc\" as the fifth field of the handshake (%s)", path, clip(text))
	}
	return fmt.Errorf("starting %s: %s%s", path, clip(text), p.said())
}

// said is the last that the process printed to standard error.
func (p *process) said() string {
	if p.runner == nil {
		return ""
	}
	if last := p.runner.tail.last(); last != "" {
		return "; its last words: " + last
	}
	return ""
}

// saidAtLast is said of a process that has ended: the last of it may come a
// little later than the end.
func (p *process) saidAtLast() string {
	select {
	case <-p.runner.stderr.over:
	case <-time.After(3 * time.Second): // a child of its own has it open
	}
	return p.said()
}

// fail gives the process up; the first reason counts.
func (p *process) fail(why string) {
	p.once.Do(func() {
		p.why = why
		close(p.failed)
	})
}

// ended is closed when the process has.
func (p *process) ended() <-chan struct{} { return p.runner.exited }

// ending says how the process has ended; call it when it has.
func (p *process) ending() string {
	how := "ended by itself"
	if p.runner.err != nil {
		how = "ended: " + p.runner.err.Error()
	}
	return how + p.saidAtLast()
}

// quit asks the process to end, and ends it if it does not. It may take 2 s.
func (p *process) quit() {
	p.client.Kill()
	p.kill() // what it may have left behind
}

// kill ends the process at once.
func (p *process) kill() {
	if p.runner != nil {
		_ = p.runner.Kill(context.Background())
	}
	p.client.Kill() // closes the connection, removes the socket
}

// rpcError says what a call failed of.
func rpcError(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	if s, ok := status.FromError(err); ok {
		return fmt.Sprintf("%v: %s", s.Code(), clip(s.Message()))
	}
	return clip(err.Error())
}

// service is the host's side of the protocol for go-plugin.
type service struct{ plugin.NetRPCUnsupportedPlugin }

func (service) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("host: this is the host's side")
}

func (service) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return schedpb.NewSchedulerClient(c), nil
}

// toStruct makes the message for what go-toml has decoded.
func toStruct(table map[string]any) (*structpb.Struct, error) {
	plain, err := plain(table)
	if err != nil {
		return nil, err
	}
	s, err := structpb.NewStruct(plain.(map[string]any))
	return s, err
}

// plain makes of a TOML value what JSON can hold: dates become text.
func plain(v any) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			var err error
			if out[key], err = plain(value); err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			var err error
			if out[i], err = plain(value); err != nil {
				return nil, err
			}
		}
		return out, nil
	case nil, bool, string, float64, int64, int:
		return v, nil
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	case fmt.Stringer: // go-toml's local dates and times
		return v.String(), nil
	}
	return nil, fmt.Errorf("a %T cannot be handed to a plugin", v)
}
