package relayd

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// etherHeader is what Ethernet's counters have beside each IP packet, bytes.
const etherHeader = 14

// deviceCounters reads a device's counters from sysfs.
func deviceCounters(device string) (read func() (received, sent uint64, ok bool), header int) {
	dir := filepath.Join("/sys/class/net", device)
	if kind, _ := os.ReadFile(filepath.Join(dir, "type")); string(bytes.TrimSpace(kind)) == "1" { // ARPHRD_ETHER
		header = etherHeader
	}
	return func() (uint64, uint64, bool) {
		received, err1 := readCounter(filepath.Join(dir, "statistics/rx_bytes"))
		sent, err2 := readCounter(filepath.Join(dir, "statistics/tx_bytes"))
		return received, sent, err1 == nil && err2 == nil
	}, header
}

func readCounter(file string) (uint64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(bytes.TrimSpace(data)), 10, 64)
}
