// Package sdk turns a scheduler into a program that wg-bond can run:
//
//	func main() {
//		sdk.Serve(sdk.Plugin{Name: "spread", Does: "bytes shared by rate", New: sdk.Stateless(spread)})
//	}
//
//	func spread(s *schedulers.Snapshot, p *schedulers.Plan) { … }
//
// What the program prints goes to wg-bond's log. It runs as an unprivileged
// user, without the network and without an environment. PLUGINS.md tells the
// whole story, from an idea to a tested plugin.
package sdk

import (
	"context"
	"fmt"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wg-bond/wg-bond/plugins/schedpb"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/parameters"
)

// Parameters is the user's table [plugin.NAME]; what is wrong in it, and every
// key that New did not ask for, is shown to the user with the file and line.
type Parameters = parameters.Table

// Plugin is a scheduler as a program.
type Plugin struct {
	// Name and Does, a few words, are for people, as Version, which may be
	// empty.
	Name, Does, Version string
	// New reads the user's parameters and returns what makes the scheduler of
	// one session. Mistakes are noted in the Parameters: then what it returns
	// is not used. It is called once.
	New func(p *Parameters) func() schedulers.Scheduler
}

// Stateless is Plugin.New for a scheduler that remembers nothing and takes no
// parameters.
func Stateless(plan schedulers.Func) func(*Parameters) func() schedulers.Scheduler {
	return func(*Parameters) func() schedulers.Scheduler {
		return func() schedulers.Scheduler { return plan }
	}
}

// Serve serves p to the wg-bond that started this program, and returns when
// that is done with it. Started by hand, it says how it is meant and exits.
func Serve(p Plugin) {
	if os.Getenv(schedpb.CookieKey) != schedpb.CookieValue {
		fmt.Fprintf(os.Stderr, "%s is a scheduler for wg-bond: %s.\nwg-bond starts it: name it in [plugin.%s] of NAME.bond.toml, or try it with\n\n    wg-bond scheduler test %s\n",
			p.Name, p.Does, p.Name, os.Args[0])
		os.Exit(2)
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: schedpb.Version, MagicCookieKey: schedpb.CookieKey, MagicCookieValue: schedpb.CookieValue},
		Plugins:         plugin.PluginSet{schedpb.PluginName: &service{plugin: p}},
		GRPCServer:      plugin.DefaultGRPCServer,
		Logger:          hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr, JSONFormat: true}),
	})
}

// service is the server's side of the protocol.
type service struct {
	plugin.NetRPCUnsupportedPlugin
	schedpb.UnimplementedSchedulerServer
	plugin Plugin
	make   func() schedulers.Scheduler // nil until configured
}

// GRPCServer registers the service; go-plugin calls it.
func (s *service) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	schedpb.RegisterSchedulerServer(g, s)
	return nil
}

// GRPCClient is for the other side.
func (s *service) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, fmt.Errorf("sdk: this is the plugin's side")
}

// Configure checks the user's parameters.
func (s *service) Configure(_ context.Context, r *schedpb.ConfigureRequest) (*schedpb.ConfigureResponse, error) {
	p := parameters.New(r.GetParameters().AsMap())
	s.make = s.plugin.New(p)
	answer := &schedpb.ConfigureResponse{Name: s.plugin.Name, Does: s.plugin.Does, Version: s.plugin.Version}
	for _, wrong := range p.Problems() {
		answer.Problems = append(answer.Problems, &schedpb.Problem{Key: wrong.Key, Found: wrong.Found, Want: wrong.Want})
	}
	return answer, nil
}

// Plan serves one session.
func (s *service) Plan(stream grpc.BidiStreamingServer[schedpb.Snapshot, schedpb.SchedulerPlan]) error {
	if s.make == nil {
		return status.Error(codes.FailedPrecondition, "Plan before Configure")
	}
	scheduler := s.make()
	var snap schedulers.Snapshot
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil // the session is over
		}
		if err := schedpb.ToSnapshot(m, &snap); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		var plan schedulers.Plan
		scheduler.Plan(&snap, &plan)
		if err := stream.Send(schedpb.FromPlan(&plan)); err != nil {
			return nil
		}
	}
}
