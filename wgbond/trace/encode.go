package trace

import (
	"math"
	"strconv"
	"unicode/utf8"
)

// object is a JSON object under construction, in a buffer that is used again
// and again: encoding/json would cost more than the packets themselves.
//
// A field that is zero is left out, but where must says that it is written
// all the same, for the reader's eye.
type object []byte

func (o object) key(name string) object {
	if o[len(o)-1] != '{' {
		o = append(o, ',')
	}
	o = append(o, '"')
	o = append(o, name...)
	return append(o, '"', ':')
}

func (o object) must(name string, v uint64) object {
	return strconv.AppendUint(o.key(name), v, 10)
}

func (o object) uint(name string, v uint64) object {
	if v == 0 {
		return o
	}
	return o.must(name, v)
}

func (o object) int(name string, v int64) object {
	if v == 0 {
		return o
	}
	return strconv.AppendInt(o.key(name), v, 10)
}

// float leaves out what JSON has no number for, too.
func (o object) float(name string, v float64) object {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return o
	}
	return strconv.AppendFloat(o.key(name), v, 'g', -1, 64)
}

func (o object) bool(name string, v bool) object {
	if !v {
		return o
	}
	return append(o.key(name), "true"...)
}

func (o object) string(name, v string) object {
	if v == "" {
		return o
	}
	return appendString(o.key(name), v)
}

// open begins an array; each item is then preceded by sep.
func (o object) open(name string) object { return append(o.key(name), '[') }

func (o object) sep() object {
	if o[len(o)-1] != '[' {
		o = append(o, ',')
	}
	return o
}

func appendString(o object, v string) object {
	const hex = "0123456789abcdef"
	o = append(o, '"')
	for i := 0; i < len(v); {
		c := v[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(v[i:])
			o = utf8.AppendRune(o, r) // what is no UTF-8 becomes U+FFFD
			i += n
			continue
		}
		switch {
		case c == '"' || c == '\\':
			o = append(o, '\\', c)
		case c < 0x20 || c == 0x7f:
			o = append(o, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			o = append(o, c)
		}
		i++
	}
	return append(o, '"')
}
