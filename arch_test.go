// Package arch_test holds the rules of the architecture: who may import whom,
// what the engine must not touch, what every package must say of itself.
//
// It reads the source, not the build, so that files for other systems count
// too, and so that go test's cache notices a change.
package arch_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/wg-bond/wg-bond"

// An importRule says which of our own packages pkg may import, and why no
// others. "x/..." covers x and all below it.
type importRule struct {
	pkg    string
	may    []string
	reason string
}

// imports has the rules; the first that matches a package counts.
var imports = []importRule{
	{"schedulers", nil,
		"a leaf: plugins in other processes are built on it alone"},
	{"schedulers/...", []string{"schedulers/..."},
		"a built-in must be writable as a plugin: it sees what a plugin sees"},
	{"wgbond/wire", nil,
		"a leaf: another implementation of the protocol needs the format and nothing else"},
	{"conn/udp", nil,
		"a leaf: sockets know nothing of what they carry"},
	{"conn/durable", nil,
		"a leaf: a bond's books and a lender's are kept alike"},
	{"conn/memory", []string{"conn/durable", "wgbond"},
		"it keeps what the engine has learned, and knows no sockets"},
	{"conn/period", nil,
		"a leaf: a bond's months and a lender's are reckoned alike"},

	{"wgbond/codel", engineLeaves, notEachOther},
	{"wgbond/control", engineLeaves, notEachOther},
	{"wgbond/dispatch", engineLeaves, notEachOther},
	{"wgbond/feedback", engineLeaves, notEachOther},
	{"wgbond/path", engineLeaves, notEachOther},
	{"wgbond/rate", engineLeaves, notEachOther},
	{"wgbond/reorder", engineLeaves, notEachOther},
	{"wgbond/trace", []string{"schedulers"},
		"a trace is read without the engine that wrote it"},
	{"wgbond/sim/...", []string{"relayd/spare", "schedulers/...", "wgbond/..."},
		"the virtual network surrounds the real engine, and a lender's policy; nothing real may enter it"},
	{"wgbond", []string{"schedulers", "wgbond/codel", "wgbond/control", "wgbond/dispatch", "wgbond/feedback",
		"wgbond/path", "wgbond/rate", "wgbond/reorder", "wgbond/trace", "wgbond/wire"},
		"the session composes the parts; which scheduler it obeys is its caller's choice"},

	{"conn/...", []string{"conn/...", "relayd/lease", "schedulers/...", "wgbond", "wgbond/control", "wgbond/trace", "wgbond/wire"},
		"the shell drives the engine by its one surface, not by its parts"},
	{"relayd/spare", nil,
		"a leaf: what a lender spares is judged in virtual time, beside the engine"},
	{"relayd/discover", []string{"conn/netwatch", "wgbond/control"},
		"links are followed as a bond's are: by the kernel's events, which cost an idle lender nothing"},
	{"relayd/...", []string{"conn/durable", "conn/period", "conn/udp", "relayd/...", "wgbond/control", "wgbond/wire"},
		"a lender forwards unread: it has no use for the engine"},
	{"plugins/...", []string{"plugins/...", "schedulers/..."},
		"a plugin's author needs the scheduler's interface and no engine"},
	{"cmd/embed", []string{"cmd/internal/bondconf", "cmd/internal/uapi", "conn", "conn/front", "schedulers", "schedulers/builtin", "wgbond/control"},
		"the one door for programs that are not ours: the patches need what the side file says, and must not get at the rest of cmd"},
	{"cmd/...", []string{"cmd/...", "conn/...", "plugins/...", "relayd/...", "schedulers/...", "wgbond/..."},
		"commands wire everything"},
}

var engineLeaves = []string{"schedulers", "wgbond/wire"}

const notEachOther = "the parts of the engine meet in wgbond only, so that each can be read, tested and replaced alone"

// pure lists the packages that take the time and bytes and give bytes back.
// They may not touch the world, or the same input would not give the same
// output in virtual time.
var pure = []string{"relayd/spare", "schedulers/...", "wgbond/..."}

// impure are the imports that touch the world. net/netip is fine: it is
// arithmetic on addresses.
var impure = []string{
	"crypto/rand", "log/...", "net", "net/http/...", "os/...", "syscall", "golang.org/x/sys/...",
}

// clock has the functions of package time that read a clock or wait for one.
var clock = []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}

// source is one package of this module.
type source struct {
	dir   string // relative to the top, slashes
	files map[string]*ast.File
	set   *token.FileSet
}

// sources parses every non-test Go file of the module.
func sources(t *testing.T) []*source {
	t.Helper()
	set := token.NewFileSet()
	byDir := map[string]*source{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			base := d.Name()
			if name != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(name))
		if dir == "." {
			return nil // the tests of the tree itself: this file
		}
		if byDir[dir] == nil {
			byDir[dir] = &source{dir: dir, files: map[string]*ast.File{}, set: set}
		}
		byDir[dir].files[name] = file
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []*source
	for _, s := range byDir {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *source) int { return strings.Compare(a.dir, b.dir) })
	if len(all) == 0 {
		t.Fatal("no packages found: is the test run at the top of the module?")
	}
	return all
}

// matches reports whether pattern ("x" or "x/...") covers pkg.
func matches(pattern, pkg string) bool {
	prefix, all := strings.CutSuffix(pattern, "/...")
	return pkg == prefix || all && strings.HasPrefix(pkg, prefix+"/")
}

func matchesAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, pkg) })
}

// eachImport calls f with every import path of s and where it stands.
func (s *source) eachImport(f func(path string, at token.Position)) {
	for _, file := range s.files {
		for _, spec := range file.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				panic(err) // the parser accepted it
			}
			f(p, s.set.Position(spec.Pos()))
		}
	}
}

func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		rule := slices.IndexFunc(imports, func(r importRule) bool { return matches(r.pkg, s.dir) })
		if rule < 0 {
			t.Errorf("%s: no rule says what it may import: add one to the table, with its reason", s.dir)
			continue
		}
		r := imports[rule]
		s.eachImport(func(p string, at token.Position) {
			ours, ok := strings.CutPrefix(p, module+"/")
			if !ok || matchesAny(r.may, ours) {
				return
			}
			t.Errorf("%s: %s imports %s: may only import %v: %s", at, s.dir, ours, r.may, r.reason)
		})
	}
}

// unlinked are what programs must not get by way of our packages, however
// indirectly.
var unlinked = []struct{ pkg, without, reason string }{
	{"cmd/embed", "github.com/prometheus/...", "programs that are not ours serve no metrics of ours"},
	{"conn/...", "github.com/prometheus/...", "what is measured is told by commands"},
}

func TestUnlinked(t *testing.T) {
	byDir := map[string]*source{}
	for _, s := range sources(t) {
		byDir[s.dir] = s
	}
	for _, rule := range unlinked {
		matched := false
		for dir := range byDir {
			if !matches(rule.pkg, dir) {
				continue
			}
			matched = true
			// Each package by the one that brought it in, nearest first.
			by, todo := map[string]string{dir: ""}, []string{dir}
			for len(todo) > 0 {
				at := todo[0]
				todo = todo[1:]
				byDir[at].eachImport(func(p string, _ token.Position) {
					if matches(rule.without, p) {
						way := p
						for d := at; d != ""; d = by[d] {
							way = d + " → " + way
						}
						t.Errorf("%s: %s", way, rule.reason)
					}
					ours, ok := strings.CutPrefix(p, module+"/")
					if _, seen := by[ours]; ok && !seen && byDir[ours] != nil {
						by[ours] = at
						todo = append(todo, ours)
					}
				})
			}
		}
		if !matched {
			t.Errorf("no package is %s: the rule is about nothing", rule.pkg)
		}
	}
}

// TestLeaves keeps third-party code out of the packages that others build on.
func TestLeaves(t *testing.T) {
	leaves := []string{"schedulers/...", "wgbond/wire", "conn/udp"}
	for _, s := range sources(t) {
		if !matchesAny(leaves, s.dir) {
			continue
		}
		s.eachImport(func(p string, at token.Position) {
			if strings.Contains(strings.Split(p, "/")[0], ".") &&
				!strings.HasPrefix(p, "golang.org/x/") && !strings.HasPrefix(p, module+"/") {
				t.Errorf("%s: %s imports %s: a leaf needs the standard library and golang.org/x only", at, s.dir, p)
			}
		})
	}
}

// TestEngineIsPure holds the engine to sans-IO: no world, no clock, no
// goroutine.
func TestEngineIsPure(t *testing.T) {
	for _, s := range sources(t) {
		if !matchesAny(pure, s.dir) {
			continue
		}
		s.eachImport(func(p string, at token.Position) {
			if matchesAny(impure, p) {
				t.Errorf("%s: %s imports %s: the engine touches nothing but its input", at, s.dir, p)
			}
		})
		for _, file := range s.files {
			timeName := nameOf(file, "time")
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%s: the engine starts no goroutine: its caller calls it", s.set.Position(n.Pos()))
				case *ast.SelectorExpr:
					x, ok := n.X.(*ast.Ident)
					if ok && timeName != "" && x.Name == timeName && slices.Contains(clock, n.Sel.Name) {
						t.Errorf("%s: time.%s: the engine is told the time, it does not read or await it",
							s.set.Position(n.Pos()), n.Sel.Name)
					}
				}
				return true
			})
		}
	}
}

// nameOf is the name by which file knows the package at path; empty if it
// does not import it.
func nameOf(file *ast.File, importPath string) string {
	for _, spec := range file.Imports {
		if spec.Path.Value != strconv.Quote(importPath) {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(importPath)
	}
	return ""
}

// TestPackageDocs wants every package to say what it is for.
func TestPackageDocs(t *testing.T) {
	for _, s := range sources(t) {
		var name, doc string
		for _, file := range s.files {
			name = file.Name.Name
			doc += file.Doc.Text()
		}
		switch {
		case doc == "":
			t.Errorf("%s: no package comment: say what it is for, with a diagram where bytes travel", s.dir)
		case name != "main" && !strings.HasPrefix(doc, "Package "+name+" "):
			t.Errorf("%s: the package comment begins %.40q, not %q", s.dir, doc, "Package "+name+" ")
		}
	}
}

// TestMap wants every package of the first two levels on ARCHITECTURE.md's
// map, where newcomers look for it. The built-in schedulers are there together.
func TestMap(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sources(t) {
		parent, name := path.Split(s.dir)
		if strings.Count(s.dir, "/") > 1 || name == "internal" || parent == "schedulers/" {
			continue
		}
		if !regexp.MustCompile(`(?m)^ {4,6}` + regexp.QuoteMeta(name) + `/ `).Match(text) {
			t.Errorf("%s is not on the map in ARCHITECTURE.md: add a line that says what it is for", s.dir)
		}
	}
}

// TestReferences wants every document that code or text points at to exist.
func TestReferences(t *testing.T) {
	// docs/… anywhere, and the targets of relative Markdown links.
	inAny := regexp.MustCompile(`\bdocs/[A-Za-z0-9_./-]+\.md\b`)
	inMarkdown := regexp.MustCompile(`\]\(([^):#]+)(?:#[^)]*)?\)`)
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		ext := filepath.Ext(name)
		if ext != ".go" && ext != ".md" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		check := func(target, from string) {
			if _, err := os.Stat(filepath.Join(from, filepath.FromSlash(target))); err != nil {
				t.Errorf("%s: points at %s: %v", name, target, err)
			}
		}
		for _, m := range inAny.FindAll(text, -1) {
			check(string(m), ".")
		}
		if ext == ".md" {
			for _, m := range inMarkdown.FindAllSubmatch(text, -1) {
				check(string(m[1]), filepath.Dir(name))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestCitedTests wants every test that a document names, as in
// wgbond/control.TestCookie, to exist: THREATS.md is worth what its tests are.
func TestCitedTests(t *testing.T) {
	cited := regexp.MustCompile("`([a-z][a-z0-9/-]*)\\.((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]+)`")
	documents, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range documents {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range cited.FindAllSubmatch(text, -1) {
			dir, function := string(m[1]), string(m[2])
			if !hasTest(t, dir, function) {
				t.Errorf("%s names %s.%s, which is not there", name, dir, function)
			}
		}
	}
}

func hasTest(t *testing.T, dir, function string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.FromSlash(dir), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(name string) bool {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(text), "\nfunc "+function+"(")
	})
}

// TestMatches checks the table's own pattern language.
func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, pkg string
		want         bool
	}{
		{"wgbond", "wgbond", true},
		{"wgbond", "wgbond/wire", false},
		{"wgbond/...", "wgbond", true},
		{"wgbond/...", "wgbond/wire", true},
		{"wgbond/...", "wgbonded", false},
		{"net", "net/netip", false},
	} {
		t.Run(fmt.Sprintf("%s covers %s", c.pattern, c.pkg), func(t *testing.T) {
			if got := matches(c.pattern, c.pkg); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
