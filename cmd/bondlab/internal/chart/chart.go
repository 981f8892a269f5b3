// Package chart draws the lab's figures: as a PNG for people who compare, in
// the terminal for people who just ran something.
package chart

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Bars is a grouped bar chart: for every group one bar per series.
type Bars struct {
	Title  string
	Unit   string   // of the values, as on the axis: "Mbit/s"
	Series []string // the bars of each group, in order
	Groups []Group
}

// Group is one cluster of bars.
type Group struct {
	Name   string
	Values []float64 // one per series
}

// palette tells series apart by hue and by lightness, so that it survives a
// black-and-white print and the common colour blindnesses (after Okabe & Ito).
var palette = []color.Color{
	color.NRGBA{0x00, 0x72, 0xb2, 0xff}, // blue
	color.NRGBA{0xe6, 0x9f, 0x00, 0xff}, // orange
	color.NRGBA{0x56, 0xb4, 0xe9, 0xff}, // sky
	color.NRGBA{0x00, 0x9e, 0x73, 0xff}, // green
	color.NRGBA{0xcc, 0x79, 0xa7, 0xff}, // purple
}

// dotsPerInch and the figure's size give 1200 × 800 pixels.
const (
	dotsPerInch = 160
	width       = 7.5 * vg.Inch
	height      = 5 * vg.Inch
)

var errNoBars = errors.New("chart: nothing to draw: no groups or no series")

func (b *Bars) check() error {
	if len(b.Groups) == 0 || len(b.Series) == 0 {
		return errNoBars
	}
	for _, g := range b.Groups {
		if len(g.Values) != len(b.Series) {
			return fmt.Errorf("chart: group %q has %d values for %d series", g.Name, len(g.Values), len(b.Series))
		}
		for _, v := range g.Values {
			if v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
				return fmt.Errorf("chart: group %q has the value %v: a bar is a finite length", g.Name, v)
			}
		}
	}
	return nil
}

// max is the largest value; 0 if all are.
func (b *Bars) max() float64 {
	var m float64
	for _, g := range b.Groups {
		for _, v := range g.Values {
			m = math.Max(m, v)
		}
	}
	return m
}

// PNG writes the chart as a PNG of 1200 × 800 pixels.
func (b *Bars) PNG(w io.Writer) error {
	if err := b.check(); err != nil {
		return err
	}
	p := newPlot(b.Title, b.Unit)
	p.Legend.Top = true
	p.Legend.Left = true
	p.Legend.Padding = 4
	p.Legend.XOffs, p.Legend.YOffs = 8, -14

	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal.Color = color.Gray{0xdd}
	p.Add(grid)

	// A group takes one unit of the x axis, its bars four fifths of that.
	bar := vg.Length(0.8*float64(width-80)/float64(len(b.Groups)*len(b.Series))) * 0.9
	bar = min(bar, vg.Points(50))
	for i, name := range b.Series {
		values := make(plotter.Values, len(b.Groups))
		labels := plotter.XYLabels{}
		for j, g := range b.Groups {
			values[j] = g.Values[i]
			labels.XYs = append(labels.XYs, plotter.XY{X: float64(j), Y: g.Values[i]})
			labels.Labels = append(labels.Labels, number(g.Values[i]))
		}
		bars, err := plotter.NewBarChart(values, bar*0.94)
		if err != nil {
			return fmt.Errorf("chart: %w", err)
		}
		bars.Offset = bar * vg.Length(float64(i)-float64(len(b.Series)-1)/2)
		bars.Color = palette[i%len(palette)]
		bars.LineStyle.Width = 0
		p.Add(bars)
		p.Legend.Add(name, bars)

		text, err := plotter.NewLabels(labels)
		if err != nil {
			return fmt.Errorf("chart: %w", err)
		}
		text.Offset = vg.Point{X: bars.Offset, Y: 4}
		for j := range text.TextStyle {
			text.TextStyle[j].Font = sans(11)
			text.TextStyle[j].XAlign = draw.XCenter
		}
		p.Add(text)
	}
	names := make([]string, len(b.Groups))
	for i, g := range b.Groups {
		names[i] = g.Name
	}
	p.NominalX(names...)
	p.X.Tick.Label.Font = sans(12)
	p.X.Min, p.X.Max = -0.5, float64(len(b.Groups))-0.5
	p.X.Padding = 5
	// Room above the highest bar for its figure and for the legend.
	p.Y.Max = 1.3 * b.max()
	if p.Y.Max == 0 {
		p.Y.Max = 1
	}
	return writePNG(w, p)
}

// newPlot has what all figures share: a title, a y axis from zero, a light
// horizontal grid.
func newPlot(title, unit string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.Title.TextStyle.Font = sans(14)
	p.Title.Padding = 12
	p.Y.Label.Text = unit
	p.Y.Label.TextStyle.Font = sans(12)
	p.Y.Label.Position = draw.PosCenter
	p.Y.Tick.Label.Font = sans(11)
	p.Y.Tick.LineStyle.Width = 0
	p.Y.LineStyle.Width = 0
	p.Y.Tick.Marker = plot.TickerFunc(ticks)
	p.Y.Min = 0
	p.Legend.TextStyle.Font = sans(12)
	return p
}

func sans(size vg.Length) font.Font {
	return font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, size)
}

// ticks puts four to ten round figures on an axis.
func ticks(from, to float64) []plot.Tick {
	step := math.Pow(10, math.Floor(math.Log10((to-from)/4)))
	for _, times := range []float64{5, 2} {
		if step*times <= (to-from)/4 {
			step *= times
			break
		}
	}
	var all []plot.Tick
	for i := math.Ceil(from / step); i*step <= to; i++ {
		all = append(all, plot.Tick{Value: i * step, Label: strconv.FormatFloat(i*step, 'g', 4, 64)})
	}
	return all
}

// writePNG writes the figure as a PNG of 1200 × 800 pixels.
func writePNG(w io.Writer, p *plot.Plot) error {
	canvas := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(dotsPerInch))
	p.Draw(draw.Crop(draw.New(canvas), 14, -18, 10, -12))
	_, err := vgimg.PngCanvas{Canvas: canvas}.WriteTo(w)
	return err
}

// Text writes the chart for a terminal of the given width in columns.
func (b *Bars) Text(w io.Writer, columns int) error {
	if err := b.check(); err != nil {
		return err
	}
	var names, series int
	for _, g := range b.Groups {
		names = max(names, utf8.RuneCountInString(g.Name))
	}
	for _, s := range b.Series {
		series = max(series, utf8.RuneCountInString(s))
	}
	// name, series, bar, figure with its unit; two blanks between each.
	figure := len(number(b.max())) + 1 + utf8.RuneCountInString(b.Unit)
	room := max(columns-names-series-figure-6, 10)
	scale := float64(room)
	if m := b.max(); m > 0 {
		scale /= m
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n\n", b.Title)
	for i, g := range b.Groups {
		if i > 0 && len(b.Series) > 1 {
			out.WriteByte('\n')
		}
		for j, v := range g.Values {
			name := ""
			if j == 0 {
				name = g.Name
			}
			fmt.Fprintf(&out, "%s  %s  %s %s %s\n", pad(name, names), pad(b.Series[j], series),
				Bar(v*scale), number(v), b.Unit)
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// Bar is a horizontal bar of the given length in columns, to an eighth.
func Bar(length float64) string {
	eighths := int(math.Round(length * 8))
	if eighths <= 0 {
		return ""
	}
	bar := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		bar += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return bar
}

// pad fills s with blanks to n columns.
func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(n-utf8.RuneCountInString(s), 0))
}

// number gives v with three significant digits, as far as it has decimals.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
