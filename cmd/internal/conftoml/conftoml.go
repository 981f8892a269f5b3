// Package conftoml reads a TOML file together with the line of every key, so
// that what is wrong with a value can be said with its place in the file.
// (go-toml tells the place of syntax errors and wrong types only, not that of
// a value which turns out impossible afterwards.)
package conftoml

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/wg-bond/wg-bond/cmd/internal/conferr"
)

// Document is a file: its values and where they stand.
type Document struct {
	// Root holds what go-toml decodes into a map: string, int64, float64,
	// bool, times, []any and map[string]any.
	Root map[string]any

	lines map[string]int
}

// Parse reads data; name stands for the file in the error, a *conferr.Error.
func Parse(name string, data []byte) (*Document, error) {
	d := &Document{Root: map[string]any{}, lines: map[string]int{}}
	if err := toml.Unmarshal(data, &d.Root); err != nil {
		e := &conferr.Error{File: name, Found: "what is not TOML: " + strings.TrimPrefix(err.Error(), "toml: "), Want: "a TOML file (https://toml.io)"}
		var at *toml.DecodeError
		if errors.As(err, &at) {
			e.Line, _ = at.Position()
		}
		return nil, e
	}
	d.index(data)
	return d, nil
}

// Line is the line on which the value at path stands, from 1: that of its
// key, or of the header of a table. Path elements are keys (string) and
// indices of arrays (int). 0: there is no such value.
func (d *Document) Line(path ...any) int { return d.lines[join(path)] }

// join makes one string of a path, a different one for each path.
func join(path []any) string {
	var b strings.Builder
	for _, element := range path {
		fmt.Fprintf(&b, "%q ", fmt.Sprint(element))
		if _, isIndex := element.(int); isIndex {
			b.WriteString("# ")
		}
	}
	return b.String()
}

// index fills lines from the syntax tree of a document known to be valid.
func (d *Document) index(data []byte) {
	var p unstable.Parser
	p.Reset(data)
	var table []any             // the path of the last header
	lengths := map[string]int{} // elements so far of each [[array]]
	follow := func(key unstable.Iterator) (path []any, line int) {
		for key.Next() {
			if n := lengths[join(path)]; n > 0 {
				path = append(path, n-1) // the array's last element is meant
			}
			path = append(path, string(key.Node().Data))
			if line == 0 {
				line = p.Shape(key.Node().Raw).Start.Line
			}
			d.note(path, line)
		}
		return path, line
	}
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table:
			table, _ = follow(e.Key())
			if n := lengths[join(table)]; n > 0 {
				table = append(table, n-1)
			}
		case unstable.ArrayTable:
			path, line := follow(e.Key())
			n := lengths[join(path)]
			lengths[join(path)] = n + 1
			table = append(path, n)
			d.note(table, line)
		case unstable.KeyValue:
			d.keyValue(&p, table, e)
		}
	}
}

func (d *Document) keyValue(p *unstable.Parser, at []any, kv *unstable.Node) {
	path := append([]any(nil), at...)
	line := 0
	for key := kv.Key(); key.Next(); {
		path = append(path, string(key.Node().Data))
		line = p.Shape(key.Node().Raw).Start.Line
		d.note(path, line)
	}
	d.value(p, path, line, kv.Value())
}

func (d *Document) value(p *unstable.Parser, path []any, line int, v *unstable.Node) {
	switch v.Kind {
	case unstable.InlineTable:
		for children := v.Children(); children.Next(); {
			if child := children.Node(); child.Kind == unstable.KeyValue {
				d.keyValue(p, path, child)
			}
		}
	case unstable.Array:
		i := 0
		for children := v.Children(); children.Next(); {
			child := children.Node()
			if child.Kind == unstable.Comment {
				continue
			}
			element := append(append([]any(nil), path...), i)
			d.note(element, line)
			d.value(p, element, line, child)
			i++
		}
	}
}

// note keeps the first line at which a path is met.
func (d *Document) note(path []any, line int) {
	key := join(path)
	if _, known := d.lines[key]; !known {
		d.lines[key] = line
	}
}

// Describe names a value in an error: its type and, where short, itself.
func Describe(v any) string {
	switch v := v.(type) {
	case string:
		return "the string " + conferr.Quote(v)
	case int64, float64:
		return fmt.Sprintf("the number %v", v)
	case bool:
		return fmt.Sprint(v)
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return fmt.Sprintf("the date %v", v)
}
