package units

import "testing"

func TestRates(t *testing.T) {
	for _, c := range []struct {
		text string
		want float64 // 0: an error
	}{
		{"3.6 Mbit/s", 450e3},
		{"8bit/s", 1},
		{"1 kbit/s", 125},
		{"1Gbit/s", 125e6},
		{"1 B/s", 1},
		{"450 kB/s", 450e3},
		{" 2 mB/s ", 2e6},
		{"1 GB/s", 1e9},
		{"0 Mbit/s", 0},
		{"-1 Mbit/s", 0},
		{"1 bit/s", 0}, // less than a byte a second
		{"9999999 GB/s", 0},
		{"3.6 Mbps", 0},
		{"3.6 Mb/s", 0},
		{"3.6", 0},
		{"1e3 B/s", 0},
		{"", 0},
	} {
		got, ok := ParseRate(c.text)
		if ok != (c.want != 0) || ok && got != c.want {
			t.Errorf("ParseRate(%q) = %v, %v", c.text, got, ok)
		}
	}
}

func TestAmounts(t *testing.T) {
	for _, c := range []struct {
		text string
		want uint64
	}{
		{"2 GB", 2e9}, {"500MB", 5e8}, {"1.5 kB", 1500}, {"1 TB", 1e12},
		{"5", 0}, {"5 B", 0}, {"5 GiB", 0}, {"-5 GB", 0}, {"2000 TB", 0}, {"", 0},
	} {
		got, ok := ParseAmount(c.text)
		if ok != (c.want != 0) || ok && got != c.want {
			t.Errorf("ParseAmount(%q) = %v, %v", c.text, got, ok)
		}
	}
}
