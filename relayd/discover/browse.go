package discover

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/wg-bond/wg-bond/wgbond/control"
)

const (
	// A Browser asks at once, then less and less often, up to slowest: half the
	// time that a record lives, so one lost answer is not a departure.
	firstAsk = time.Second
	slowest  = time.Minute
	// expireEvery is how often it is looked who has not been heard for long.
	expireEvery = 5 * time.Second
	// maxLenders bounds what is remembered of a link on which anybody may say
	// anything.
	maxLenders = 32
)

// Browse tells, each time something changes, which lenders are in reach on a
// device, sorted by name; until ctx is done. changed is called by one goroutine.
func Browse(ctx context.Context, device string, log *slog.Logger, changed func([]Lender)) {
	var c cache
	keepLink(ctx, device, log, func(l *link, events <-chan struct{}) {
		ask, wait := time.NewTimer(0), firstAsk
		defer ask.Stop()
		over := time.NewTicker(expireEvery)
		defer over.Stop()
		for {
			news := false
			select {
			case <-ctx.Done():
				return
			case <-ask.C:
				q := &dns.Msg{Question: []dns.Question{browseQuestion}}
				if err := l.multicast(q); err != nil {
					log.Debug("looking for lenders", "device", device, "error", err)
				}
				ask.Reset(wait)
				wait = min(slowest, 3*wait)
			case <-over.C:
				news = c.expire(time.Now())
			case <-events:
				if l.stale() {
					return
				}
			case h := <-l.in:
				if !h.msg.Response {
					continue
				}
				news = c.take(time.Now(), parse(h.msg, device))
			}
			if news {
				changed(c.list())
			}
		}
	})
}

// cache is what was heard of lenders on one link.
type cache struct {
	known map[control.Key]entry
}

type entry struct {
	Lender
	until time.Time
}

// take notes what was heard and reports whether anything is new.
func (c *cache) take(now time.Time, found map[Lender]time.Duration) (news bool) {
	if c.known == nil {
		c.known = map[control.Key]entry{}
	}
	for l, life := range found {
		old, had := c.known[l.Key]
		switch {
		case life <= 0:
			delete(c.known, l.Key)
			news = news || had
		case had || len(c.known) < maxLenders:
			c.known[l.Key] = entry{l, now.Add(min(life, time.Hour))}
			news = news || old.Lender != l
		}
	}
	return news
}

func (c *cache) expire(now time.Time) (news bool) {
	for k, e := range c.known {
		if !now.Before(e.until) {
			delete(c.known, k)
			news = true
		}
	}
	return news
}

func (c *cache) list() []Lender {
	out := make([]Lender, 0, len(c.known))
	for _, e := range c.known {
		out = append(out, e.Lender)
	}
	slices.SortFunc(out, func(a, b Lender) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), slices.Compare(a.Key[:], b.Key[:]))
	})
	return out
}
