package tracefile

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wg-bond/wg-bond/wgbond/trace"
)

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	f, err := New(filepath.Join(dir, "a.jsonl"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f.Open("does nothing")
	one, two := f.Open("x"), f.Open("y")
	record := func(w io.Writer) {
		r := trace.NewRecorder(w, trace.Header{})
		r.Record(0, &trace.Slack{Path: 1})
		r.Flush()
	}
	record(one)
	record(one)
	waitFor(t, filepath.Join(dir, "a.jsonl"))
	record(two)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := one.Write([]byte("late")); n != 0 || err == nil {
		t.Errorf("written after Close: %d, %v", n, err)
	}
	if f.Open("z") != nil {
		t.Error("opened after Close")
	}
	const lines = "{\"wg-bond-trace\":1}\n{\"t\":0,\"ev\":\"slack\",\"path\":1}\n"
	for name, want := range map[string]string{"a.jsonl": lines + lines, "a.2.jsonl": lines} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

// waitFor polls until the file has something in it.
func waitFor(t *testing.T, name string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if info, err := os.Stat(name); err == nil && info.Size() > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s stays empty", name)
		}
	}
}

func TestNewTellsAtOnce(t *testing.T) {
	name := filepath.Join(t.TempDir(), "none", "a.jsonl")
	if _, err := New(name, slog.New(slog.DiscardHandler)); err == nil || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), name) {
		t.Errorf("got %v, want that %s cannot be made", err, name)
	}
}

// slow is a file that takes one piece for every value of next.
type slow struct {
	bytes.Buffer
	next chan struct{}
}

func (s *slow) Write(p []byte) (int, error) {
	<-s.next
	return s.Buffer.Write(p)
}

func (s *slow) Close() error { return nil }

// TestBusy: a writer whose disk stands still never blocks; what it did not take
// is not written later.
func TestBusy(t *testing.T) {
	disk := &slow{next: make(chan struct{})}
	w := start(2, func() (io.WriteCloser, error) { return disk, nil })
	var want string
	busy := 0
	for i := range 20 {
		p := []byte{byte('a' + i), '\n'}
		_, err := w.Write(p)
		switch {
		case err == nil:
			want += string(p)
		case errors.Is(err, ErrBusy):
			busy++
		default:
			t.Fatal(err)
		}
	}
	// The goroutine may hold one more than the queue, or not have got to it.
	if taken := 20 - busy; taken < 2 || taken > 3 {
		t.Errorf("%d pieces were taken, the queue has room for 2", taken)
	}
	close(disk.next)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := disk.String(); got != want {
		t.Errorf("written %q, taken %q", got, want)
	}
}

// TestError: the first error of the disk is told by Close, and Write goes on
// without blocking.
func TestError(t *testing.T) {
	full := errors.New("no space left")
	w := start(2, func() (io.WriteCloser, error) { return nil, full })
	deadline := time.Now().Add(time.Minute)
	for taken := 0; taken < 10; { // the goroutine empties the queue all the same
		if _, err := w.Write([]byte("x")); err == nil {
			taken++
		}
		if time.Now().After(deadline) {
			t.Fatal("the queue is not emptied")
		}
	}
	if err := w.Close(); !errors.Is(err, full) {
		t.Errorf("Close: %v, want %v", err, full)
	}
}
