//go:build unix

package conn

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/plugins/host"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/earliest"
)

// BenchmarkSchedulers is what a datagram costs, there and back over the
// loopback without WireGuard's cryptography, side by side in one run: with the
// built-in scheduler, with the same one as a plugin, and with a plugin that
// hangs. They take turns, and the median turn counts, so that whatever else the
// machine does meets all of them. Neither ratio should be told from 1.
func BenchmarkSchedulers(b *testing.B) {
	hanging := buildPlugin(b, "hang", "../plugins/host/testdata/misbehaving")
	hanging.Limits.Answer = time.Hour // or it would be killed, and made anew
	plugin, hang := launch(b, builtinPlugin(b, "earliest")), launch(b, hanging)
	pairs := []*roundTrip{
		newRoundTrip(b, 2, earliest.New),
		newRoundTrip(b, 2, func() schedulers.Scheduler { return plugin.NewScheduler() }),
		newRoundTrip(b, 2, func() schedulers.Scheduler { return hang.NewScheduler() }),
	}
	batch := newDataBatch(mux.BatchSize, 1452)
	const turn = 64 // batches: some plan periods; an iteration is a turn of each
	spent := make([][]time.Duration, len(pairs))
	round := func() {
		for i, p := range pairs {
			from := time.Now()
			for range turn {
				p.pass(b, batch)
			}
			spent[i] = append(spent[i], time.Since(from))
		}
	}
	for range 5 { // until the paths' rates are known
		round()
	}
	clear(spent)
	for b.Loop() {
		round()
	}
	each := func(i int) float64 {
		slices.Sort(spent[i])
		return float64(spent[i][len(spent[i])/2]) / (turn * mux.BatchSize)
	}
	b.ReportMetric(each(0), "ns/packet")
	b.ReportMetric(each(1)/each(0), "plugin/builtin")
	b.ReportMetric(each(2)/each(0), "hanging/builtin")
	b.ReportMetric(0, "ns/op") // would be of all three
	for _, st := range []host.Status{plugin.Status(), hang.Status()} {
		b.Logf("plans %+v", st.Counts)
	}
}

// BenchmarkPlugin is a plugin at work: each turn is a plan period, 25 ms, with
// 25 datagrams. It tells how long the session waits for a plan, without holding
// up any packet, and which part of a processor the plugin's process takes.
func BenchmarkPlugin(b *testing.B) {
	plugin := launch(b, builtinPlugin(b, "earliest"))
	r := newRoundTrip(b, 2, func() schedulers.Scheduler { return plugin.NewScheduler() })
	batch := newDataBatch(1, 1452)
	before, err := processorTime(plugin.Status().Pid)
	from := time.Now()
	b.ResetTimer()
	for b.Loop() {
		for range 25 {
			r.pass(b, batch)
			time.Sleep(time.Millisecond)
		}
	}
	b.StopTimer()
	st := plugin.Status()
	b.ReportMetric(float64(st.Latency.P50)/1e3, "p50-µs")
	b.ReportMetric(float64(st.Latency.P99)/1e3, "p99-µs")
	if after, err2 := processorTime(st.Pid); err == nil && err2 == nil {
		b.ReportMetric(100*float64(after-before)/float64(time.Since(from)), "cpu-%")
	}
	b.Logf("%d answers, plans %+v", st.Latency.N, st.Counts)
}

func launch(b *testing.B, cfg host.Config) *host.Plugin {
	b.Helper()
	p, err := host.Launch(context.Background(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	return p
}

// processorTime is what all threads of a process have used; Linux only.
func processorTime(pid string) (sum time.Duration, err error) {
	threads, err := filepath.Glob("/proc/" + pid + "/task/*/schedstat")
	if err == nil && len(threads) == 0 {
		err = os.ErrNotExist
	}
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			return 0, err // a thread of Go's does not end
		}
		var ran time.Duration
		if _, err := fmt.Sscan(string(text), &ran); err != nil {
			return 0, err
		}
		sum += ran
	}
	return sum, err
}
