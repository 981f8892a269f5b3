// Package memory keeps what paths carried in the networks where they were, for
// the next time that they are there: wgbond.Memory, by path, device and network.
//
//	engine: Learned ──► Learn ──► Book ──► Recall ──► engine: PathConfig.Memory, Moved
//	                               │ ▲
//	                               ▼ │ a file, rewritten whole, rarely
//
// The file names networks that were visited, so it is readable by its owner
// alone. Losing it costs a second of a transfer, so it is written every ten minutes
// at most, and when the interface goes down.
package memory

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wg-bond/wg-bond/conn/durable"
	"github.com/wg-bond/wg-bond/wgbond"
)

const (
	writeEvery = 10 * time.Minute    // at most: flash wears
	keepFor    = 30 * 24 * time.Hour // a link is not what it was for ever
	keepMost   = 64                  // entries, the newest
	mostRate   = 1e11                // bytes per second, beyond any link
	mostRTT    = time.Hour
)

// Key says where a path was.
type Key struct {
	Path, Device string
	// Networks are those that the device has addresses in, separated by spaces, as
	// netwatch.Reach.Networks has them. Empty: that is not known, and nothing is
	// remembered.
	Networks string
}

// Same reports whether two sets of networks have one in common: a device gets its
// addresses of the two families one after the other.
func Same(a, b string) bool { return common(a, b) > 0 }

func common(a, b string) (n int) {
	in := strings.Fields(b)
	for _, network := range strings.Fields(a) {
		if slices.Contains(in, network) {
			n++
		}
	}
	return n
}

// Book remembers. The nil Book remembers nothing. It is safe for concurrent use.
type Book struct {
	file string

	mu      sync.Mutex // guards all below
	entries []entry
	changed bool
	written time.Time // the zero time: not since Open
}

// entry is a line of the book, and of the file.
type entry struct {
	Path     string    `json:"path"`
	Device   string    `json:"device"`
	Networks string    `json:"networks"`
	Up       float64   `json:"up"` // bytes per second
	Down     float64   `json:"down"`
	RTT      float64   `json:"rtt_ms"` // milliseconds
	Learnt   time.Time `json:"learnt"`
}

func (e *entry) valid() bool {
	good := func(v, most float64) bool { return v >= 0 && v <= most }
	return e.Path != "" && e.Networks != "" && good(e.Up, mostRate) && good(e.Down, mostRate) && e.Up+e.Down > 0 &&
		e.RTT > 0 && e.RTT <= float64(mostRTT.Milliseconds())
}

// Open reads the book in file; one that is not there is empty. With an error that
// says what was found there the Book is empty, too, or lacks what was wrong: it
// can be used, and replaces the file.
func Open(file string) (*Book, error) {
	b := &Book{file: file}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return b, fmt.Errorf("what paths carried before cannot be read: %w", err)
	}
	var entries []entry
	if err := json.Unmarshal(data, &entries); err != nil {
		return b, fmt.Errorf("%s: found what wg-bond did not write (%w); what paths carried before is forgotten, and will be learned anew", file, err)
	}
	b.entries = slices.DeleteFunc(entries, func(e entry) bool { return !e.valid() })
	if wrong := len(entries) - len(b.entries); wrong > 0 {
		return b, fmt.Errorf("%s: %d of %d entries are none that wg-bond wrote; they are left out", file, wrong, len(entries))
	}
	return b, nil
}

// findLocked is the index of the entry for a place: of several, the one with the
// most networks in common, and then the newest; -1: there is none.
func (b *Book) findLocked(at Key) int {
	best, most := -1, 0
	for i, e := range b.entries {
		n := common(e.Networks, at.Networks)
		if e.Path != at.Path || e.Device != at.Device || n == 0 {
			continue
		}
		if n > most || n == most && e.Learnt.After(b.entries[best].Learnt) {
			best, most = i, n
		}
	}
	return best
}

// Recall tells what is remembered of a path in its network; the zero Memory if
// nothing is.
func (b *Book) Recall(at Key) wgbond.Memory {
	if b == nil {
		return wgbond.Memory{}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.findLocked(at)
	if i < 0 {
		return wgbond.Memory{}
	}
	e := &b.entries[i]
	return wgbond.Memory{Up: e.Up, Down: e.Down, RTT: time.Duration(e.RTT * float64(time.Millisecond))}
}

// Learn takes in what a path was found to carry. What is nearly what is
// remembered changes nothing.
func (b *Book) Learn(at Key, m wgbond.Memory, now time.Time) {
	e := entry{at.Path, at.Device, at.Networks, math.Round(m.Up), math.Round(m.Down), float64(m.RTT.Microseconds()) / 1000, now}
	if b == nil || !e.valid() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.findLocked(at)
	if i < 0 {
		b.entries = append(b.entries, e)
		b.changed = true
		return
	}
	was := &b.entries[i]
	fresh := now.Sub(was.Learnt).Abs() < 24*time.Hour
	if fresh && near(e.Up, was.Up) && near(e.Down, was.Down) && near(e.RTT, was.RTT) && e.Networks == was.Networks {
		return
	}
	*was = e
	b.changed = true
}

// near reports whether a differs from b by less than a quarter.
func near(a, b float64) bool { return math.Abs(a-b) <= b/4 }

// Tick writes the file if there is something new and it was not written lately.
func (b *Book) Tick(now time.Time) error { return b.write(now, writeEvery) }

// Close writes the file if there is something new. The Book may be used on.
func (b *Book) Close(now time.Time) error { return b.write(now, 0) }

func (b *Book) write(now time.Time, every time.Duration) error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.changed || now.Sub(b.written).Abs() < every {
		return nil
	}
	b.written = now // also if it fails: it is not worth more tries
	// What was learned after now is kept: at boot a clock may not be set yet.
	b.entries = slices.DeleteFunc(b.entries, func(e entry) bool { return now.Sub(e.Learnt) > keepFor })
	slices.SortStableFunc(b.entries, func(x, y entry) int { return cmp.Compare(y.Learnt.Unix(), x.Learnt.Unix()) })
	b.entries = b.entries[:min(len(b.entries), keepMost)]
	data, err := json.MarshalIndent(b.entries, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(b.file), 0o700)
	}
	if err == nil {
		err = durable.Write(b.file, append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("what paths carry cannot be kept for the next time: %w", err)
	}
	b.changed = false
	return nil
}
