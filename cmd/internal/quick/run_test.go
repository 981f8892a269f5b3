package quick

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeMachine notes what it is told and fails at one step or undo.
type fakeMachine struct {
	log         []string
	failStep    int    // counted from 1; 0: none
	failUndo    string // what Undo fails at
	steps       int
	journalPath string
	journals    []int // entries in the file during each step
}

func (m *fakeMachine) Foresee(step Step) (Undo, error) {
	switch s := step.(type) {
	case CreateLink:
		return Undo{Link: s.Device}, nil
	case AddRule:
		s.Rule.Priority = 999 - m.steps
		return Undo{Rule: &s.Rule}, nil
	case SetDNS:
		return Undo{DNS: s.Entry}, nil
	case SetSysctl:
		return Undo{Sysctl: &SetSysctl{s.Name, "0"}}, nil
	case Guard:
		table := s.table()
		return Undo{Nft: &table}, nil
	}
	return Undo{}, nil
}

func (m *fakeMachine) Do(_ context.Context, step Step, _ Undo) error {
	m.steps++
	if m.journalPath != "" {
		j, err := OpenJournal(m.journalPath)
		if err != nil {
			return err
		}
		m.journals = append(m.journals, len(j.Undos))
	}
	m.log = append(m.log, "do "+step.String())
	if m.steps == m.failStep {
		return errors.New("no")
	}
	return nil
}

func (m *fakeMachine) Undo(u Undo) error {
	text := "undo "
	switch {
	case u.Link != "":
		text += "link " + u.Link
	case u.Rule != nil:
		text += fmt.Sprintf("rule %d", u.Rule.Priority)
	case u.DNS != "":
		text += "dns " + u.DNS
	case u.Sysctl != nil:
		text += "sysctl " + u.Sysctl.Value
	case u.Nft != nil:
		text += "nft " + u.Nft.Name
	}
	m.log = append(m.log, text)
	if text == m.failUndo {
		return errors.New("stuck")
	}
	return nil
}

func planForTests(t *testing.T) *Plan {
	t.Helper()
	plan, err := Make("wg0", parse(t, "[Interface]\nDNS = 9.9.9.9\n"+peer(keyA, "0.0.0.0/0")+""), Facts{FreeTable: 51820, Resolvconf: "resolvconf"})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// undos are those of planForTests, in the order in which they are undone.
var undos = []struct {
	step int // that they undo
	text string
}{{10, "undo nft wg-quick-wg0"}, {9, "undo sysctl 0"}, {8, "undo rule 992"}, {7, "undo rule 993"}, {4, "undo dns wg0"}, {1, "undo link wg0"}}

// TestAnyStepMayFail: whatever step fails, it and all before it is undone, the
// last first, and nothing else.
func TestAnyStepMayFail(t *testing.T) {
	plan := planForTests(t)
	for fail := 1; fail <= len(plan.Steps); fail++ {
		j := &Journal{Path: filepath.Join(t.TempDir(), "j")}
		m := &fakeMachine{failStep: fail}
		err := Up(context.Background(), m, plan, j, func(Step) {})
		var failed *StepError
		if !errors.As(err, &failed) || failed.Step.String() != plan.Steps[fail-1].String() {
			t.Errorf("step %d: error %v", fail, err)
		}
		var want []string
		for _, u := range undos {
			if u.step <= fail {
				want = append(want, u.text)
			}
		}
		if diff := cmp.Diff(want, m.log[fail:]); len(want)+len(m.log[fail:]) > 0 && diff != "" {
			t.Errorf("step %d: %s", fail, diff)
		}
		if _, err := os.Stat(j.Path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("step %d: a journal is left: %v", fail, err)
		}
	}
}

// TestJournal: during each step it has what it takes to undo that one and those
// before, so a crash at any moment can be cleaned up.
func TestJournal(t *testing.T) {
	plan := planForTests(t)
	path := filepath.Join(t.TempDir(), "run", "j")
	m := &fakeMachine{journalPath: path}
	if err := Up(context.Background(), m, plan, &Journal{Path: path}, func(Step) {}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{1, 1, 1, 2, 2, 2, 3, 4, 5, 6}, m.journals); diff != "" {
		t.Errorf("entries during each step: %s", diff)
	}
	// Another program reads it later.
	j, err := OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	later := &fakeMachine{}
	if err := Clean(later, j); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"undo nft wg-quick-wg0", "undo rule 992", "undo rule 993", "undo dns wg0", "undo link wg0"}, later.log); diff != "" {
		t.Errorf("(the kernel parameter stays after success) %s", diff)
	}
	if j, err := OpenJournal(path); err != nil || len(j.Undos) != 0 {
		t.Errorf("after Clean: %+v, %v", j, err)
	}
}

func TestUndoThatFailsIsToldAndHindersNoOther(t *testing.T) {
	m := &fakeMachine{failStep: 9, failUndo: "undo rule 993"}
	err := Up(context.Background(), m, planForTests(t), &Journal{}, func(Step) {})
	want := "no\nand this could not be undone: stuck\n(at the step: sysctl -q net.ipv4.conf.all.src_valid_mark=1)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if last := m.log[len(m.log)-1]; last != "undo link wg0" {
		t.Errorf("the last thing done: %s", last)
	}
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	m := &fakeMachine{}
	err := Up(ctx, m, planForTests(t), &Journal{}, func(Step) {
		if m.steps == 4 {
			cancel() // while the fifth step is done
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := strings.Join(m.log[5:], ", "); got != "undo dns wg0, undo link wg0" {
		t.Errorf("after the interrupt: %s", got)
	}
}

func TestBrokenJournalTeaches(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := path + ": unexpected end of JSON input; it lists what an earlier up changed: undo that by hand, then delete it"
	if _, err := OpenJournal(path); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestLocate(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"wg0.conf", "a-name-too-long-for-it.conf", "wg 0.conf", "other.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("wg0.conf", filepath.Join(dir, "link.conf")); err != nil {
		t.Fatal(err)
	}
	const rule = "; want a file NAME.conf, where NAME has 1 to 15 letters, digits and _ = + . -"
	for _, c := range []struct{ arg, name, path, err string }{
		{dir + "/wg0.conf", "wg0", dir + "/wg0.conf", ""},
		{dir + "/link.conf", "link", dir + "/wg0.conf", ""},
		{dir + "/a-name-too-long-for-it.conf", "", "", fmt.Sprintf("%q names no interface: found %q", dir+"/a-name-too-long-for-it.conf", "a-name-too-long-for-it.conf") + rule},
		{dir + "/wg 0.conf", "", "", fmt.Sprintf("%q names no interface: found %q", dir+"/wg 0.conf", "wg 0.conf") + rule},
		{dir + "/other.txt", "", "", fmt.Sprintf("%q names no interface: found %q", dir+"/other.txt", "other.txt") + rule},
		{"wgbt-nothing", "", "", "there is no /etc/wireguard/wgbt-nothing.conf; want the name of an interface with a file in /etc/wireguard, or the path of a file NAME.conf"},
		{dir + "/wg1.conf", "", "", "there is no " + dir + "/wg1.conf; want the name of an interface with a file in /etc/wireguard, or the path of a file NAME.conf"},
	} {
		if _, err := os.Stat("/etc/wireguard/."); errors.Is(err, os.ErrPermission) && !strings.Contains(c.arg, "/") {
			continue // what is there is not for us to know
		}
		name, path, err := Locate(c.arg)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if name != c.name || path != c.path || text != c.err {
			t.Errorf("Locate(%q) = %q, %q, %v", c.arg, name, path, err)
		}
	}
	t.Chdir(dir)
	if name, path, err := Locate("wg0.conf"); name != "wg0" || path != dir+"/wg0.conf" || err != nil {
		t.Errorf("a file in the working directory: %q, %q, %v", name, path, err)
	}
}

func TestWorldReadable(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "wg0.conf")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dir, file os.FileMode
		want      bool
	}{{0o755, 0o644, true}, {0o700, 0o644, false}, {0o755, 0o600, false}, {0o755, 0o640, false}} {
		if err := errors.Join(os.Chmod(dir, c.dir), os.Chmod(path, c.file)); err != nil {
			t.Fatal(err)
		}
		if got := WorldReadable(path); got != c.want {
			t.Errorf("directory %o, file %o: %v", c.dir, c.file, got)
		}
	}
}
