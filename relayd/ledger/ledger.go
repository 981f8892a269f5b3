// Package ledger keeps a lender's books: how much was lent this month, to whom,
// and how much may still be.
//
//	the file says            0 ──────────── debited ─────────────── quota
//	carried so far           0 ──────── used ┊
//	                                      the block that may be carried now: the Meter's
//
// A monthly quota is debited in blocks, and the file written to the disk, before
// a byte of a block is carried. So whatever happens, kill -9 and power cuts
// included, the quota is never exceeded, not by a byte; what a crash loses is the
// rest of a block, at the lender's gain. Close gives that back.
//
// What each borrower had is written with every block, and every minute: after a
// crash the last minute may be missing in it.
package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/wg-bond/wg-bond/conn/durable"
	"github.com/wg-bond/wg-bond/conn/period"
	"github.com/wg-bond/wg-bond/relayd/access"
)

const (
	// A block is a thousandth of the quota, within these bounds, or what lasts
	// for blockLasts seconds if that is more: a card that is written to more
	// often wears out.
	blockLeast = 64 << 10
	blockMost  = 16 << 20
	blockLasts = 4

	// writeEvery bounds how old the file is while there is news.
	writeEvery = time.Minute
)

// Config says how much is lent.
type Config struct {
	// File has the books, made when needed; empty: they are forgotten at the end.
	File string
	// Quota is what may be lent between two reset days, bytes of whole IP
	// packets, both directions; 0: no limit.
	Quota uint64
	// ResetDay of the month, 1 to 31, on which counting begins anew at midnight,
	// in the times' own zone; a shorter month's last day stands for those it
	// lacks. 0: 1.
	ResetDay int
	// Rate bounds what is lent, bytes per second, both directions together; 0: no
	// limit.
	Rate uint64
}

// Carried is what was carried, bytes of whole IP packets.
type Carried struct {
	Up   uint64 `json:"up"`   // from the borrower to its server
	Down uint64 `json:"down"` // and back
}

// Month is what was lent between two reset days.
type Month struct {
	Since, Until time.Time
	Used         uint64             // bytes; after a crash up to a block more than was carried
	Quota        uint64             // 0: no limit
	Borrowers    map[string]Carried // by public key
}

// Ledger is the books. It is safe for concurrent use.
type Ledger struct {
	cfg   Config
	meter *access.Meter

	mu    sync.Mutex
	books books
	news  bool // since the file was written
	wrote time.Time
}

// books are the file.
type books struct {
	Since     time.Time          `json:"since"`
	Debited   uint64             `json:"debited"` // of the quota; carried, or about to be
	Borrowers map[string]Carried `json:"borrowers"`
}

// Open reads the books. Settle must be called before anything is lent.
func Open(cfg Config) (*Ledger, error) {
	if cfg.ResetDay == 0 {
		cfg.ResetDay = 1
	}
	if cfg.ResetDay < 1 || cfg.ResetDay > 31 {
		return nil, fmt.Errorf("ledger: the reset day is %d, want 1 to 31", cfg.ResetDay)
	}
	l := &Ledger{cfg: cfg, meter: access.NewMeter(cfg.Rate)}
	if cfg.Quota == 0 {
		l.meter.Give(access.Unlimited)
	}
	if cfg.File != "" {
		data, err := os.ReadFile(cfg.File)
		if err == nil {
			err = json.Unmarshal(data, &l.books)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s says what was lent this month, and cannot be read (%w): repair it, or remove it to count from zero", cfg.File, err)
		}
	}
	if l.books.Borrowers == nil {
		l.books.Borrowers = map[string]Carried{}
	}
	return l, nil
}

// Meter lets pass what may be lent. It is always the same.
func (l *Ledger) Meter() *access.Meter { return l.meter }

// Add notes what a borrower, by its public key, was carried.
func (l *Ledger) Add(borrower string, c Carried) {
	if c == (Carried{}) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.books.Borrowers[borrower]
	b.Up += c.Up
	b.Down += c.Down
	l.books.Borrowers[borrower] = b
	l.news = true
}

// Settle begins a new month when it is time, and debits the next block when the
// last is about to be used up. Call it before anything is lent, and then every
// second. After an error nothing is lent beyond what was debited before.
func (l *Ledger) Settle(now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A clock that shows an earlier month is not set yet: nothing is forgotten.
	if since, _ := period.Of(now, l.cfg.ResetDay); since.After(l.books.Since) {
		if l.cfg.Quota > 0 {
			l.meter.Drain() // of the old month
		}
		l.books = books{Since: since, Borrowers: map[string]Carried{}}
		l.news = true
	}
	if l.cfg.Quota > 0 {
		if block := l.blockLocked(); block > 0 {
			l.books.Debited += block
			if err := l.writeLocked(now); err != nil {
				l.books.Debited -= block
				return err
			}
			l.meter.Give(block)
			return nil
		}
	}
	if l.news && now.Sub(l.wrote).Abs() >= writeEvery {
		return l.writeLocked(now)
	}
	return nil
}

// blockLocked is how much to debit now; 0: nothing.
func (l *Ledger) blockLocked() uint64 {
	want := max(min(max(l.cfg.Quota/1000, blockLeast), blockMost), blockLasts*l.meter.Taken())
	left := l.meter.Left()
	if left > want/2 || l.books.Debited >= l.cfg.Quota {
		return 0
	}
	return min(want-left, l.cfg.Quota-l.books.Debited)
}

// Left is what may still be lent this month, bytes; access.Unlimited: no limit.
func (l *Ledger) Left() uint64 {
	if l.cfg.Quota == 0 {
		return access.Unlimited
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cfg.Quota - min(l.cfg.Quota, l.books.Debited) + l.meter.Left()
}

// Month is what was lent in the month of now.
func (l *Ledger) Month(now time.Time) Month {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := Month{Quota: l.cfg.Quota, Borrowers: map[string]Carried{}}
	m.Since, m.Until = period.Of(now, l.cfg.ResetDay)
	if m.Since.After(l.books.Since) {
		return m // nothing yet
	}
	var sum uint64
	for k, c := range l.books.Borrowers {
		m.Borrowers[k] = c
		sum += c.Up + c.Down
	}
	m.Used = sum
	if l.cfg.Quota > 0 {
		m.Used = l.books.Debited - min(l.books.Debited, l.meter.Left())
	}
	return m
}

// Close gives back what was debited and not carried. Nothing may be lent any
// more.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cfg.Quota > 0 {
		if left := l.meter.Drain(); left > 0 {
			l.books.Debited -= min(l.books.Debited, left)
			l.news = true
		}
	}
	if !l.news {
		return nil
	}
	return l.writeLocked(time.Now())
}

func (l *Ledger) writeLocked(now time.Time) error {
	if l.cfg.File != "" {
		data, err := json.MarshalIndent(&l.books, "", "  ")
		if err == nil {
			err = durable.Write(l.cfg.File, append(data, '\n'))
		}
		if err != nil {
			return fmt.Errorf("what was lent this month cannot be kept: %w", err)
		}
	}
	l.news, l.wrote = false, now
	return nil
}
