package match

import (
	"fmt"

	"relish/ranker"
)

// Weights are a trained match model, which training fills and Neural serves. Matrices are row-major and multiply
// from the right: y = x M, so that M is inputs x outputs.
type Weights struct {
	Layers  int // blocks of attention; 0: pooling
	Dim     int // of item and user vectors
	Heads   int // of attention; they divide Dim
	Length  int // items of a history that are read
	TextDim int // of text vectors, 0: the model reads no text

	// The item half. A known item has its whole vector, the text's part and its own; one that is not known has
	// text TextMap + TextOffset, and the bias UnknownBias.
	Items       *ranker.ItemTable
	Vectors     []float32 // items x Dim
	Bias        []float32 // by item
	TextMap     []float32 // TextDim x Dim
	TextOffset  []float32 // Dim, or nothing without text
	UnknownBias float32

	// The user half.
	PoolKey []float32 // Dim, only without layers
	Recency []float32 // Length, by distance from the newest, only without layers
	Blocks  []Block   // Layers
	Gain    []float32 // Dim
}

// Block is one layer: attention and a feed-forward part.
type Block struct {
	Query, Key, Value, Out []float32 // Dim x Dim
	Distance               []float32 // Heads x Length: added to the score of an item so many places back
	Up, UpBias             []float32 // Dim x 2 Dim, 2 Dim
	Down, DownBias         []float32 // 2 Dim x Dim, Dim
}

// part is a list of numbers with the length that it must have.
type part struct {
	name string
	list *[]float32
	want int
}

// parts lists all numbers, in the file's order. The sizes must be set.
func (w *Weights) parts() []part {
	d := w.Dim
	out := []part{
		{"vectors", &w.Vectors, w.Items.Len() * d}, {"bias", &w.Bias, w.Items.Len()},
		{"text map", &w.TextMap, w.TextDim * d}, {"gain", &w.Gain, d},
	}
	if w.TextDim > 0 {
		out = append(out, part{"text offset", &w.TextOffset, d})
	}
	if w.Layers == 0 {
		out = append(out, part{"pool key", &w.PoolKey, d}, part{"recency", &w.Recency, w.Length})
	}
	for i := range w.Blocks {
		b := &w.Blocks[i]
		out = append(out,
			part{"query", &b.Query, d * d}, part{"key", &b.Key, d * d}, part{"value", &b.Value, d * d}, part{"out", &b.Out, d * d},
			part{"distance", &b.Distance, w.Heads * w.Length},
			part{"up", &b.Up, 2 * d * d}, part{"up bias", &b.UpBias, 2 * d}, part{"down", &b.Down, 2 * d * d}, part{"down bias", &b.DownBias, d})
	}
	return out
}

// checkSizes reports sizes that no model has. They bound what is computed per request.
func (w *Weights) checkSizes() error {
	switch {
	case w.Layers < 0 || w.Layers > 16, w.Dim < 1 || w.Dim > maxDim, w.Length < 1 || w.Length > 1000, w.TextDim < 0 || w.TextDim > 1<<16:
		return fmt.Errorf("a match model of %d layers, width %d, length %d and text vectors of %d cannot be served", w.Layers, w.Dim, w.Length, w.TextDim)
	case w.Heads < 1 || w.Dim%w.Heads != 0:
		return fmt.Errorf("a match model's %d heads do not divide its width %d", w.Heads, w.Dim)
	}
	return nil
}

// check reports a list of the wrong length or a number that is not finite.
func (w *Weights) check() error {
	if err := w.checkSizes(); err != nil {
		return err
	}
	if w.Items == nil || len(w.Blocks) != w.Layers {
		return fmt.Errorf("a match model without items, or with %d of %d layers", len(w.Blocks), w.Layers)
	}
	for _, p := range w.parts() {
		if len(*p.list) != p.want {
			return fmt.Errorf("a match model's %s has %d numbers, not %d", p.name, len(*p.list), p.want)
		}
		for _, x := range *p.list {
			if x-x != 0 {
				return fmt.Errorf("a match model's %s holds a number that is not finite", p.name)
			}
		}
	}
	return nil
}

// Encode writes the matcher's file.
func (m *Neural) Encode() []byte {
	w := newWriter(KindNeural)
	w.texts(m.w.Items.IDs())
	for _, n := range []int{m.w.Layers, m.w.Dim, m.w.Heads, m.w.Length, m.w.TextDim} {
		w.count(n)
	}
	w.number(float64(m.w.UnknownBias))
	for _, p := range m.w.parts() {
		w.floats(*p.list)
	}
	return w.buf
}

func decodeNeural(data []byte, shared *ranker.ItemTable) (Learned, *ranker.ItemTable, error) {
	r := newReader(KindNeural, data)
	w := Weights{Items: r.items(shared)}
	for _, n := range []*int{&w.Layers, &w.Dim, &w.Heads, &w.Length, &w.TextDim} {
		*n = r.count(1)
	}
	w.UnknownBias = float32(r.number())
	if r.err != nil {
		return nil, nil, r.err
	}
	if err := w.checkSizes(); err != nil {
		return nil, nil, err
	}
	w.Blocks = make([]Block, w.Layers)
	for _, p := range w.parts() {
		*p.list = r.floats(p.want)
	}
	if err := r.end(); err != nil {
		return nil, nil, err
	}
	m, err := NewNeural(w)
	return m, w.Items, err
}
