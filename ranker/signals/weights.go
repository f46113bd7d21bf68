package signals

import (
	"fmt"

	"relish/ranker"
)

// TwoTowerWeights are a trained match model, which training fills and Neural serves. Matrices are row-major and multiply
// from the right: y = x M, so that M is inputs x outputs.
type TwoTowerWeights struct {
	Layers        int // blocks of attention; 0: pooling
	Dim           int // of item and user vectors
	Heads         int // of attention; they divide Dim
	HistoryLength int // items of a history that are read
	TextDim       int // of text vectors, 0: the model reads no text

	// The item half. A known item has its whole vector, the text's part and its own; one that is not known has
	// text TextMap + TextOffset, and the bias UnknownBias.
	Items          *ranker.ItemTable
	Vectors        []float32 // items x Dim
	Bias           []float32 // by item
	TextProjection []float32 // TextDim x Dim
	TextOffset     []float32 // Dim, or nothing without text
	UnknownBias    float32

	// The user half.
	PoolKey []float32        // Dim, only without layers
	Recency []float32        // Length, by distance from the newest, only without layers
	Blocks  []AttentionBlock // Layers
	Gain    []float32        // Dim
}

// AttentionBlock is one layer: attention and a feed-forward part.
type AttentionBlock struct {
	Query, Key, Value, Out []float32 // Dim x Dim
	PositionBias           []float32 // Heads x Length: added to the score of an item so many places back
	Up, UpBias             []float32 // Dim x 2 Dim, 2 Dim
	Down, DownBias         []float32 // 2 Dim x Dim, Dim
}

// tensor is a list of numbers with the length that it must have.
type tensor struct {
	name string
	list *[]float32
	want int
}

// tensors lists all numbers, in the file's order. The sizes must be set.
func (w *TwoTowerWeights) tensors() []tensor {
	d := w.Dim
	out := []tensor{
		{"vectors", &w.Vectors, w.Items.Len() * d}, {"bias", &w.Bias, w.Items.Len()},
		{"text map", &w.TextProjection, w.TextDim * d}, {"gain", &w.Gain, d},
	}
	if w.TextDim > 0 {
		out = append(out, tensor{"text offset", &w.TextOffset, d})
	}
	if w.Layers == 0 {
		out = append(out, tensor{"pool key", &w.PoolKey, d}, tensor{"recency", &w.Recency, w.HistoryLength})
	}
	for i := range w.Blocks {
		b := &w.Blocks[i]
		out = append(out,
			tensor{"query", &b.Query, d * d}, tensor{"key", &b.Key, d * d}, tensor{"value", &b.Value, d * d}, tensor{"out", &b.Out, d * d},
			tensor{"distance", &b.PositionBias, w.Heads * w.HistoryLength},
			tensor{"up", &b.Up, 2 * d * d}, tensor{"up bias", &b.UpBias, 2 * d}, tensor{"down", &b.Down, 2 * d * d}, tensor{"down bias", &b.DownBias, d})
	}
	return out
}

// checkSizes reports sizes that no model has. They bound what is computed per request.
func (w *TwoTowerWeights) checkSizes() error {
	switch {
	case w.Layers < 0 || w.Layers > 16, w.Dim < 1 || w.Dim > maxDim, w.HistoryLength < 1 || w.HistoryLength > 1000, w.TextDim < 0 || w.TextDim > 1<<16:
		return fmt.Errorf("a match model of %d layers, width %d, length %d and text vectors of %d cannot be served", w.Layers, w.Dim, w.HistoryLength, w.TextDim)
	case w.Heads < 1 || w.Dim%w.Heads != 0:
		return fmt.Errorf("a match model's %d heads do not divide its width %d", w.Heads, w.Dim)
	}
	return nil
}

// check reports a list of the wrong length or a number that is not finite.
func (w *TwoTowerWeights) check() error {
	if err := w.checkSizes(); err != nil {
		return err
	}
	if w.Items == nil || len(w.Blocks) != w.Layers {
		return fmt.Errorf("a match model without items, or with %d of %d layers", len(w.Blocks), w.Layers)
	}
	for _, p := range w.tensors() {
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
func (m *TwoTower) Encode() []byte {
	w := newFileWriter(KindTwoTower)
	w.strings(m.weights.Items.IDs())
	for _, n := range []int{m.weights.Layers, m.weights.Dim, m.weights.Heads, m.weights.HistoryLength, m.weights.TextDim} {
		w.count(n)
	}
	w.number(float64(m.weights.UnknownBias))
	for _, p := range m.weights.tensors() {
		w.floats(*p.list)
	}
	return w.buf
}

func decodeTwoTower(data []byte, shared *ranker.ItemTable) (TrainedSignal, *ranker.ItemTable, error) {
	r := newFileReader(KindTwoTower, data)
	w := TwoTowerWeights{Items: r.items(shared)}
	for _, n := range []*int{&w.Layers, &w.Dim, &w.Heads, &w.HistoryLength, &w.TextDim} {
		*n = r.count(1)
	}
	w.UnknownBias = float32(r.number())
	if r.err != nil {
		return nil, nil, r.err
	}
	if err := w.checkSizes(); err != nil {
		return nil, nil, err
	}
	w.Blocks = make([]AttentionBlock, w.Layers)
	for _, p := range w.tensors() {
		*p.list = r.floats(p.want)
	}
	if err := r.end(); err != nil {
		return nil, nil, err
	}
	m, err := NewTwoTower(w)
	return m, w.Items, err
}
