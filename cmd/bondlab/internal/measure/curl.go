//go:build linux

package measure

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
)

// Curl downloads URL in a host with the real curl and notes when the bytes
// came out of it. Limit ends the download early, as success; Patience ends it
// as failure.
type Curl struct {
	Host *sandbox.Host
	URL  string
	// Flows are that many downloads of URL at a time, each over a connection of
	// its own; 0: one.
	Flows    int
	Limit    time.Duration // 0: the whole file
	Patience time.Duration
	Wrap     []string // a program that runs curl, with its arguments; nil: none
}

// ErrNoCurl says how to get curl.
var ErrNoCurl = errors.New("curl is not installed: apt-get install curl")

// Run downloads.
func (c Curl) Run() (*Arrivals, error) {
	if _, err := exec.LookPath("curl"); err != nil {
		return nil, ErrNoCurl
	}
	argv := c.command()
	cmd := exec.Command(argv[0], argv[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	start := time.Now()
	if err := c.Host.Start(cmd); err != nil {
		return nil, err
	}
	a := &Arrivals{}
	buf := make([]byte, 64<<10)
	for {
		n, err := out.Read(buf)
		if n > 0 {
			a.Add(time.Since(start), n)
		}
		if err != nil {
			if err != io.EOF {
				return nil, fmt.Errorf("read curl's output: %w", err)
			}
			break
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	timedOut := errors.As(err, &exit) && exit.ExitCode() == 28 // CURLE_OPERATION_TIMEDOUT
	if err != nil && !(timedOut && c.Limit > 0) {
		return a, fmt.Errorf("%s: %w after %d bytes: %s", strings.Join(argv, " "), err, a.Total(), strings.TrimSpace(stderr.String()))
	}
	// curl's own time, without its start; of several flows that of the last.
	for line := range strings.Lines(stderr.String()) {
		if _, rest, ok := strings.Cut(line, "time "); ok {
			if s, err := strconv.ParseFloat(strings.Fields(rest)[0], 64); err == nil {
				a.Took = max(a.Took, time.Duration(s*float64(time.Second)))
			}
		}
	}
	if a.Took == 0 {
		a.Took = time.Since(start)
	}
	return a, nil
}

func (c Curl) command() []string {
	limit := c.Patience
	if c.Limit > 0 {
		limit = c.Limit
	}
	argv := append([]string{}, c.Wrap...)
	argv = append(argv, "curl", "--silent", "--show-error", "--fail", "--no-buffer", "--noproxy", "*",
		"--max-time", strconv.FormatFloat(limit.Seconds(), 'f', 3, 64),
		"--write-out", "%{stderr}time %{time_total} %{errormsg}\n")
	if c.Flows > 1 {
		argv = append(argv, "--parallel", "--parallel-immediate", "--parallel-max", strconv.Itoa(c.Flows))
	}
	for range max(1, c.Flows) {
		argv = append(argv, c.URL)
	}
	return argv
}
