package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/wg-bond/wg-bond/plugins/schedpb"
	"github.com/wg-bond/wg-bond/schedulers"
)

// Direct is a plugin's part in one session, for tests and virtual time: its
// Plan waits for the answer. Nothing stands between the plugin's plan and the
// caller, sound or not. After a failure plans are the zero Plan; see Err.
type Direct struct {
	stream grpc.BidiStreamingClient[schedpb.Snapshot, schedpb.SchedulerPlan]
	cancel context.CancelFunc
	limit  time.Duration
	err    error
}

// NewDirect makes the Direct of one session. Close ends it.
func (p *Plugin) NewDirect() (*Direct, error) {
	proc, _ := p.present()
	if proc == nil {
		return nil, errors.New("the plugin does not run: " + p.Status().Reason)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := proc.rpc.Plan(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	return &Direct{stream: stream, cancel: cancel, limit: p.cfg.Limits.Answer}, nil
}

// Plan asks the plugin and waits.
func (d *Direct) Plan(s *schedulers.Snapshot, p *schedulers.Plan) {
	if d.err != nil {
		return
	}
	timeout := time.AfterFunc(d.limit, d.cancel)
	m, err := d.exchange(s)
	if !timeout.Stop() {
		err = fmt.Errorf("no plan within %v", d.limit)
	}
	if err == nil {
		err = schedpb.ToPlan(m, p)
	}
	if err != nil {
		d.err = fmt.Errorf("snapshot %d: %s", s.Seq, rpcError(err))
		*p = schedulers.Plan{}
	}
}

func (d *Direct) exchange(s *schedulers.Snapshot) (*schedpb.SchedulerPlan, error) {
	if err := d.stream.Send(schedpb.FromSnapshot(s)); err != nil {
		_, err = d.stream.Recv() // which says why
		return nil, err
	}
	return d.stream.Recv()
}

// Err is the first failure, if there was one.
func (d *Direct) Err() error { return d.err }

// Close ends the session.
func (d *Direct) Close() error {
	d.cancel()
	return nil
}
