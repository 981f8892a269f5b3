package when

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestRules(t *testing.T) {
	night, err := ParseHours("22:00-06:30")
	if err != nil {
		t.Fatal(err)
	}
	noon := Hours{12 * time.Hour, 13 * time.Hour}
	mains, full, low := Power{Battery: -1}, Power{Battery: 90, OnBattery: true}, Power{Battery: 19, OnBattery: true}
	for _, c := range []struct {
		name  string
		rules Rules
		clock string
		power Power
		lends bool
	}{
		{"always", Rules{}, "03:00:00", low, true},
		{"begin", Rules{Hours: []Hours{night}}, "22:00:00", mains, true},
		{"after midnight", Rules{Hours: []Hours{night}}, "06:29:59", mains, true},
		{"end", Rules{Hours: []Hours{night}}, "06:30:00", mains, false},
		{"day", Rules{Hours: []Hours{night}}, "12:30:00", mains, false},
		{"one of two", Rules{Hours: []Hours{night, noon}}, "12:30:00", mains, true},
		{"mains", Rules{OnlyOnMains: true}, "12:30:00", mains, true},
		{"not mains", Rules{OnlyOnMains: true}, "12:30:00", full, false},
		{"full battery", Rules{BatteryFloor: 20}, "12:30:00", full, true},
		{"low battery", Rules{BatteryFloor: 20}, "12:30:00", low, false},
		{"low battery, charging", Rules{BatteryFloor: 20}, "12:30:00", Power{Battery: 19}, true},
		{"battery that says nothing", Rules{BatteryFloor: 20}, "12:30:00", Power{Battery: -1, OnBattery: true}, true},
	} {
		now, err := time.Parse("2006-01-02 15:04:05", "2026-11-22 "+c.clock)
		if err != nil {
			t.Fatal(err)
		}
		if why := c.rules.Refuses(now, c.power); (why == "") != c.lends {
			t.Errorf("%s: %q", c.name, why)
		}
	}
}

func TestParseHours(t *testing.T) {
	for _, text := range []string{"", "22:00", "22-06", "22:00-25:00", "22:60-23:00", "08:00-08:00", "-1:00-08:00", "08:00-09:00x"} {
		if h, err := ParseHours(text); err == nil {
			t.Errorf("%q is taken for %v", text, h)
		}
	}
	for text, want := range map[string]string{"22:00-06:30": "22:00-06:30", "0:00-24:00": "00:00-24:00", "9:05 - 17:00": "09:05-17:00"} {
		if h, err := ParseHours(text); err != nil || h.String() != want {
			t.Errorf("%q: %v, %v", text, h, err)
		}
	}
}

func TestSys(t *testing.T) {
	root := t.TempDir()
	write := func(file, text string) {
		t.Helper()
		file = filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sys := Sys{root}
	want := func(want Power) {
		t.Helper()
		if got, err := sys.Power(); err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	want(Power{Battery: -1}) // a machine without any
	const supply = "class/power_supply/"
	write(supply+"hidpp_battery_0/type", "Battery")
	write(supply+"hidpp_battery_0/scope", "Device")
	write(supply+"hidpp_battery_0/status", "Discharging")
	want(Power{Battery: -1}) // a mouse has one
	write(supply+"BAT0/type", "Battery")
	write(supply+"BAT0/capacity", "57")
	write(supply+"BAT0/status", "Discharging")
	write(supply+"AC/type", "Mains")
	write(supply+"AC/online", "0")
	want(Power{Battery: 57, OnBattery: true})
	write(supply+"AC/online", "1")
	want(Power{Battery: 57})
	write(supply+"AC/online", "0")
	write(supply+"usb/type", "USB_PD")
	write(supply+"usb/online", "1")
	want(Power{Battery: 57})

	write("class/net/wwan0/address", "")
	write("class/net/wlan0/phy80211/name", "phy0")
	if sys.IsWiFi("wwan0") || !sys.IsWiFi("wlan0") || sys.IsWiFi("none") {
		t.Error("wlan0 alone is Wi-Fi")
	}
}
