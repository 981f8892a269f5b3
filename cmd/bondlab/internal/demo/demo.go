package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/chart"
)

// patience is how long one download may take: twenty times what the slowest
// should, for machines that have other things to do.
const patience = 3 * time.Minute

// Options say how to run the demo.
type Options struct {
	Runs  int       // downloads each way, at least 1
	Bytes int       // size of the file
	PNG   string    // where to write the chart; empty: nowhere
	Out   io.Writer // where to report
	Live  bool      // Out is a terminal: show progress
}

// Run runs the demo. It needs as long as Runs downloads over one link and
// Runs over two.
func Run(ctx context.Context, opt Options) error {
	if opt.Runs < 1 || opt.Bytes < 1 {
		return fmt.Errorf("demo: %d runs of %d bytes: there must be at least one of each", opt.Runs, opt.Bytes)
	}
	w, err := newWorld(opt.Bytes)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer w.close()

	r := reporter{out: opt.Out, live: opt.Live, world: w, runs: opt.Runs}
	r.intro()
	single, err := w.measure(ctx, &r, "one link", w.startSingle)
	if err != nil {
		return fmt.Errorf("demo: over one link: %w", err)
	}
	bonded, err := w.measure(ctx, &r, "bonded", w.startBonded)
	if err != nil {
		return fmt.Errorf("demo: bonded: %w", err)
	}
	return r.conclude(single, bonded, opt.PNG)
}

// result is how long each of the downloads took, and what came down each of
// the links meanwhile.
type result struct {
	name           string
	took           []time.Duration
	bits           float64 // of the file
	own, neighbour uint64  // bytes of whole packets, all downloads together
}

// rates are the goodput in Mbit/s: the best, the mean and the worst.
func (r *result) rates() (best, mean, worst float64) {
	for i, took := range r.took {
		rate := r.bits / took.Seconds() / 1e6
		mean += rate / float64(len(r.took))
		if i == 0 || rate > best {
			best = rate
		}
		if i == 0 || rate < worst {
			worst = rate
		}
	}
	return best, mean, worst
}

// measure downloads the file several times with a borrower that start starts.
func (w *world) measure(ctx context.Context, r *reporter, name string, start func(context.Context) (*host, func(), error)) (*result, error) {
	borrower, stop, err := start(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	// WireGuard's handshake is no part of a download.
	greeting, err := borrower.stack.Dial(ctx, netip.AddrPortFrom(serverInside, 80))
	if err != nil {
		return nil, fmt.Errorf("the web host: %w", err)
	}
	if err := greeting.Close(); err != nil {
		return nil, fmt.Errorf("the web host: %w", err)
	}
	res := &result{name: name, bits: 8 * float64(len(w.file.content))}
	for run := range r.runs {
		own, neighbour := w.own.received(), w.neighbour.received()
		limited, cancel := context.WithTimeoutCause(ctx, patience,
			fmt.Errorf("not done after %v; is the machine very busy?", patience))
		took, err := w.file.download(limited, borrower, serverInside, r.begin(name, run))
		if err != nil && limited.Err() != nil {
			err = errors.Join(context.Cause(limited), err)
		}
		cancel()
		if err != nil {
			return nil, fmt.Errorf("download %d: %w", run+1, err)
		}
		own, neighbour = w.own.received()-own, w.neighbour.received()-neighbour
		r.end(name, run, took, own, neighbour)
		res.took = append(res.took, took)
		res.own += own
		res.neighbour += neighbour
	}
	return res, nil
}

// columns is the width that the report keeps to.
const columns = 80

// eraseLine takes a terminal to the beginning of an empty line.
const eraseLine = "\r\x1b[K"

// reporter tells a person how it goes.
type reporter struct {
	out   io.Writer
	live  bool
	world *world
	runs  int
}

func (r *reporter) printf(format string, args ...any) { fmt.Fprintf(r.out, format, args...) }

func (r *reporter) intro() {
	r.printf(`
  borrower ════════════ own modem ═════════════ server ── web host
      ╚═ Wi-Fi ═ neighbour's relay ═ its modem ═╝

  Each modem: %.1f Mbit/s down, %.1f up, %d ms round trip. Nothing but these
  links is emulated. %.3g MB by HTTP, %d × over one link, %d × over both:

`, downRate/1e6, upRate/1e6, rtt.Milliseconds(), float64(len(r.world.file.content))/1e6, r.runs, r.runs)
}

// begin returns what is to be called as the bytes of a download come in.
func (r *reporter) begin(name string, run int) func(bytes int) {
	if !r.live {
		return func(int) {}
	}
	began := time.Now()
	shown := began
	total := len(r.world.file.content)
	own, neighbour := r.world.own.received(), r.world.neighbour.received()
	return func(bytes int) {
		now := time.Now()
		since := now.Sub(shown).Seconds()
		if since < 0.2 {
			return
		}
		shown = now
		o, n := r.world.own.received(), r.world.neighbour.received()
		share := float64(bytes) / float64(total)
		r.printf("%s  %-9s %d/%d  %-21s %3.0f %%  now: own %.1f + neighbour's %.1f Mbit/s", eraseLine, name, run+1, r.runs,
			chart.Bar(20*share), 100*share, float64(o-own)*8e-6/since, float64(n-neighbour)*8e-6/since)
		own, neighbour = o, n
	}
}

// end reports one download.
func (r *reporter) end(name string, run int, took time.Duration, own, neighbour uint64) {
	if r.live {
		r.printf("%s", eraseLine)
	}
	r.printf("  %-9s %d/%d  %6.2f s  %5.2f Mbit/s   own modem %.0f %%, neighbour's %.0f %%\n", name, run+1, r.runs,
		took.Seconds(), float64(len(r.world.file.content))*8e-6/took.Seconds(),
		percent(own, own+neighbour), percent(neighbour, own+neighbour))
}

func percent(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

// conclude prints table, chart and verdict, and writes the chart as a PNG.
func (r *reporter) conclude(single, bonded *result, png string) error {
	figure := &chart.Bars{
		Title:  fmt.Sprintf("%.3g MB over one mobile link, and bonded with a neighbour's", single.bits/8e6),
		Unit:   "Mbit/s",
		Series: []string{"max", "mean", "min"},
	}
	r.printf("\n  %-9s  %4s  %8s  %23s\n", "", "", "time", "goodput, Mbit/s")
	r.printf("  %-9s  %4s  %8s  %7s %7s %7s\n", "", "runs", "mean", "max", "mean", "min")
	for _, res := range []*result{single, bonded} {
		best, mean, worst := res.rates()
		var took time.Duration
		for _, t := range res.took {
			took += t
		}
		r.printf("  %-9s  %4d  %6.2f s  %7.2f %7.2f %7.2f\n", res.name, len(res.took),
			took.Seconds()/float64(len(res.took)), best, mean, worst)
		figure.Groups = append(figure.Groups, chart.Group{Name: res.name, Values: []float64{best, mean, worst}})
	}
	r.printf("\n")
	if err := figure.Text(indent{r.out}, columns-2); err != nil {
		return err
	}
	r.printf("\n")
	if png != "" {
		if err := writeTo(png, figure.PNG); err != nil {
			return fmt.Errorf("demo: the chart: %w", err)
		}
		r.printf("  The chart is in %s, too.\n\n", png)
	}
	_, one, _ := single.rates()
	_, both, _ := bonded.rates()
	r.printf("speed-up %.2f\n", both/one)
	return nil
}

// indent writes every line two columns further right.
type indent struct{ io.Writer }

func (i indent) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		if line != "\n" {
			line = "  " + line
		}
		if _, err := io.WriteString(i.Writer, line); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// writeTo creates a file with what write writes.
func writeTo(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}
