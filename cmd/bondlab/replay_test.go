package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/trace"
)

// writeTrace makes a trace of three seconds over two paths.
func writeTrace(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	r := trace.NewRecorder(&b, trace.Header{Role: "server", Paths: []string{"first", "second"}})
	for i := range uint64(3000) {
		r.Record(time.Duration(i)*time.Millisecond, &trace.Got{Path: 1, Packet: trace.Packet{Pair: 1, Counter: i}, Size: 1000})
	}
	r.Flush()
	name := filepath.Join(t.TempDir(), "trace.jsonl")
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestReplay(t *testing.T) {
	cmd := replayCmd{File: writeTrace(t), Path: -1, Names: []string{"own"}, From: time.Second}
	run, err := cmd.gather()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := cmd.text(&out, run); err != nil {
		t.Fatal(err)
	}
	if got := run.Name(0) + " " + run.Name(1); got != "own second" {
		t.Errorf("the paths are called %s, want own second: the names given come first", got)
	}
	for _, want := range []string{"1s to 3s: 2.0 MB got, 8.00 Mbit/s", "## By the second", "## Worth noting", "## The worst second"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	cmd.Worst = true
	out.Reset()
	if err := cmd.text(&out, run); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "By the second") {
		t.Error("--worst shows more than that")
	}
}

func TestReplayErrors(t *testing.T) {
	for _, cmd := range []replayCmd{{Path: 16}, {Path: -2}, {Path: -1, From: -1}, {Path: -1, From: 2, To: 1}} {
		if cmd.Validate() == nil {
			t.Errorf("%+v is accepted", cmd)
		}
	}
	name := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(name, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := (&replayCmd{File: name}).gather()
	if want := `x: trace: line 1: no "wg-bond-trace": want the header, {"wg-bond-trace":1,…}`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
