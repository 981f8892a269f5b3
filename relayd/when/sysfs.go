package when

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Sys reads what feeds a machine, and what its devices are, from Linux's sysfs.
// Root is where that is, for tests; empty: /sys.
type Sys struct{ Root string }

func (s Sys) path(parts ...string) string {
	root := s.Root
	if root == "" {
		root = "/sys"
	}
	return filepath.Join(append([]string{root}, parts...)...)
}

// Power reads /sys/class/power_supply. A machine that says nothing of its
// supply has one that does not run out.
func (s Sys) Power() (Power, error) {
	p := Power{Battery: -1}
	dir := s.path("class/power_supply")
	supplies, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	mains, discharging := false, false
	for _, supply := range supplies {
		read := func(file string) string {
			b, err := os.ReadFile(filepath.Join(dir, supply.Name(), file))
			if err != nil {
				return "" // not every supply has every file
			}
			return strings.TrimSpace(string(b))
		}
		if read("scope") == "Device" {
			continue // a mouse's
		}
		switch kind := read("type"); {
		case kind == "Battery":
			if n, err := strconv.Atoi(read("capacity")); err == nil {
				p.Battery = max(p.Battery, n)
			}
			discharging = discharging || read("status") == "Discharging"
		case kind == "Mains" || strings.HasPrefix(kind, "USB") || kind == "Wireless":
			mains = mains || read("online") == "1"
		}
	}
	p.OnBattery = discharging && !mains
	return p, nil
}

// IsWiFi reports whether a device is a Wi-Fi device.
func (s Sys) IsWiFi(device string) bool {
	for _, sign := range []string{"wireless", "phy80211"} {
		if _, err := os.Stat(s.path("class/net", path.Base(device), sign)); err == nil {
			return true
		}
	}
	return false
}
