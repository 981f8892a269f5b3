// Package when decides whether this is a time to lend: by the hour, and by what
// feeds the machine and joins it to the net.
package when

import (
	"fmt"
	"strings"
	"time"
)

// Rules say when to lend. The zero value is always.
type Rules struct {
	Hours        []Hours // any of them; empty: at any hour
	BatteryFloor int     // percent that must be left on battery; 0: whatever
	OnlyOnMains  bool    // not on battery
	NotOnWiFi    bool    // not by a Wi-Fi device, whose link is somebody else's
}

// Hours are a time of each day, local time, from one since midnight to another,
// which is on the next day if it is not later.
type Hours struct{ From, To time.Duration }

// ParseHours reads "22:00-06:30".
func ParseHours(text string) (Hours, error) {
	from, to, ok := strings.Cut(text, "-")
	h := Hours{}
	for _, part := range []struct {
		text string
		into *time.Duration
	}{{from, &h.From}, {to, &h.To}} {
		var hour, minute int
		n, err := fmt.Sscanf(strings.TrimSpace(part.text)+"\n", "%d:%02d\n", &hour, &minute)
		*part.into = time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute
		ok = ok && err == nil && n == 2 && hour >= 0 && minute >= 0 && minute < 60 && *part.into <= 24*time.Hour
	}
	if !ok || h.From == h.To {
		return Hours{}, fmt.Errorf("%q is no time of day: want from and to, like \"22:00-06:30\"", text)
	}
	return h, nil
}

func (h Hours) String() string {
	clock := func(d time.Duration) string { return fmt.Sprintf("%02d:%02d", d/time.Hour, d%time.Hour/time.Minute) }
	return clock(h.From) + "-" + clock(h.To)
}

// has reports whether a time is within the hours.
func (h Hours) has(now time.Time) bool {
	at := time.Duration(now.Hour())*time.Hour + time.Duration(now.Minute())*time.Minute + time.Duration(now.Second())*time.Second
	if h.From < h.To {
		return h.From <= at && at < h.To
	}
	return at >= h.From || at < h.To
}

// Power is what feeds the machine.
type Power struct {
	Battery   int  // percent that is left; negative: there is none
	OnBattery bool // and nothing else feeds it
}

// NeedPower reports whether the rules go by what feeds the machine.
func (r *Rules) NeedPower() bool { return r.BatteryFloor > 0 || r.OnlyOnMains }

// Refuses says why nothing is lent now; empty if it is.
func (r *Rules) Refuses(now time.Time, p Power) string {
	if len(r.Hours) > 0 {
		open := false
		var all []string
		for _, h := range r.Hours {
			open = open || h.has(now)
			all = append(all, h.String())
		}
		if !open {
			return "it is lent only from " + strings.Join(all, " and ")
		}
	}
	switch {
	case r.OnlyOnMains && p.OnBattery:
		return "the lender runs on its battery"
	case r.BatteryFloor > 0 && p.OnBattery && p.Battery >= 0 && p.Battery < r.BatteryFloor:
		return "the lender's battery is low"
	}
	return ""
}
