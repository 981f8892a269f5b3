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
	Host     *sandbox.Host
	URL      string
	Limit    time.Duration // 0: the whole file
	Patience time.Duration
}

// ErrNoCurl says how to get curl.
var ErrNoCurl = errors.New("curl is not installed: apt-get install curl")

// Run downloads.
func (c Curl) Run() (*Arrivals, error) {
	path, err := exec.LookPath("curl")
	if err != nil {
		return nil, ErrNoCurl
	}
	limit := c.Patience
	if c.Limit > 0 {
		limit = c.Limit
	}
	cmd := exec.Command(path, "--silent", "--show-error", "--fail", "--no-buffer", "--noproxy", "*",
		"--max-time", strconv.FormatFloat(limit.Seconds(), 'f', 3, 64),
		"--write-out", "%{stderr}time %{time_total} %{errormsg}\n", c.URL)
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
		return a, fmt.Errorf("curl %s: %w after %d bytes: %s", c.URL, err, a.Total(), strings.TrimSpace(stderr.String()))
	}
	a.Took = time.Since(start)
	if _, rest, ok := strings.Cut(stderr.String(), "time "); ok {
		if s, err := strconv.ParseFloat(strings.Fields(rest)[0], 64); err == nil {
			a.Took = time.Duration(s * float64(time.Second)) // curl's own, without its start
		}
	}
	return a, nil
}
