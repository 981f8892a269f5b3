package chart

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Panels is a figure of line charts one above the other, over the same x axis.
type Panels struct {
	Title  string
	X      string // what is on the x axis: "seconds"
	Panels []Panel
}

// Panel is one chart of Panels. Its y axis begins at 0.
type Panel struct {
	Unit  string // of the values, as on the axis: "Mbit/s"
	Lines []Line
}

// Line is one line. Lines of the same Hue are of the same thing; one that is
// Thin is what the thick one is compared with.
type Line struct {
	Name   string
	Hue    int
	Thin   bool
	Points []Point // by rising X; a NaN breaks the line
}

// Point is a point of a Line.
type Point struct{ X, Y float64 }

// legendWidth is what is left free for the legends.
const legendWidth = 1.6 * vg.Inch

var errNoPanels = errors.New("chart: nothing to draw: no line has a point")

func (p *Panels) check() error {
	points := 0
	for _, panel := range p.Panels {
		for _, l := range panel.Lines {
			points += len(l.Points)
			for _, x := range l.Points {
				if math.IsNaN(x.X) || math.IsInf(x.X, 0) || math.IsInf(x.Y, 0) {
					return fmt.Errorf("chart: line %q has the point (%v, %v)", l.Name, x.X, x.Y)
				}
			}
		}
	}
	if points == 0 {
		return errNoPanels
	}
	return nil
}

// size is that of the figure.
func (p *Panels) size() (w, h vg.Length) {
	return 10 * vg.Inch, vg.Length(0.6+1.9*float64(len(p.Panels))) * vg.Inch
}

// PNG writes the figure as a PNG, 1600 pixels wide.
func (p *Panels) PNG(w io.Writer) error {
	if err := p.check(); err != nil {
		return err
	}
	width, height := p.size()
	canvas := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(dotsPerInch))
	if err := p.draw(draw.New(canvas)); err != nil {
		return err
	}
	_, err := vgimg.PngCanvas{Canvas: canvas}.WriteTo(w)
	return err
}

// SVG writes the figure as an SVG.
func (p *Panels) SVG(w io.Writer) error {
	if err := p.check(); err != nil {
		return err
	}
	canvas := vgsvg.New(p.size())
	if err := p.draw(draw.New(canvas)); err != nil {
		return err
	}
	_, err := canvas.WriteTo(w)
	return err
}

func (p *Panels) draw(to draw.Canvas) error {
	plots := make([][]*plot.Plot, len(p.Panels))
	from, until := math.Inf(1), math.Inf(-1)
	for i := range p.Panels {
		one, err := p.Panels[i].plot()
		if err != nil {
			return err
		}
		plots[i] = []*plot.Plot{one}
		from, until = min(from, one.X.Min), max(until, one.X.Max)
	}
	for i := range plots {
		plots[i][0].X.Min, plots[i][0].X.Max = from, until
	}
	plots[0][0].Title.Text = p.Title
	plots[0][0].Title.TextStyle.Font = sans(14)
	last := plots[len(plots)-1][0]
	last.X.Label.Text = p.X
	last.X.Label.TextStyle.Font = sans(12)
	tiles := draw.Tiles{
		Rows: len(plots), Cols: 1,
		PadTop: 8, PadBottom: 8, PadLeft: 10, PadRight: legendWidth + 16, PadY: 8,
	}
	canvases := plot.Align(plots, tiles, to)
	for i := range plots {
		plots[i][0].Draw(canvases[i][0])
	}
	return nil
}

// plot draws one panel.
func (panel *Panel) plot() (*plot.Plot, error) {
	p := newPlot("", panel.Unit)
	p.Title.Padding = 6
	p.Legend.Top = true
	p.Legend.TextStyle.Font = sans(10)
	p.Legend.XOffs, p.Legend.YOffs = legendWidth, 0 // beside the lines, not on them
	p.X.Tick.Marker = plot.TickerFunc(ticks)
	p.X.Tick.Label.Font = sans(10)
	p.Y.Tick.Label.Font = sans(10)
	grid := plotter.NewGrid()
	grid.Vertical.Color = color.Gray{0xee}
	grid.Horizontal.Color = color.Gray{0xdd}
	p.Add(grid)
	top := 0.0
	p.X.Min, p.X.Max = math.Inf(1), math.Inf(-1)
	for _, l := range panel.Lines {
		named := false
		for _, run := range l.runs() {
			line, err := plotter.NewLine(run)
			if err != nil {
				return nil, fmt.Errorf("chart: line %q: %w", l.Name, err)
			}
			line.Color = palette[l.Hue%len(palette)]
			line.Width = vg.Points(1.3)
			if l.Thin {
				line.Width = vg.Points(0.6)
				line.Dashes = []vg.Length{vg.Points(3), vg.Points(2)}
			}
			p.Add(line)
			if !named {
				p.Legend.Add(l.Name, line)
				named = true
			}
			for _, x := range run {
				top = max(top, x.Y)
				p.X.Min, p.X.Max = min(p.X.Min, x.X), max(p.X.Max, x.X)
			}
		}
	}
	p.Y.Min, p.Y.Max = 0, 1.15*top
	if top == 0 {
		p.Y.Max = 1
	}
	if p.X.Min >= p.X.Max {
		p.X.Min, p.X.Max = 0, 1
	}
	return p, nil
}

// runs splits a line where it is broken.
func (l *Line) runs() (runs []plotter.XYs) {
	var run plotter.XYs
	for _, x := range l.Points {
		if math.IsNaN(x.Y) {
			if run != nil {
				runs = append(runs, run)
			}
			run = nil
			continue
		}
		run = append(run, plotter.XY{X: x.X, Y: x.Y})
	}
	if run != nil {
		runs = append(runs, run)
	}
	return runs
}
