package signals

import (
	"errors"
	"fmt"

	"relish/ranker"
)

// TwoTowerWeights holds the weights of a trained two-tower model. Training fills them and TwoTower
// serves them. Matrices are inputs x outputs, row-major: y = x M.
type TwoTowerWeights struct {
	Layers        int // attention blocks, 0 to 16; 0: pooling
	Dim           int // of item and user vectors
	Heads         int // of attention; divides Dim
	HistoryLength int // items of a history that the user tower reads, 1 to 1000
	TextDim       int // of text vectors; 0: the model reads no text

	// The item tower. The vector of a known item is stored; it includes its text's part. An unknown
	// item has the vector text x TextProjection + TextOffset and the bias UnknownBias.
	Items          *ranker.ItemTable
	Vectors        []float32 // items x Dim
	Bias           []float32 // by item
	TextProjection []float32 // TextDim x Dim
	TextOffset     []float32 // Dim; empty without text
	UnknownBias    float32

	// The user tower.
	PoolKey []float32        // Dim, only without layers
	Recency []float32        // HistoryLength, by distance from the newest item, only without layers
	Blocks  []AttentionBlock // Layers
	Gain    []float32        // Dim: scale of the last layer norm
}

// AttentionBlock holds the weights of one layer: self-attention and a feed-forward network.
type AttentionBlock struct {
	Query, Key, Value, Out []float32 // Dim x Dim
	PositionBias           []float32 // Heads x HistoryLength: added to the score, by distance
	Up, UpBias             []float32 // Dim x 2 Dim, 2 Dim
	Down, DownBias         []float32 // 2 Dim x Dim, Dim
}

// tensor names a list of weights and its length.
type tensor struct {
	name   string
	values *[]float32
	want   int
}

// tensors returns all weights, in the order of the file. The sizes must be set.
func (w *TwoTowerWeights) tensors() []tensor {
	d := w.Dim
	out := []tensor{
		{"vectors", &w.Vectors, w.Items.Len() * d},
		{"bias", &w.Bias, w.Items.Len()},
		{"text projection", &w.TextProjection, w.TextDim * d},
		{"gain", &w.Gain, d},
	}
	if w.TextDim > 0 {
		out = append(out, tensor{"text offset", &w.TextOffset, d})
	}
	if w.Layers == 0 {
		out = append(out,
			tensor{"pool key", &w.PoolKey, d},
			tensor{"recency", &w.Recency, w.HistoryLength})
	}
	for i := range w.Blocks {
		b := &w.Blocks[i]
		out = append(out,
			tensor{"query", &b.Query, d * d},
			tensor{"key", &b.Key, d * d},
			tensor{"value", &b.Value, d * d},
			tensor{"out", &b.Out, d * d},
			tensor{"position bias", &b.PositionBias, w.Heads * w.HistoryLength},
			tensor{"up", &b.Up, 2 * d * d},
			tensor{"up bias", &b.UpBias, 2 * d},
			tensor{"down", &b.Down, 2 * d * d},
			tensor{"down bias", &b.DownBias, d})
	}
	return out
}

// checkSizes returns an error for sizes out of range. The ranges bound the work for each request.
func (w *TwoTowerWeights) checkSizes() error {
	switch {
	case w.Layers < 0 || w.Layers > 16:
		return fmt.Errorf("a two-tower model has %d layers; it must have 0 to 16", w.Layers)
	case w.Dim < 1 || w.Dim > maxDim:
		return fmt.Errorf("a two-tower model has dimension %d; it must be 1 to %d", w.Dim, maxDim)
	case w.HistoryLength < 1 || w.HistoryLength > 1000:
		return fmt.Errorf(
			"a two-tower model reads %d items; it must read 1 to 1000",
			w.HistoryLength,
		)
	case w.TextDim < 0 || w.TextDim > 1<<16:
		return fmt.Errorf("a two-tower model has text vectors of %d numbers; the maximum is %d",
			w.TextDim, 1<<16)
	case w.Heads < 1 || w.Dim%w.Heads != 0:
		return fmt.Errorf("a two-tower model has %d heads, which do not divide its dimension %d",
			w.Heads, w.Dim)
	}
	return nil
}

// check returns an error for sizes out of range, lists of wrong lengths, and values that are not
// finite.
func (w *TwoTowerWeights) check() error {
	if err := w.checkSizes(); err != nil {
		return err
	}
	if w.Items == nil {
		return errors.New("a two-tower model has no item table")
	}
	if len(w.Blocks) != w.Layers {
		return fmt.Errorf("a two-tower model has %d of %d layers", len(w.Blocks), w.Layers)
	}
	for _, t := range w.tensors() {
		if len(*t.values) != t.want {
			return fmt.Errorf("a two-tower model's %s has %d values, expected %d",
				t.name, len(*t.values), t.want)
		}
		for _, x := range *t.values {
			if x-x != 0 {
				return fmt.Errorf("a two-tower model's %s has a value that is not finite", t.name)
			}
		}
	}
	return nil
}

// Encode implements TrainedSignal.
func (m *TwoTower) Encode() []byte {
	w := newFileWriter(KindTwoTower)
	w.strings(m.weights.Items.IDs())
	for _, n := range []int{
		m.weights.Layers, m.weights.Dim, m.weights.Heads, m.weights.HistoryLength,
		m.weights.TextDim,
	} {
		w.count(n)
	}
	w.number(float64(m.weights.UnknownBias))
	for _, t := range m.weights.tensors() {
		w.floats(*t.values)
	}
	return w.buf
}

func decodeTwoTower(
	data []byte, shared *ranker.ItemTable,
) (TrainedSignal, *ranker.ItemTable, error) {
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
	for _, t := range w.tensors() {
		*t.values = r.floats(t.want)
	}
	if err := r.end(); err != nil {
		return nil, nil, err
	}
	m, err := NewTwoTower(w)
	return m, w.Items, err
}
