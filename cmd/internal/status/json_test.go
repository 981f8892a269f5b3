package status

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden file anew")

// TestJSON: programs depend on these bytes. A field may be added; none may
// change its name, type or unit.
func TestJSON(t *testing.T) {
	got, err := json.MarshalIndent(example(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "status.json")
	if *update {
		if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
		t.Errorf("%s: go test -update writes it anew\n%s", file, diff)
	}
}

// TestDocumented: docs/status.md describes every field, and no others, with
// its type, in the order of the JSON.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/status.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		sections[title] = body
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| ([a-z ]+?) \\| [^|]+ \\| ([^|]+) \\|$")
	for title, of := range map[string]any{"The interface": Interface{}, "A peer": Peer{}, "A bond": Bond{}, "A path": Path{}, "A plan": Plan{}} {
		var got, want []string
		for _, m := range row.FindAllStringSubmatch(sections[title], -1) {
			got = append(got, m[1]+" "+m[2])
		}
		for field := range reflect.TypeOf(of).Fields() {
			if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "-" {
				want = append(want, name+" "+kind(field.Type))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("docs/status.md, ## %s (- what there is, + what it says):\n%s", title, diff)
		}
	}
}

func kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return kind(t.Elem())
	case reflect.Slice:
		return "list"
	case reflect.Struct:
		return "object"
	case reflect.Map:
		return "counts"
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "bool"
	case reflect.Float64:
		return "number"
	}
	return "integer"
}
