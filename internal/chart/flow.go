package chart

import (
	"cmp"
	"html/template"
	"slices"
	"strings"
)

// Box is one step of a flow. From names the boxes that it is made from. Unknown names, and names
// that would close a cycle, are ignored.
type Box struct {
	Name  string
	Note  string // a second, smaller line
	From  []string
	Color int
}

// Flow shows from top to bottom what is made from what.
type Flow struct {
	About
	Boxes []Box
}

// flowNode is a box in the layout, or, with a nil box, the passage of a long arrow through a level.
type flowNode struct {
	box  *Box
	from []*flowNode
	x, w float64
	y    float64
}

const (
	boxHeight    = 44.0
	levelSkip    = 82.0
	boxGap       = 12.0
	passageWidth = 10.0
	widestBox    = 190.0
	arrowDepth   = 6.0
)

// SVG implements Chart.
func (f *Flow) SVG() template.HTML {
	levels := f.layout()
	if len(levels) == 0 {
		return emptyPicture(f.About)
	}
	c := newCanvas(f.About, width, levelSkip*float64(len(levels)-1)+boxHeight+4)
	for _, level := range levels {
		for _, p := range level {
			for _, q := range p.from {
				c.arrow(q, p)
			}
		}
	}
	for _, level := range levels {
		for _, p := range level {
			if p.box != nil {
				c.box(p)
			}
		}
	}
	return c.done()
}

// layout puts every box on a level below everything that it is made from. It orders each level by
// the positions of the sources, so that few arrows cross (Sugiyama, Tagawa and Toda, Methods for
// visual understanding of hierarchical system structures, 1981; one pass).
func (f *Flow) layout() [][]*flowNode {
	at := map[string]*flowNode{}
	depth := map[*flowNode]int{}
	var levels [][]*flowNode
	put := func(p *flowNode, level int) {
		for len(levels) <= level {
			levels = append(levels, nil)
		}
		depth[p] = level
		levels[level] = append(levels[level], p)
	}
	for _, b := range f.sorted() {
		p := &flowNode{box: b}
		level := 0
		for _, name := range b.From {
			if q := at[name]; q != nil {
				level = max(level, depth[q]+1)
			}
		}
		for _, name := range b.From {
			q := at[name]
			if q == nil {
				continue
			}
			for l := depth[q] + 1; l < level; l++ { // a passage through each level in between
				via := &flowNode{from: []*flowNode{q}}
				put(via, l)
				q = via
			}
			p.from = append(p.from, q)
		}
		put(p, level)
		at[b.Name] = p
	}
	for i, level := range levels {
		placeLevel(level, 2+levelSkip*float64(i))
	}
	return levels
}

// sorted returns the boxes with sources first. A box in a cycle keeps its position.
func (f *Flow) sorted() []*Box {
	byName := map[string]*Box{}
	for i := range f.Boxes {
		byName[f.Boxes[i].Name] = &f.Boxes[i]
	}
	var out []*Box
	visited := map[*Box]bool{}
	var visit func(b *Box)
	visit = func(b *Box) {
		if b == nil || visited[b] {
			return
		}
		visited[b] = true
		for _, name := range b.From {
			visit(byName[name])
		}
		out = append(out, b)
	}
	for i := range f.Boxes {
		visit(byName[f.Boxes[i].Name])
	}
	return out
}

// placeLevel sets the horizontal positions of one level. The positions of its sources are set
// before.
func placeLevel(level []*flowNode, y float64) {
	centre := func(p *flowNode) float64 {
		if len(p.from) == 0 {
			return width / 2
		}
		sum := 0.0
		for _, q := range p.from {
			sum += q.x + q.w/2
		}
		return sum / float64(len(p.from))
	}
	slices.SortStableFunc(level, func(a, b *flowNode) int {
		return cmp.Compare(centre(a), centre(b))
	})
	boxes, used := 0.0, boxGap*float64(len(level)-1)
	for _, p := range level {
		if p.box != nil {
			boxes++
		} else {
			used += passageWidth
		}
	}
	w := min(widestBox, (width-2-used)/max(boxes, 1))
	x := (width - used - w*boxes) / 2
	for _, p := range level {
		p.w = w
		if p.box == nil {
			p.w = passageWidth
		}
		p.x, p.y = x, y
		x += p.w + boxGap
	}
}

// arrow draws an arrow between two nodes of adjacent levels.
func (c *canvas) arrow(from, to *flowNode) {
	x1, y1 := from.x+from.w/2, from.y+boxHeight
	x2, y2 := to.x+to.w/2, to.y
	if from.box == nil {
		c.line("arrow", x1, from.y, x1, y1)
	}
	if to.box != nil {
		y2 -= arrowDepth
		tip := "M" + coord(x2-4) + " " + coord(y2) + "h8l-4 " + coord(arrowDepth) + "z"
		c.shape("", "path", "class", "tip", "d", tip)
	}
	bend := (y2 - y1) / 2
	c.shape("", "path", "class", "arrow", "d", strings.Join([]string{
		"M" + coord(x1), coord(y1),
		"C" + coord(x1), coord(y1 + bend), coord(x2), coord(y2 - bend), coord(x2), coord(y2),
	}, " "))
}

// box draws a box with its name and note.
func (c *canvas) box(p *flowNode) {
	tip := p.box.Name
	if p.box.Note != "" {
		tip += ": " + p.box.Note
	}
	c.open("g", "class", shade(p.box.Color))
	c.shape(tip, "rect", "class", "box", "x", p.x+1, "y", p.y,
		"width", max(p.w-2, 1), "height", boxHeight, "rx", 7.0)
	c.close("g")
	y := p.y + boxHeight/2 + 5
	if p.box.Note != "" {
		y -= 9
		c.text("dim mid", p.x+p.w/2, y+lineSkip, p.w-pad, p.box.Note)
	}
	c.text("strong mid", p.x+p.w/2, y, p.w-pad, p.box.Name)
}

// Table implements Chart.
func (f *Flow) Table() (head []string, rows [][]string) {
	for _, b := range f.Boxes {
		rows = append(rows, []string{b.Name, strings.Join(b.From, ", "), b.Note})
	}
	return []string{"", "made from", "note"}, rows
}
