package relayd

import (
	"net"

	"golang.org/x/sys/windows"
)

// deviceCounters reads a device's counters by the IP helper. They hold whole
// frames; a modem's are taken for Ethernet's, which most pretend to be.
func deviceCounters(device string) (read func() (received, sent uint64, ok bool), header int) {
	return func() (uint64, uint64, bool) {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return 0, 0, false
		}
		row := windows.MibIfRow2{InterfaceIndex: uint32(dev.Index)}
		if err := windows.GetIfEntry2Ex(windows.MibIfEntryNormal, &row); err != nil {
			return 0, 0, false
		}
		return row.InOctets, row.OutOctets, true
	}, 14
}
