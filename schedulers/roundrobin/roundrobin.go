// Package roundrobin gives every path the same number of bytes.
//
// Use it as the yardstick for other schedulers, or on links that are truly
// alike, where it is as good as any. On unlike links it costs nearly all of the
// gain: the bond runs at the number of paths times the rate of the slowest, and
// at its delay (in simulation an inner BBR flow starves).
//
// Source: the teql and bonding (balance-rr) drivers of Linux do the same by
// packets; here it is by bytes, so that small packets do not skew it.
package roundrobin

import (
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/parameters"
	"github.com/wg-bond/wg-bond/schedulers/weighted"
)

// Configure returns what makes the scheduler, which keeps no state and takes no
// parameters.
func Configure(*parameters.Table) func() schedulers.Scheduler { return weighted.Equal }
