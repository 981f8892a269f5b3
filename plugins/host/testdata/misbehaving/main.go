// Command misbehaving is a plugin that does wrong what its own name says.
package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/wg-bond/wg-bond/plugins/schedpb"
	"github.com/wg-bond/wg-bond/plugins/sdk"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
)

func main() {
	name := filepath.Base(os.Args[0])
	switch name {
	case "garbage":
		fmt.Println("Hello, I am \x00 not a plugin")
		select {}
	case "endless":
		for {
			fmt.Print(strings.Repeat("garbage without end ", 1000))
		}
	case "silent":
		select {}
	case "exits":
		fmt.Fprintln(os.Stderr, "cannot find my data file")
		os.Exit(3)
	case "elsewhere":
		fmt.Println("1|1|tcp|127.0.0.1:22|grpc|")
		select {}
	case "netrpc":
		fmt.Printf("1|1|unix|%s/x|netrpc|\n", os.Getenv("PLUGIN_UNIX_SOCKET_DIR"))
		select {}
	case "version":
		plugin.Serve(&plugin.ServeConfig{
			HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: schedpb.Version + 1, MagicCookieKey: schedpb.CookieKey, MagicCookieValue: schedpb.CookieValue},
			Plugins:         plugin.PluginSet{schedpb.PluginName: other{}},
			GRPCServer:      plugin.DefaultGRPCServer,
		})
		return
	}
	if name == "malformed" || name == "endless-plan" || name == "twice" {
		serveRaw(name)
		return
	}
	sdk.Serve(sdk.Plugin{
		Name: name, Does: "wrong", Version: "1",
		New: func(p *sdk.Parameters) func() schedulers.Scheduler {
			p.Number("margin", 1, 0, 10)
			p.Table("paths").Bytes("wwan0", 0)
			return func() schedulers.Scheduler { return &scheduler{name: name, Scheduler: builtin.All[0].New()} }
		},
	})
}

type scheduler struct {
	schedulers.Scheduler
	name  string
	calls int
	hoard [][]byte
}

// Valid tells its plans from the fallback's.
const valid = 150 * time.Millisecond

func (s *scheduler) Plan(snap *schedulers.Snapshot, p *schedulers.Plan) {
	s.Scheduler.Plan(snap, p)
	p.Valid = valid
	s.calls++
	bulk := &p.Classes[schedulers.Bulk]
	switch s.name {
	case "hang":
		if s.calls > 3 {
			select {}
		}
	case "slow":
		time.Sleep(100 * time.Millisecond)
	case "crash":
		if s.calls > 3 {
			panic("I am no good")
		}
	case "nan":
		bulk.Paths[0].Base = math.NaN()
	case "negative":
		bulk.Paths[0].PerByte = -1
	case "absurd":
		bulk.Paths[0].Base = 1e300
	case "forever":
		p.Valid = 24 * 365 * time.Hour
	case "wrong-seq":
		p.Seq += 7
	case "unknown-path":
		bulk.Paths[9].Use = true
	case "empty":
		*p = schedulers.Plan{Seq: p.Seq, Valid: valid}
	case "hog":
		for {
			b := make([]byte, 8<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			s.hoard = append(s.hoard, b)
		}
	case "chatty":
		for range 1000 {
			fmt.Println("what a nice day \xff\x00")
			fmt.Fprintln(os.Stderr, "[ERROR] what a nice day")
		}
	case "environment":
		// Tells by its plan what it can see of the world: each bit is a leak.
		bulk.Paths[0].Cap = leaks()
	}
}

// leaks has a bit for each thing that a plugin should not be able to do.
func leaks() (n int) {
	for _, e := range os.Environ() {
		key, _, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(key, "PLUGIN_") && key != schedpb.CookieKey {
			n |= 1
		}
	}
	if os.WriteFile("/tmp/wgbt-leak", []byte("x"), 0o600) == nil {
		n |= 2
	}
	_ = os.Remove("/tmp/wgbt-leak")
	if os.Getuid() == 0 || os.Getgid() == 0 {
		n |= 4
	}
	if wd, err := os.Getwd(); err != nil || wd != "/" {
		n |= 8
	}
	if entries, err := os.ReadDir("/sys/class/net"); err == nil && len(entries) > 0 {
		// sysfs shows the namespace it was mounted in; /proc shows ours.
		dev, _ := os.ReadFile("/proc/self/net/dev")
		if strings.Count(string(dev), "\n") > 3 { // two lines of head, lo
			n |= 16
		}
	}
	// Nothing is open but the three standard files and what the runtime and the
	// server made for themselves.
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		to, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err != nil {
			continue // the directory's own
		}
		own := strings.HasPrefix(to, "socket:") || strings.HasPrefix(to, "anon_inode:") || strings.HasPrefix(to, "pipe:") || to == "/dev/null" || strings.HasPrefix(to, "/proc/") || strings.HasPrefix(to, "/sys/fs/cgroup/")
		if !own {
			n |= 64
		}
	}
	status, _ := os.ReadFile("/proc/self/status")
	for _, want := range []string{"CapEff:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(string(status), want) {
			n |= 32
		}
	}
	return n
}

// serveRaw answers with what no sdk would send.
func serveRaw(name string) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: schedpb.Version, MagicCookieKey: schedpb.CookieKey, MagicCookieValue: schedpb.CookieValue},
		Plugins:         plugin.PluginSet{schedpb.PluginName: &raw{name: name}},
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, grpc.ForceServerCodec(codec{name}))...)
		},
	})
}

type raw struct {
	plugin.NetRPCUnsupportedPlugin
	schedpb.UnimplementedSchedulerServer
	name string
}

func (r *raw) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	schedpb.RegisterSchedulerServer(g, r)
	return nil
}

func (*raw) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

func (r *raw) Configure(context.Context, *schedpb.ConfigureRequest) (*schedpb.ConfigureResponse, error) {
	return &schedpb.ConfigureResponse{Name: r.name}, nil
}

func (r *raw) Plan(stream grpc.BidiStreamingServer[schedpb.Snapshot, schedpb.SchedulerPlan]) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil
		}
		path := &schedpb.PathPlan{}
		if err := stream.Send(&schedpb.SchedulerPlan{Seq: m.GetSeq(), ValidNs: 1e8, Bulk: &schedpb.ClassPlan{Paths: []*schedpb.PathPlan{path, path}}}); err != nil {
			return nil
		}
	}
}

// codec is protobuf's, but for plans.
type codec struct{ name string }

func (codec) Name() string                    { return "proto" }
func (codec) Unmarshal(b []byte, v any) error { return proto.Unmarshal(b, v.(proto.Message)) }

func (c codec) Marshal(v any) ([]byte, error) {
	if _, ok := v.(*schedpb.SchedulerPlan); ok {
		switch c.name {
		case "malformed":
			return []byte("\xff\xff\xff this is no plan"), nil
		case "endless-plan":
			return make([]byte, 1<<20), nil
		}
	}
	return proto.Marshal(v.(proto.Message))
}

type other struct{ plugin.NetRPCUnsupportedPlugin }

func (other) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }
func (other) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}
