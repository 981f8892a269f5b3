package schedulers

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func twoPaths() (Snapshot, Plan) {
	s := Snapshot{Seq: 7, Paths: []Path{{ID: 0, State: Active}, {ID: 3, State: Dead}}}
	p := Plan{Seq: 7, Valid: 200 * time.Millisecond}
	for c := range p.Classes {
		p.Classes[c].Paths[0] = PathPlan{Use: true, Base: 1e6, PerByte: 8, Cap: 3000}
		p.Classes[c].Copies = 1<<0 | 1<<3
	}
	return s, p
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*Plan)
		want  string // in the error; empty: none
	}{
		{"a sound plan", func(p *Plan) {}, ""},
		{"an unused path's numbers do not matter", func(p *Plan) { p.Classes[Bulk].Paths[3].Base = math.NaN() }, ""},
		{"another snapshot's", func(p *Plan) { p.Seq = 6 }, "answers snapshot 6, not 7"},
		{"expired", func(p *Plan) { p.Valid = 0 }, "valid for 0s"},
		{"valid for ever", func(p *Plan) { p.Valid = time.Hour }, "valid for 1h"},
		{"NaN base", func(p *Plan) { p.Classes[Small].Paths[0].Base = math.NaN() }, "class small: path 0 has a base of NaN"},
		{"infinite base", func(p *Plan) { p.Classes[Bulk].Paths[0].Base = math.Inf(1) }, "base of +Inf"},
		{"negative base", func(p *Plan) { p.Classes[Bulk].Paths[0].Base = -1 }, "base of -1"},
		{"NaN slope", func(p *Plan) { p.Classes[Bulk].Paths[0].PerByte = math.NaN() }, "costs NaN"},
		{"absurd slope", func(p *Plan) { p.Classes[Bulk].Paths[0].PerByte = 1e10 }, "costs 1e+10"},
		{"negative cap", func(p *Plan) { p.Classes[Bulk].Paths[0].Cap = -1 }, "cap of -1"},
		{"negative drain", func(p *Plan) { p.Drain[3] = -1 }, "path 3 drains at -1"},
		{"NaN drain", func(p *Plan) { p.Drain[15] = math.NaN() }, "path 15 drains at NaN"},
		{"negative hold", func(p *Plan) { p.Hold[2] = -1 }, "path 2 is held for -1ns"},
		{"long hold", func(p *Plan) { p.Hold[2] = MaxHold + 1 }, "path 2 is held for 500.000001ms; want 0 to 500ms"},
		{"unknown path", func(p *Plan) { p.Classes[Bulk].Paths[1].Use = true }, "uses the paths 0b1011, the snapshot has 0b1001"},
		{"copy to an unknown path", func(p *Plan) { p.Classes[Control].Copies = 1 << 20 }, "class control: it uses"},
		{"no path", func(p *Plan) { p.Classes[Bulk].Paths[0].Use = false }, "none of them active"},
		{"only a dead path", func(p *Plan) {
			p.Classes[Bulk].Paths[3] = p.Classes[Bulk].Paths[0]
			p.Classes[Bulk].Paths[0].Use = false
		}, "none of them active"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, p := twoPaths()
			c.spoil(&p)
			err := Validate(&p, &s)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrPlan) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	t.Run("nothing to use", func(t *testing.T) {
		if err := Validate(&Plan{Valid: time.Second}, &Snapshot{}); err != nil {
			t.Error(err)
		}
	})
}

func TestUsable(t *testing.T) {
	for _, c := range []struct {
		name  string
		paths []Path
		want  uint32
	}{
		{"none", nil, 0},
		{"active before all", []Path{{ID: 0, State: Suspect}, {ID: 1, State: Active}, {ID: 2, State: Active, Backup: true}}, 0b10},
		{"backup when nothing else is active", []Path{{ID: 0, State: Suspect}, {ID: 2, State: Active, Backup: true}}, 0b100},
		{"what may yet work", []Path{{ID: 0, State: Dead}, {ID: 1, State: Probing}, {ID: 2, State: Suspect, Backup: true}}, 0b110},
		{"all dead", []Path{{ID: 0, State: Dead}, {ID: 15, State: Dead}}, 1<<15 | 1},
	} {
		if got := Usable(&Snapshot{Paths: c.paths}); got != c.want {
			t.Errorf("%s: %#b, want %#b", c.name, got, c.want)
		}
	}
}

// Whatever numbers a plan has, Validate lets none pass that the executor
// could not add up.
func FuzzValidate(f *testing.F) {
	f.Add(uint64(7), int64(1e8), []byte{})
	f.Fuzz(func(t *testing.T, seq uint64, valid int64, data []byte) {
		s, p := twoPaths()
		p.Seq, p.Valid = seq, time.Duration(valid)
		u64 := func() uint64 {
			var b [8]byte
			data = data[copy(b[:], data):]
			return binary.LittleEndian.Uint64(b[:])
		}
		for len(data) > 0 {
			op := u64()
			c := &p.Classes[op%NumClasses]
			path := &c.Paths[op>>8%MaxPaths]
			switch v := u64(); op >> 16 % 6 {
			case 0:
				path.Base = math.Float64frombits(v)
			case 1:
				path.PerByte = math.Float64frombits(v)
			case 2:
				path.Cap = int(int32(v))
			case 3:
				path.Use = v&1 != 0
			case 4:
				c.Copies = uint32(v)
			case 5:
				p.Drain[op>>8%MaxPaths] = math.Float64frombits(v)
			}
		}
		if err := Validate(&p, &s); err != nil {
			if !errors.Is(err, ErrPlan) {
				t.Errorf("%v does not wrap ErrPlan", err)
			}
			return
		}
		for _, c := range p.Classes {
			if !c.Paths[0].Use {
				t.Error("a class has no active path")
			}
			for id, path := range c.Paths {
				if cost := path.Base + path.PerByte*NoCap; path.Use && !(cost >= 0 && cost < 1e20) {
					t.Errorf("path %d can cost %v", id, cost)
				}
				if !(p.Drain[id] >= 0 && p.Drain[id] <= MaxDrain) {
					t.Errorf("path %d drains at %v", id, p.Drain[id])
				}
			}
		}
	})
}
