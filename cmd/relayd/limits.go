package main

import (
	"fmt"
	"path/filepath"
	"runtime"

	"github.com/wg-bond/wg-bond/cmd/internal/conferr"
	"github.com/wg-bond/wg-bond/cmd/internal/conftoml"
	"github.com/wg-bond/wg-bond/cmd/internal/units"
	"github.com/wg-bond/wg-bond/relayd/when"
)

// Files in the state directory.
const (
	ledgerFile = "ledger.json"
	auditFile  = "audit.jsonl"
)

const (
	wantHours   = `times of day, local time, like ["22:00-06:30"]`
	wantDay     = "a day of the month, from 1 to 31"
	wantPercent = "a number from 1 to 99"
)

// limits are the keys that say how much is lent, and when.
func (p *parser) limits() map[string]func(value any, line int) {
	return map[string]func(value any, line int){
		"rate": func(v any, line int) {
			text, _ := v.(string)
			rate, ok := units.ParseRate(text)
			if !ok {
				p.errs.Add(line, "rate", conftoml.Describe(v), units.WantRate)
			}
			p.cfg.Ledger.Rate = uint64(rate)
		},
		"volume": func(v any, line int) {
			text, _ := v.(string)
			volume, ok := units.ParseAmount(text)
			if !ok || volume == 0 {
				p.errs.Add(line, "volume", conftoml.Describe(v), units.WantAmount)
			}
			p.cfg.Ledger.Quota = volume
		},
		"reset-day": func(v any, line int) {
			p.cfg.Ledger.ResetDay = p.number(v, line, "reset-day", 31, wantDay)
		},
		"battery-floor": func(v any, line int) {
			p.cfg.When.BatteryFloor = p.number(v, line, "battery-floor", 99, wantPercent)
		},
		"only-on-mains": func(v any, line int) { p.boolean(&p.cfg.When.OnlyOnMains, v, line, "only-on-mains") },
		"not-on-wifi":   func(v any, line int) { p.boolean(&p.cfg.When.NotOnWiFi, v, line, "not-on-wifi") },
		"hours":         p.hours,
	}
}

// number reads one from 1 to most.
func (p *parser) number(value any, line int, key string, most int64, want string) int {
	n, ok := value.(int64)
	if !ok || n < 1 || n > most {
		p.errs.Add(line, key, conftoml.Describe(value), want)
		return 0
	}
	return int(n)
}

func (p *parser) boolean(into *bool, value any, line int, key string) {
	b, ok := value.(bool)
	if !ok {
		p.errs.Add(line, key, conftoml.Describe(value), wantBool)
	}
	*into = b
}

func (p *parser) hours(value any, line int) {
	list, ok := value.([]any)
	if !ok || len(list) == 0 {
		p.errs.Add(line, "hours", conftoml.Describe(value), wantHours)
		return
	}
	for _, v := range list {
		text, _ := v.(string)
		h, err := when.ParseHours(text)
		if err != nil {
			p.errs.Add(line, "hours", conftoml.Describe(v), wantHours)
			continue
		}
		p.cfg.When.Hours = append(p.cfg.When.Hours, h)
	}
}

// completeLimits notes what of them lacks something.
func (p *parser) completeLimits() {
	if p.cfg.StateDir != "" {
		p.cfg.Ledger.File = filepath.Join(p.cfg.StateDir, ledgerFile)
		p.cfg.AuditFile = filepath.Join(p.cfg.StateDir, auditFile)
	} else if p.cfg.Ledger.Quota > 0 {
		p.errs.Add(p.doc.Line("volume"), "volume", "no state-dir beside it", fmt.Sprintf("state-dir = %s, where the count is kept when relayd or the machine restarts", conferr.Quote(wantState)))
	}
	if _, ok := p.doc.Root["reset-day"]; ok && p.cfg.Ledger.Quota == 0 {
		p.errs.Add(p.doc.Line("reset-day"), "reset-day", "no volume beside it", "volume, which begins anew on that day")
	}
	if runtime.GOOS != "linux" && runtime.GOOS != "android" && (p.cfg.When.NeedPower() || p.cfg.When.NotOnWiFi) {
		p.errs.Add(0, "", "battery-floor, only-on-mains or not-on-wifi on "+runtime.GOOS, "none of them: relayd can tell such things only on Linux and Android")
	}
}
