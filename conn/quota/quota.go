// Package quota counts what paths carry between two reset days and keeps the
// count over restarts and power cuts.
//
//	shell: Counter(path).Add(bytes) ──► Tick, every second ──► Use: how much, of how much, until when
//	                                        │
//	                                        ▼ a file, rewritten whole
//
// After a power cut the count may be too high, by what one write of the file
// lasts for, and never too low: the file is always ahead of what was carried,
// like a fuel card that is charged before the tank is filled. Close writes the
// exact count.
package quota

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wg-bond/wg-bond/conn/durable"
	"github.com/wg-bond/wg-bond/conn/period"
)

// Limit is what a path may carry, bytes of whole IP packets, both directions.
type Limit struct {
	Bytes uint64
	// Day of the month, from 1, on which counting begins anew, at midnight
	// local time; in a shorter month the last day.
	Day int
}

// Use is how much of a Limit is used.
type Use struct {
	Used, Limit uint64    // bytes
	Until       time.Time // when counting begins anew
	// Exhausted: the limit is reached, or was about to be: another second like
	// the one before would have exceeded it.
	Exhausted bool
}

// Ledger counts. It is safe for concurrent use.
type Ledger struct {
	file   string
	limits func(path string) Limit

	mu    sync.Mutex // guards all below
	paths map[string]*account
}

// account is one path's count.
type account struct {
	carried   atomic.Uint64 // since the program began
	taken     uint64        // of carried, into used
	last      uint64        // taken by the latest Tick
	since     time.Time     // the beginning of the period; zero: none yet
	used      uint64        // in the period
	promised  uint64        // what the file says is used
	exhausted bool          // as the latest Tick found it
}

// entry is an account in the file.
type entry struct {
	Since time.Time `json:"since"`
	Used  uint64    `json:"used"` // bytes
}

// ahead bounds how far the file is ahead of the count: a thousandth of the
// limit, within these bounds, bytes. A file that lasts for less would be
// written too often for a flash card.
const (
	aheadLeast = 256 << 10
	aheadMost  = 16 << 20
)

// Open reads the ledger in file; one that is not there is empty. limits tells a
// path's limit; one of zero bytes is none, and the path is not in the file.
func Open(file string, limits func(path string) Limit) (*Ledger, error) {
	l := &Ledger{file: file, limits: limits, paths: map[string]*account{}}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("what paths have carried this month: %w", err)
	}
	entries := map[string]entry{}
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("%s: found what wg-bond did not write (%w); it says what paths have carried this month: repair it, or remove it to count from zero", file, err)
	}
	for path, e := range entries {
		l.paths[path] = &account{since: e.Since, used: e.Used, promised: e.Used}
	}
	return l, nil
}

// Counter is where a path's bytes are added as it carries them.
func (l *Ledger) Counter(path string) *atomic.Uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &l.accountLocked(path).carried
}

func (l *Ledger) accountLocked(path string) *account {
	a := l.paths[path]
	if a == nil {
		a = &account{}
		l.paths[path] = a
	}
	return a
}

// Tick takes in what was carried since the last one, and writes the file if
// that has fallen behind. It reports whether a path has just been exhausted, or
// has begun anew. Call it once a second.
func (l *Ledger) Tick(now time.Time) (changed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	behind := false
	for path, a := range l.paths {
		limit := l.limits(path)
		carried := a.carried.Load()
		a.last = carried - a.taken
		a.taken = carried
		if limit.Bytes == 0 {
			continue
		}
		changed = a.turn(limit, now) || changed
		a.used += a.last
		if !a.exhausted && a.used+a.last >= limit.Bytes {
			a.exhausted, changed = true, true
		}
		behind = behind || a.used > a.promised
	}
	if behind {
		err = l.writeLocked(true)
	}
	return changed, err
}

// turn begins a new period if one has begun. A clock that shows a time before
// the present period is not set yet: nothing is forgotten by it. turn reports
// whether a path that was exhausted is not any more.
func (a *account) turn(limit Limit, now time.Time) (released bool) {
	from, _ := period.Of(now, limit.Day)
	if !from.After(a.since) {
		return false
	}
	released = a.exhausted
	a.since, a.used, a.promised, a.exhausted = from, 0, 0, false
	return released
}

func (a *account) use(limit Limit, now time.Time) Use {
	from, until := period.Of(now, limit.Day)
	u := Use{Limit: limit.Bytes, Until: until}
	if !from.After(a.since) {
		u.Used, u.Exhausted = a.used, a.exhausted || limit.Bytes > 0 && a.used >= limit.Bytes
	}
	return u
}

// Use tells how much a path has used; the zero Use if it has no limit.
func (l *Ledger) Use(path string, now time.Time) Use {
	limit := l.limits(path)
	if limit.Bytes == 0 {
		return Use{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accountLocked(path).use(limit, now)
}

// Close takes in the rest and writes the exact count. The Ledger may be used
// on.
func (l *Ledger) Close(now time.Time) error {
	_, err := l.Tick(now)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.paths {
		if a.used != a.promised {
			return errors.Join(err, l.writeLocked(false))
		}
	}
	return err
}

// writeLocked writes the file anew, ahead of the count or exactly.
func (l *Ledger) writeLocked(ahead bool) error {
	entries := map[string]entry{}
	for path, a := range l.paths {
		if a.since.IsZero() {
			continue
		}
		e := entry{a.since, a.used}
		if ahead && a.used > 0 {
			e.Used += min(max(l.limits(path).Bytes/1000, aheadLeast), aheadMost)
		}
		entries[path] = e
	}
	data, err := json.MarshalIndent(entries, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(l.file), 0o700)
	}
	if err == nil {
		err = durable.Write(l.file, append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("what paths have carried this month cannot be kept: %w", err)
	}
	for path, e := range entries {
		l.paths[path].promised = e.Used
	}
	return nil
}
