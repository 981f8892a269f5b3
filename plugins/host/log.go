package host

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// own is the name of go-plugin's own messages, and stdio another; a program's
// lines have other names below it.
const (
	own   = "go-plugin"
	stdio = own + ".stdio"
)

// newLogger leads what go-plugin and the program say to log.
func newLogger(log *slog.Logger, name string) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: own, Level: hclog.Debug, Output: io.Discard})
	l.RegisterSink(&sink{log: log.With("scheduler", name), left: logBurst})
	return l
}

// A plugin may log logBurst lines at once and logRate a second for long; what
// is beyond is counted.
const (
	logBurst = 100
	logRate  = 10
)

// sink is an hclog.SinkAdapter.
type sink struct {
	log *slog.Logger

	mu      sync.Mutex // guards all below
	at      time.Time
	left    float64
	dropped int
}

// Accept logs one line.
func (s *sink) Accept(name string, level hclog.Level, message string, args ...any) {
	to := slog.LevelDebug
	ours := name == own || name == stdio
	if !ours {
		// A plain line comes as a debug message: the author meant it.
		to = max(slog.LevelInfo, toSlog(level))
	}
	if !s.log.Enabled(context.Background(), to) {
		return
	}
	ok, dropped := s.take(time.Now())
	if !ok {
		return
	}
	if dropped > 0 {
		s.log.Warn("the plugin logs too much", "dropped", dropped)
	}
	if ours {
		s.log.Debug(own+": "+clip(message), args...)
		return
	}
	s.log.Log(context.Background(), to, clip(message), "by", "plugin")
}

func (s *sink) take(now time.Time) (ok bool, dropped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.at.IsZero() {
		s.left = min(logBurst, s.left+now.Sub(s.at).Seconds()*logRate)
	}
	s.at = now
	if s.left < 1 {
		s.dropped++
		return false, 0
	}
	s.left--
	dropped, s.dropped = s.dropped, 0
	return true, dropped
}

func toSlog(l hclog.Level) slog.Level {
	switch l {
	case hclog.Error:
		return slog.LevelError
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Info:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// lineWriter logs what a program prints once it runs.
type lineWriter struct{ log hclog.Logger }

func (w lineWriter) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		if line = strings.TrimSpace(line); line != "" {
			w.log.Named("printed").Info(line)
		}
	}
	return len(p), nil
}
