package clidoc

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// grammar has one of everything that the generators know.
type grammar struct {
	Version kong.VersionFlag `help:"It's the version: print [it]."`
	Up      struct {
		Name  string `arg:"" complete:"interface" help:"Which."`
		Trace string `short:"t" type:"path" placeholder:"FILE" help:"Where to."`
		Quiet bool   `short:"q" help:"Say nothing."`
	} `cmd:"" help:"Bring up."`
	Scheduler struct {
		Use struct {
			Name  string   `arg:"" enum:"minrtt,earliest" help:"Which one."`
			Among []string `placeholder:"NAME" help:"Of these."`
		} `cmd:"" help:"Change it."`
		List struct{} `cmd:"" help:"List them."`
	} `cmd:"" help:"About schedulers."`
	Secret struct{} `cmd:"" hidden:"" help:"Not told."`
}

func model(t *testing.T) *kong.Application {
	t.Helper()
	parser, err := kong.New(new(grammar), kong.Name("wg-test"), kong.Vars{"version": "1"},
		kong.Description("Tests things.\n\nA paragraph.\n.dotted 'line'\n\n  kept  as\n\n    it is\n\nThe end."))
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model
}

// script writes the script for shell; configurations are in a directory of the
// test's.
func script(t *testing.T, shell string) (file, text string) {
	t.Helper()
	path, err := exec.LookPath(shell)
	if err != nil {
		t.Skipf("this test needs %s", shell)
	}
	var b strings.Builder
	if err := Completion(&b, model(t), shell); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"wg0.conf", "wg1.conf", "wg0.bond.toml"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file = filepath.Join(dir, "script")
	text = strings.ReplaceAll(b.String(), interfaces, dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path, "-n", file).CombinedOutput(); err != nil {
		t.Fatalf("%s -n: %v\n%s", shell, err, out)
	}
	return file, text
}

// lines are what is typed, up to the cursor, and what may follow.
var lines = []struct {
	typed string
	want  []string
}{
	{"wg-test ", []string{"scheduler", "up"}},
	{"wg-test s", []string{"scheduler"}},
	{"wg-test --v", []string{"--version"}},
	{"wg-test up ", []string{"wg0", "wg1"}},
	{"wg-test up -q wg1", []string{"wg1"}},
	{"wg-test up --t", []string{"--trace"}},
	{"wg-test up --trace /tmp/x ", []string{"wg0", "wg1"}},
	{"wg-test up -t /tmp/x ", []string{"wg0", "wg1"}},
	{"wg-test scheduler ", []string{"list", "use"}},
	{"wg-test scheduler use ", []string{"earliest", "minrtt"}},
	{"wg-test scheduler use --among x e", []string{"earliest"}},
}

// sensible takes away what belongs nowhere but may be offered everywhere.
func sensible(out string) []string {
	var all []string
	for line := range strings.Lines(out) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if word = strings.TrimSuffix(word, "="); word != "" && word != "--help" && word != "-h" {
			all = append(all, word)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestBash(t *testing.T) {
	file, _ := script(t, "bash")
	ask := func(typed string) []string {
		// As readline does: "=" is a word of its own.
		words := strings.Fields(strings.ReplaceAll(typed, "=", " = "))
		if strings.HasSuffix(typed, " ") {
			words = append(words, "")
		}
		cmd := exec.Command("bash", append([]string{"--norc", "-c", `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _wg_test; printf '%s\n' "${COMPREPLY[@]}"`, "bash", file}, words...)...)
		cmd.Dir = t.TempDir()
		if err := os.WriteFile(filepath.Join(cmd.Dir, "trace.out"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", typed, err, out)
		}
		all := sensible(string(out))
		if !strings.Contains(words[len(words)-1], "-") { // bash offers flags and others together
			all = slices.DeleteFunc(all, func(w string) bool { return strings.HasPrefix(w, "--") })
		}
		return all
	}
	for _, c := range append(slices.Clone(lines), struct {
		typed string
		want  []string
	}{"wg-test up --trace=tr", []string{"trace.out"}}) {
		if got := ask(c.typed); !slices.Equal(got, c.want) {
			t.Errorf("after %q: %q, want %q", c.typed, got, c.want)
		}
	}
}

func TestFish(t *testing.T) {
	file, _ := script(t, "fish")
	for _, c := range lines {
		cmd := exec.Command("fish", "--no-config", "-c", `source $argv[1]; complete -C $argv[2]`, file, c.typed)
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", c.typed, err, out)
		}
		got := slices.DeleteFunc(sensible(string(out)), func(w string) bool {
			return strings.HasPrefix(w, "-") && !strings.Contains(c.typed, " --v") && !strings.Contains(c.typed, " --t")
		})
		if !slices.Equal(got, c.want) {
			t.Errorf("after %q: %q, want %q", c.typed, got, c.want)
		}
	}
}

// TestZsh: zsh takes the functions, and _arguments is told of everything.
func TestZsh(t *testing.T) {
	file, _ := script(t, "zsh")
	ask := func(function string) string {
		out, err := exec.Command("zsh", "-f", "-c", `compdef() { print "compdef $*" }; _arguments() { print -rl -- "$@" }; source $1; $2`, "zsh", file, function).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", function, err, out)
		}
		return string(out)
	}
	for function, want := range map[string]string{
		"_wg_test":               "compdef _wg_test wg-test\n-C\n--version[It's the version\\: print \\[it\\].]\n--help[show help]\n1: :->command\n*:: :->rest\n",
		"_wg_test_up":            "compdef _wg_test wg-test\n-C\n--trace=[Where to.]:FILE:_files\n-t[Where to.]:FILE:_files\n--quiet[Say nothing.]\n-q[Say nothing.]\n--help[show help]\n1:name:_wg_test_interfaces\n",
		"_wg_test_scheduler_use": "compdef _wg_test wg-test\n-C\n--among=[Of these.]:NAME,...: \n--help[show help]\n1:name:(minrtt earliest)\n",
	} {
		if got := ask(function); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", function, got, want)
		}
	}
}

func TestUnknownShell(t *testing.T) {
	if err := Completion(new(strings.Builder), model(t), "csh"); err == nil || !strings.Contains(err.Error(), "want bash, zsh or fish") {
		t.Error(err)
	}
}

// TestMan: the page has everything, nothing hidden, and mandoc has nothing to
// say against it but that it is not dated.
func TestMan(t *testing.T) {
	var b strings.Builder
	page := &Page{Section: 8, Version: "1.2", Sections: []Section{{"FILES", "`these'"}}}
	if err := page.Write(&b, model(t)); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{
		".TH WG-TEST 8 \"\" \"1.2\"\n", "wg\\-test \\- tests things\n", "\\fBwg\\-test up\\fR [\\fB\\-\\-trace\\fR=\\fIFILE\\fR] [\\fB\\-\\-quiet\\fR] \\fINAME\\fR\n",
		".SH DESCRIPTION\nA paragraph.\n\\&.dotted \\(aqline\\(aq\n.PP\n.nf\n  kept  as\n\n    it is\n.fi\n.PP\nThe end.\n",
		"\\fB\\-t\\fR, \\fB\\-\\-trace\\fR=\\fIFILE\\fR\nWhere to.\n", ".SS scheduler use\nChange it.\n", ".SH FILES\n\\(gathese\\(aq\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "ecret") {
		t.Error("it tells what is hidden")
	}
	if _, err := exec.LookPath("mandoc"); err != nil {
		t.Skip("mandoc is not here to judge the page")
	}
	file := filepath.Join(t.TempDir(), "page.8")
	if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command("mandoc", "-Tlint", "-Wwarning", file).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, "missing date") {
			t.Error(line)
		}
	}
}
