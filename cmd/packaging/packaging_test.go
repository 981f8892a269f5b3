// Package packaging tests the Debian packages and what is in them.
package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// tolerance is by how much another version of systemd may judge a unit worse
// than the one whose figures the docs state.
const tolerance = .5

// TestUnits: systemd understands every line of the units, and judges them as
// docs/packages.md says.
func TestUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("this test needs systemd-analyze")
	}
	docs, err := os.ReadFile("../../docs/packages.md")
	if err != nil {
		t.Fatal(err)
	}
	units, err := filepath.Glob("*.service")
	if err != nil || len(units) != 3 {
		t.Fatalf("%q, %v", units, err)
	}
	for _, unit := range units {
		out, _ := exec.Command("systemd-analyze", "--man=no", "verify", "./"+unit).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			// The program is not installed here.
			if strings.Contains(line, unit[:7]) && !strings.Contains(line, "is not executable") {
				t.Errorf("%s: %s", unit, line)
			}
		}
		out, err := exec.Command("systemd-analyze", "--offline=yes", "security", "--no-pager", "./"+unit).CombinedOutput()
		figure := regexp.MustCompile(`Overall exposure level for \S+ ([0-9.]+)`).FindSubmatch(out)
		if figure == nil {
			t.Fatalf("%s: %v\n%s", unit, err, out)
		}
		stated := regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(unit) + "` \\| ([0-9.]+) \\|").FindSubmatch(docs)
		if stated == nil {
			t.Errorf("docs/packages.md states no figure for %s; it is %s", unit, figure[1])
			continue
		}
		is, err1 := strconv.ParseFloat(string(figure[1]), 64)
		says, err2 := strconv.ParseFloat(string(stated[1]), 64)
		if err1 != nil || err2 != nil || is > says+tolerance {
			t.Errorf("%s: exposure %v, docs/packages.md says %v", unit, is, says)
		}
	}
}
