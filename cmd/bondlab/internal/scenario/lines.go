package scenario

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// lines knows where each key of a file is. Keys are written as in error
// messages: link[1].down.rate, links counted from 0.
type lines map[string]place

type place struct {
	unstable.Position        // of the key
	value             string // as written, without quotes; empty for tables
}

// index finds the keys of a file, up to its first syntax error.
func index(text []byte) lines {
	found := lines{}
	count := map[string]int{} // of each array of tables
	table := ""
	var p unstable.Parser
	p.Reset(text)
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			name, pos := path(&p, e.Key())
			table = name
			if e.Kind == unstable.ArrayTable {
				table = fmt.Sprintf("%s[%d]", name, count[name])
				count[name]++
			} else if head, rest, dotted := strings.Cut(name, "."); dotted && count[head] > 0 {
				// [link.down] belongs to the latest [[link]].
				table = fmt.Sprintf("%s[%d].%s", head, count[head]-1, rest)
			}
			found[table] = place{Position: pos}
		case unstable.KeyValue:
			found.add(&p, table, e)
		}
	}
	return found
}

func (l lines) add(p *unstable.Parser, table string, e *unstable.Node) {
	key, pos := path(p, e.Key())
	if table != "" {
		key = table + "." + key
	}
	v := e.Value()
	l[key] = place{pos, string(v.Data)}
	if v.Kind == unstable.InlineTable {
		for it := v.Children(); it.Next(); {
			l.add(p, key, it.Node())
		}
	}
}

func path(p *unstable.Parser, key unstable.Iterator) (name string, pos unstable.Position) {
	var parts []string
	for key.Next() {
		if n := key.Node(); n != nil {
			if len(parts) == 0 {
				pos = p.Shape(n.Raw).Start
			}
			parts = append(parts, string(n.Data))
		}
	}
	return strings.Join(parts, "."), pos
}

// line is the line of a key, or of the nearest table around it that the file
// has; 1 if there is none.
func (l lines) line(key string) int {
	for key != "" {
		if at, ok := l[key]; ok {
			return at.Line
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return 1
}

// at is the key that a position belongs to: the last one that begins there or
// before it on the same line.
func (l lines) at(line, column int) (key string) {
	best := 0
	for k, p := range l {
		if p.Line == line && p.Column <= column && p.Column > best {
			key, best = k, p.Column
		}
	}
	return key
}

// withValue is the first key that has this value.
func (l lines) withValue(value string) (key string) {
	for k, p := range l {
		if p.value == value && (key == "" || p.Offset < l[key].Offset) {
			key = k
		}
	}
	return key
}
