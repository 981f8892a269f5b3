package relayd

import "github.com/vishvananda/netlink"

// etherHeader is what Ethernet's counters have beside each IP packet, bytes.
const etherHeader = 14

// deviceCounters reads a device's counters by netlink. What sysfs shows are the
// devices of the network namespace that it was mounted in, which in a container
// or the laboratory may be another than ours.
func deviceCounters(device string) (read func() (received, sent uint64, ok bool), header int) {
	if d, err := netlink.LinkByName(device); err == nil && d.Attrs().EncapType == "ether" {
		header = etherHeader
	}
	return func() (uint64, uint64, bool) {
		d, err := netlink.LinkByName(device)
		if err != nil || d.Attrs().Statistics == nil {
			return 0, 0, false
		}
		return d.Attrs().Statistics.RxBytes, d.Attrs().Statistics.TxBytes, true
	}, header
}
