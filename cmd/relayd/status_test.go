//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/relayd"
	"github.com/wg-bond/wg-bond/relayd/ledger"
)

func TestPrintReport(t *testing.T) {
	now := time.Date(2026, 11, 22, 13, 0, 0, 0, time.Local)
	little := uint64(62_500)
	r := relayd.Report{
		Device: "wwan0", Rate: 1e6,
		Month: relayd.MonthReport{Since: now.AddDate(0, 0, -7), Until: now.AddDate(0, 0, 23), Used: 3_000_000_000, Quota: 20e9,
			Borrowers: map[string]ledger.Carried{public: {Up: 1_000_000, Down: 900_000_000}, other: {Up: 2_000_000, Down: 1_997_000_000}}},
		Leases: []relayd.LeaseReport{{Borrower: other, Kind: "listed", Address: netip.MustParseAddrPort("10.9.0.1:40000"),
			Target: netip.MustParseAddrPort("203.0.113.2:51820"), Since: now.Add(-90 * time.Second), Up: 5000, Down: 7_000_000,
			DownRate: 125_000, DownSpare: &little}},
	}
	r.Stats.Drops[relayd.DropNoLease] = 3
	var out strings.Builder
	if err := printReport(&out, &r, now); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"lending, device: wwan0", "of ", "until 2026-12-15", "at most ", short(other), "listed", "203.0.113.2:51820",
		"all", "lost in a crash", "no-lease  ", "3"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if a, b := strings.LastIndex(out.String(), short(other)), strings.Index(out.String(), short(public)); a > b {
		t.Errorf("who had most does not come first:\n%s", out.String())
	}
	r.Shut = "the lender has paused"
	out.Reset()
	if err := printReport(&out, &r, now); err != nil || !strings.HasPrefix(out.String(), "lends nothing: the lender has paused") {
		t.Errorf("%v, %s", err, out.String())
	}
}

// TestStatusPauseResume: the commands reach the relayd that runs.
func TestStatusPauseResume(t *testing.T) {
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "s"), filepath.Join(dir, "relayd.toml")
	text := fmt.Sprintf("listen = \"%s\"\nprivate-key = %q\ncontrol = %q\nstate-dir = %q\nuser = \"root\"\nvolume = \"1 GB\"\n", loopback(), private, socket, dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, nil, "--config", file)
	ask := func(args ...string) string {
		t.Helper()
		out, errs, err := run(t, "", append(args, "--control", socket)...)
		if err != nil {
			t.Fatalf("%v: %v, %s; the relayd says %s", args, err, errs, p.text())
		}
		return out
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if _, _, err := run(t, "", "status", "--control", socket); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("it does not answer: %s", p.text())
		}
	}
	report := func() (r relayd.Report) {
		t.Helper()
		if err := json.Unmarshal([]byte(ask("status", "--json")), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := report(); r.Shut != "" || r.Month.Quota != 1e9 || r.Leases == nil {
		t.Errorf("%+v", r)
	}
	ask("pause")
	if r := report(); !r.Paused || r.Shut == "" {
		t.Errorf("paused: %+v", r)
	}
	ask("resume")
	if r := report(); r.Paused || r.Shut != "" {
		t.Errorf("resumed: %+v", r)
	}
	audit, err := os.ReadFile(filepath.Join(dir, auditFile))
	if err != nil || strings.Count(string(audit), `"msg":"paused"`) != 2 {
		t.Errorf("the audit log is %q, %v", audit, err)
	}
	if _, errs, err := run(t, "", "status", "--control", filepath.Join(dir, "none")); err == nil || !strings.Contains(errs, "no relayd answers") {
		t.Errorf("without a relayd: %v, %s", err, errs)
	}
}
