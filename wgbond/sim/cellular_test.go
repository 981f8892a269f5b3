package sim

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestCellular(t *testing.T) {
	cfg := Cellular{
		Rate: 10e6, Spread: 0.5, Turn: time.Second, Grant: 4 * time.Millisecond,
		Every: 5 * time.Second, Lasts: 200 * time.Millisecond, Period: 10 * time.Minute, Seed: 1,
	}
	draw := func(cfg Cellular) *Trace {
		tr, err := cfg.Trace()
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	tr := draw(cfg)
	if !reflect.DeepEqual(tr, draw(cfg)) {
		t.Error("the same seed draws another link")
	}
	if tr.Period() != cfg.Period {
		t.Errorf("period %v", tr.Period())
	}
	// 200 ms in 5.2 s are outages.
	if want := 10e6 * 5 / 5.2; tr.Rate() < 0.93*want || tr.Rate() > 1.07*want {
		t.Errorf("%.2f Mbit/s in the mean, want about %.2f", tr.Rate()/1e6, want/1e6)
	}
	outages := 0
	for i := 1; i < len(tr.at); i++ {
		if tr.at[i] < tr.at[i-1] {
			t.Fatalf("time falls at %d", i)
		}
		if tr.at[i]-tr.at[i-1] > 100*time.Millisecond {
			outages++
		}
	}
	// 115 outages, of which e^-½ last longer than that.
	if outages < 45 || outages > 95 {
		t.Errorf("%d gaps above 100 ms, want about 70", outages)
	}
	cfg.Seed++
	if reflect.DeepEqual(tr, draw(cfg)) {
		t.Error("another seed draws the same link")
	}
	for _, c := range []struct {
		change func(*Cellular)
		want   string
	}{
		{func(c *Cellular) { c.Rate = 0 }, "Rate 0 bit/s"},
		{func(c *Cellular) { c.Spread = 4 }, "Spread 4"},
		{func(c *Cellular) { c.Turn = 0 }, "Turn 0s"},
		{func(c *Cellular) { c.Lasts = -1 }, "Lasts -1ns"},
		{func(c *Cellular) { c.Period = 1 }, "Period 1ns"},
	} {
		bad := cfg
		c.change(&bad)
		if _, err := bad.Trace(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want something of %q", err, c.want)
		}
	}
}
