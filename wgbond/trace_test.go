package wgbond

import (
	"bytes"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/trace"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// TestTraceOff: a hook without a trace does nothing, without looking at what it
// is given, and allocates nothing.
func TestTraceOff(t *testing.T) {
	var off *tracer
	if newTracer(nil, nil) != nil {
		t.Fatal("no recorder, yet a tracer")
	}
	if n := testing.AllocsPerRun(100, func() {
		off.watch()
		off.planned()
		off.awaits(0)
		off.bound(nil, nil, "plan")
		off.sent(nil, nil)
		off.slack(nil)
		off.acked(nil, 0)
		off.lost(nil, "ping")
		off.repaired(nil, nil, false)
		off.voided(1, 2, "skipped")
		off.gaveUp(nil, dropCoDel)
		off.got(nil, 1, 2, 3)
		off.made(1, 2, false)
		off.came(nil, nil, 3)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// TestTraceFrames: every frame has a name of its own in a trace.
func TestTraceFrames(t *testing.T) {
	s := &Session{ordinal: 5, index: 77}
	tr := &tracer{s: s}
	message := []byte{wire.NoPath}
	frames := []wire.Frame{
		&wire.Attach{}, &wire.Challenge{}, &wire.ChallengeReply{}, &wire.Attached{}, &wire.Detach{}, &wire.Ping{}, &wire.Pong{},
		&wire.KeyPair{Index: 9, Ordinal: 3}, &wire.KeyPairEnd{Index: 9}, &wire.Marker{Index: 9}, &wire.Void{Index: 9, Range: wire.Range{From: 1, To: 2}},
		&wire.Tune{}, &wire.Feedback{}, &wire.Close{}, &wire.Hello{}, &wire.Equalize{},
	}
	for _, f := range frames {
		message = wire.AppendFrame(message, f)
	}
	seen := map[string]bool{"other": true}
	got := tr.frames(nil, message, true)
	for i, f := range got {
		if seen[f.Kind] {
			t.Errorf("%T is called %q, which is taken", frames[i], f.Kind)
		}
		seen[f.Kind] = true
		if i >= 7 && i <= 10 && f.Pair != 3 {
			t.Errorf("%s: pair %d, was announced as 3", f.Kind, f.Pair)
		}
	}
	if len(got) != len(frames) {
		t.Errorf("%d frames of %d", len(got), len(frames))
	}
	scratch := got[:0]
	if n := testing.AllocsPerRun(100, func() { scratch = tr.frames(scratch[:0], message, true) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// TestTraceLate: a session that is called later than it asked for says so, once.
func TestTraceLate(t *testing.T) {
	var out bytes.Buffer
	rec := trace.NewRecorder(&out, trace.Header{})
	s := &Session{now: time.Second}
	tr := &tracer{s: s, rec: rec, due: Never}
	call := func(at time.Duration) {
		s.now = at
		tr.record(&trace.Slack{})
	}
	call(2 * time.Second)
	tr.awaits(0) // at once
	call(2*time.Second + lateAfter)
	tr.awaits(3 * time.Second)
	call(2500 * time.Millisecond)
	tr.awaits(3 * time.Second)
	call(3300 * time.Millisecond)
	call(3300 * time.Millisecond)
	tr.awaits(Never)
	call(time.Hour)
	rec.Flush()
	_, entries, err := trace.Read(&out)
	if err != nil {
		t.Fatal(err)
	}
	var late []trace.Micros
	for e, err := range entries {
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := e.Event.(*trace.Late); ok {
			late = append(late, e.By)
		}
	}
	if len(late) != 1 || late[0] != 300_000 {
		t.Errorf("late by %v, want once by 300 ms", late)
	}
}
