package signals

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// The history that text and token signals read. An interaction's weight is historyDecay to the
// power of its position, 0 for the newest. 0.8 was the best of the simple weightings on held-out
// purchases, and after 50 positions the weight is almost 0. The maximum reads fewer items, because
// it costs one product for each item and candidate.
const (
	historyDecay   = 0.8
	maxMeanItems   = 50
	maxRecentItems = 16
)

var missing = float32(math.NaN())

func fillMissing(out []float32) {
	for i := range out {
		out[i] = missing
	}
}

// TextSimilarity compares texts by the cosine similarity of their vectors:
//
//	text.mean    candidate and recency-weighted mean of the history
//	text.recent  candidate and the last item
//	text.max     the largest of the candidate and any of the last 16 items
//	text.query   candidate and search text
//
// All but text.query are cosines after a mean was subtracted: that of the catalogue, or in the
// prior that of common words. A text about everything, such as a list of keywords, is close to the
// mean, and so similar to any history; what is left of it after the subtraction is not (Mu and
// Viswanath 2018, All-but-the-Top).
//
// A column is missing if either side has no vector. The zero value is ready to use and subtracts
// nothing. TextSimilarity is read-only once built and safe for concurrent use.
type TextSimilarity struct{ mean *textMean }

// textMean is the mean that is subtracted from text vectors.
type textMean struct {
	vector []float32
	square float32 // its squared length
}

// NewTextSimilarity returns the signal that subtracts a mean of text vectors, of the encoder whose
// vectors are compared. It keeps the slice.
func NewTextSimilarity(mean []float32) TextSimilarity {
	return TextSimilarity{&textMean{mean, vek32.Dot(mean, mean)}}
}

var _ TrainedSignal = TextSimilarity{}

var textColumns = []string{"text.mean", "text.recent", "text.max", "text.query"}

// Kind implements TrainedSignal.
func (TextSimilarity) Kind() string { return KindText }

// Columns implements ranker.Signal.
func (TextSimilarity) Columns() []string { return textColumns }

// InMemory implements ranker.InMemory.
func (TextSimilarity) InMemory() bool { return true }

// Compute implements ranker.Signal. It returns an error if a text vector has another length than
// the mean, because it comes from another encoder.
func (t TextSimilarity) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	if t.mean != nil {
		dim := len(t.mean.vector)
		err := cmp.Or(checkLengths(in.ItemVectors, dim), checkLengths(in.RecentVectors, dim))
		if err != nil {
			return fmt.Errorf("signal %s: %w", KindText, err)
		}
	}
	history := ranker.OfHistory(in, t, nil, func() (*textHistory, int) {
		h := t.newHistory(in)
		return h, 96 + 4*(len(h.recent)+len(h.mean)) + 8*len(h.centerings)
	})
	rows := t.rows(history, in)
	if rows == nil {
		fillMissing(out)
		return nil
	}
	defer rows.free()
	for i, v := range in.ItemVectors {
		row := out[i*4 : i*4+4]
		row[0], row[1], row[2], row[3] = missing, missing, missing, missing
		if v == nil {
			continue
		}
		products := rows.dots(v)
		if in.QueryVector != nil {
			row[3], products = products[0], products[1:]
		}
		if len(products) == 0 {
			continue
		}
		if t.mean != nil {
			products = history.center(products, t.mean.square)
		}
		row[0], row[1] = products[0], products[1]
		row[2] = max(-1, slices.Max(products[1:]))
	}
	return nil
}

// checkLengths returns an error if a vector has another length than those of the training.
func checkLengths(vectors [][]float32, length int) error {
	for _, v := range vectors {
		if v != nil && len(v) != length {
			return fmt.Errorf("a text vector has %d numbers, but the model was trained with %d; "+
				"use the encoder of the training", len(v), length)
		}
	}
	return nil
}

// textHistory is what a history says of a user's texts.
type textHistory struct {
	mean   []float32 // see weightedMean
	recent []int32   // indices in RecentVectors of the last maxRecentItems different items
	// If the catalogue's mean is subtracted: its product with the history's mean, from whose items
	// it was subtracted already, and the centerings of the last items.
	product    float32
	centerings []centering
}

// center turns a candidate's products with the catalogue's mean, the history's mean and the last
// items into cosines with all but the first, in the same memory.
func (h *textHistory) center(products []float32, square float32) []float32 {
	candidate := newCentering(products[0], 1, square)
	products = products[1:]
	products[0] = (products[0] - h.product) / candidate.length
	for k, p := range h.centerings {
		products[k+1] = centeredCosine(products[k+1], candidate, p, square)
	}
	return products
}

// rows returns what each candidate is compared with: the vector of the search text, the catalogue's
// mean, the history's mean, and the last items, as far as they are there. It is nil if nothing is
// there. The caller frees it.
func (t TextSimilarity) rows(h *textHistory, in *ranker.SignalInput) *rowSet {
	if in.QueryVector == nil && h.mean == nil {
		return nil
	}
	rows := newRowSet(max(len(in.QueryVector), len(h.mean)))
	if in.QueryVector != nil {
		rows.add(in.QueryVector)
	}
	if h.mean != nil {
		if t.mean != nil {
			rows.add(t.mean.vector)
		}
		rows.add(h.mean)
		for _, k := range h.recent {
			rows.add(in.RecentVectors[k])
		}
	}
	return rows
}

func (t TextSimilarity) newHistory(in *ranker.SignalInput) *textHistory {
	indices := distinctVectors(in, maxMeanItems)
	vectors := make([][]float32, len(indices))
	for i, k := range indices {
		vectors[i] = in.RecentVectors[k]
	}
	h := &textHistory{recent: indices[:min(len(indices), maxRecentItems)]}
	if t.mean == nil {
		h.mean = weightedMean(vectors)
		return h
	}
	for i, v := range vectors {
		p := newCentering(vek32.Dot(v, t.mean.vector), 1, t.mean.square)
		if i < len(h.recent) {
			h.centerings = append(h.centerings, p)
		}
		vectors[i] = vek32.DivNumber(vek32.Sub(v, t.mean.vector), p.length)
	}
	if h.mean = weightedMean(vectors); h.mean != nil {
		h.product = vek32.Dot(h.mean, t.mean.vector)
	}
	return h
}

// Encode implements TrainedSignal. A signal that subtracts nothing has no file.
func (t TextSimilarity) Encode() []byte {
	if t.mean == nil {
		return nil
	}
	w := newFileWriter(KindText)
	w.floats(t.mean.vector)
	return w.buf
}

// maxMean bounds what may be subtracted from each number of a vector of unit length.
const maxMean = 2

func decodeText(data []byte, _ *ranker.ItemTable) (TrainedSignal, *ranker.ItemTable, error) {
	r := newFileReader(KindText, data)
	mean := r.floats(-1)
	isTooLarge := func(x float32) bool { return x < -maxMean || x > maxMean }
	if r.err == nil && (len(mean) == 0 || slices.ContainsFunc(mean, isTooLarge)) {
		r.err = malformed("the mean of the texts is empty or too large")
	}
	if err := r.end(); err != nil {
		return nil, nil, err
	}
	return NewTextSimilarity(mean), nil, nil
}

// distinctVectors returns the indices of the last n different items of the history that have a
// vector, newest first.
func distinctVectors(in *ranker.SignalInput, n int) []int32 {
	out := make([]int32, 0, n)
	seen := make(map[string]struct{}, n)
	for k, v := range in.RecentVectors {
		if len(out) == n {
			break
		}
		id := in.State.Recent[k].Item
		if _, again := seen[id]; again || v == nil {
			continue
		}
		seen[id] = struct{}{}
		out = append(out, int32(k))
	}
	return out
}

// weightedMean returns the recency-weighted mean of the history, scaled to unit length. It is nil
// for an empty history and for vectors that cancel out.
func weightedMean(history [][]float32) []float32 {
	if len(history) == 0 {
		return nil
	}
	mean := make([]float32, len(history[0]))
	weight := float32(1)
	for _, v := range history {
		for i, x := range v {
			mean[i] += weight * x
		}
		weight *= historyDecay
	}
	norm := vek32.Norm(mean)
	if norm < 1e-6 {
		return nil
	}
	vek32.MulNumber_Inplace(mean, 1/norm)
	return mean
}
