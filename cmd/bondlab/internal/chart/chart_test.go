package chart

import (
	"bytes"
	"image/png"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func example() *Bars {
	return &Bars{
		Title:  "3 MB over one link and over two",
		Unit:   "Mbit/s",
		Series: []string{"max", "mean", "min"},
		Groups: []Group{
			{Name: "one link", Values: []float64{3.2, 3, 2}},
			{Name: "bonded", Values: []float64{8, 6.5, 4}},
		},
	}
}

func TestText(t *testing.T) {
	var got strings.Builder
	// 8 + 4 + 11 + 6 columns beside the bars leave 16, two per Mbit/s.
	if err := example().Text(&got, 45); err != nil {
		t.Fatal(err)
	}
	want := `3 MB over one link and over two

one link  max   ██████▍ 3.20 Mbit/s
          mean  ██████ 3.00 Mbit/s
          min   ████ 2.00 Mbit/s

bonded    max   ████████████████ 8.00 Mbit/s
          mean  █████████████ 6.50 Mbit/s
          min   ████████ 4.00 Mbit/s
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	for line := range strings.Lines(got.String()) {
		if n := len([]rune(line)) - 1; n > 45 {
			t.Errorf("%d columns, more than 45: %s", n, line)
		}
	}
}

func TestPNG(t *testing.T) {
	var out bytes.Buffer
	if err := example().PNG(&out); err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&out)
	if err != nil {
		t.Fatal(err)
	}
	if size := img.Bounds().Size(); size.X != 1200 || size.Y != 800 {
		t.Errorf("%v pixels, want 1200 × 800", size)
	}
	// Every series' colour is there, more of it in higher bars.
	count := map[[3]uint32]int{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			r, g, b, _ := img.At(x, y).RGBA()
			count[[3]uint32{r, g, b}]++
		}
	}
	last := math.MaxInt
	for i, name := range example().Series {
		r, g, b, _ := palette[i].RGBA()
		n := count[[3]uint32{r, g, b}]
		if n == 0 || n >= last {
			t.Errorf("%s: %d pixels, after %d: want fewer, but some", name, n, last)
		}
		last = n
	}
}

func TestUnfitToDraw(t *testing.T) {
	for name, spoil := range map[string]func(*Bars){
		"no groups":      func(b *Bars) { b.Groups = nil },
		"no series":      func(b *Bars) { b.Series = nil },
		"value missing":  func(b *Bars) { b.Groups[1].Values = b.Groups[1].Values[:2] },
		"negative value": func(b *Bars) { b.Groups[0].Values[0] = -1 },
		"not a number":   func(b *Bars) { b.Groups[0].Values[0] = math.NaN() },
	} {
		t.Run(name, func(t *testing.T) {
			b := example()
			spoil(b)
			if err := b.PNG(&bytes.Buffer{}); err == nil {
				t.Error("PNG drew it")
			}
			if err := b.Text(&bytes.Buffer{}, 80); err == nil {
				t.Error("Text drew it")
			}
		})
	}
}

// All values zero is a result too, if a sad one.
func TestAllZero(t *testing.T) {
	b := &Bars{Title: "nothing came", Unit: "Mbit/s", Series: []string{"mean"}, Groups: []Group{{"bonded", []float64{0}}}}
	var text strings.Builder
	if err := b.Text(&text, 80); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "0.00 Mbit/s") {
		t.Errorf("got %q", text.String())
	}
	if err := b.PNG(&bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
}
