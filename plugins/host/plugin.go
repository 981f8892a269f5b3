package host

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Status is a Plugin's condition.
type Status struct {
	Running  bool
	Pid      string
	About    About
	Restarts uint64
	// Reason is why it does not run, or else why it ended last; empty: it
	// never has. At is when.
	Reason string
	At     time.Time
	// Missed is why the fallback decided although the process was at work: its
	// plans came late, or were good for too short a time; empty: it never has.
	// MissedAt is when it last did.
	Missed   string
	MissedAt time.Time
	Counts   Counts
	// Latency are the last answers' times, from hand-over to validated.
	Latency Latency
}

// Counts says what became of the snapshots of all sessions.
type Counts struct {
	// Followed and Fallback are plans made by the plugin's answer and by the
	// fallback.
	Followed uint64 `json:"followed"`
	Fallback uint64 `json:"fallback"`
	// Why the fallback decided: there was no answer within a plan period; the
	// answer was unsound; it did not suit the paths of the moment; it had
	// expired, as after a pause in traffic; or there was no process.
	Late     uint64 `json:"late"`
	Invalid  uint64 `json:"invalid"`
	Unfit    uint64 `json:"unfit"`
	Expired  uint64 `json:"expired"`
	NotThere uint64 `json:"not_there"`
}

// missed is why and when a plan was not in time.
type missed struct {
	why   verdict
	valid time.Duration // of the last plan
	at    time.Time     // zero: never
}

func (m *missed) reason(l Latency) string {
	switch {
	case m.at.IsZero():
		return ""
	case m.why == expired:
		return fmt.Sprintf("its plans expire too soon: they are good for %v, and one is due every %v", m.valid, period)
	case l.N == 0:
		return fmt.Sprintf("no plan has come yet; one is due every %v", period)
	}
	return fmt.Sprintf("its plans come late: they take %v, the slowest %v, and one is due every %v",
		l.P50.Round(time.Millisecond/10), l.Max.Round(time.Millisecond/10), period)
}

// Plugin keeps one program running and makes Schedulers that ask it.
type Plugin struct {
	cfg    Config
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex // guards all below; a leaf
	proc     *process   // nil while there is none
	changed  chan struct{}
	about    About
	restarts uint64
	reason   string
	at       time.Time
	missed   missed
	counts   Counts
	latency  latencies
}

// Launch starts a plugin, and keeps it running until Close. The error is for
// the user: why the program was refused, or could not be started, or does not
// take its parameters (*parameters.Error).
func Launch(ctx context.Context, cfg Config) (*Plugin, error) {
	cfg = cfg.withDefaults()
	proc, err := start(ctx, &cfg)
	if err != nil {
		return nil, err
	}
	background, cancel := context.WithCancel(context.Background())
	p := &Plugin{cfg: cfg, cancel: cancel, done: make(chan struct{}), changed: make(chan struct{})}
	p.set(proc)
	go p.supervise(background, proc)
	return p, nil
}

// supervise waits for the end of a process and starts the next.
func (p *Plugin) supervise(ctx context.Context, proc *process) {
	defer close(p.done)
	pause := backOff{p.cfg.Limits, 0}
	for {
		if proc != nil {
			if !p.watch(ctx, proc) {
				p.set(nil)
				proc.quit()
				return
			}
			p.set(nil)
			proc.kill()
			p.note(proc.why)
			p.cfg.Log.Warn("the scheduler is replaced by the default until it is restarted", "scheduler", p.cfg.Name, "reason", proc.why)
			pause.ran(time.Since(proc.began))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause.next()):
		}
		var err error
		if proc, err = start(ctx, &p.cfg); err != nil {
			proc = nil
			p.note(err.Error())
			p.cfg.Log.Warn("the scheduler could not be restarted", "scheduler", p.cfg.Name, "error", err)
			continue
		}
		p.mu.Lock()
		p.restarts++
		p.mu.Unlock()
		p.set(proc)
		p.cfg.Log.Info("the scheduler runs again", "scheduler", p.cfg.Name, "pid", proc.runner.ID())
	}
}

// backOff says how long to wait before the next start.
type backOff struct {
	Limits
	last time.Duration // 0: it is the first
}

// ran notes how long a process ran until it failed: a good while, and the
// failures before count no more.
func (b *backOff) ran(d time.Duration) {
	if d > time.Minute {
		b.last = 0
	}
}

func (b *backOff) next() time.Duration {
	b.last = min(max(2*b.last, b.BackOff), b.BackOffMax)
	return b.last
}

// lookEvery is how often a process's memory is looked at: the kernel's own
// bound, if we may set it, does not see what it shares.
const lookEvery = 100 * time.Millisecond

// watch returns true when a process has failed, false when ctx ends.
func (p *Plugin) watch(ctx context.Context, proc *process) bool {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-proc.ended():
			proc.fail(proc.ending())
			return true
		case <-proc.failed:
			return true
		case <-ticker.C:
			if n := proc.runner.memory(); n > p.cfg.Limits.Memory {
				proc.fail(fmt.Sprintf("it took %d MiB of memory; it may have %d", n>>20, p.cfg.Limits.Memory>>20))
			}
		}
	}
}

// set tells the Schedulers of another process, or of none.
func (p *Plugin) set(proc *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proc = proc
	if proc != nil {
		p.about = proc.about
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// present is the process there is now, nil for none, and what is closed when
// that changes.
func (p *Plugin) present() (*process, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proc, p.changed
}

func (p *Plugin) note(why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reason, p.at = why, time.Now()
}

// Status tells how the plugin is.
func (p *Plugin) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{About: p.about, Restarts: p.restarts, Reason: p.reason, At: p.at, Counts: p.counts, Latency: p.latency.summary()}
	s.Missed, s.MissedAt = p.missed.reason(s.Latency), p.missed.at
	if p.proc != nil {
		s.Running, s.Pid = true, p.proc.runner.ID()
	}
	return s
}

// Close ends the program. Its Schedulers go on with their fallback.
func (p *Plugin) Close() {
	p.cancel()
	<-p.done
}
