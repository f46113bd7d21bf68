package match

import (
	"context"
	"fmt"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// Neural matches by a model of what users do next, trained on the log:
//
//	match.score       the product of the user's vector, read off his last items, with the candidate's, plus its bias
//	match.score_text  the same with what the candidate's text alone says of it, as if nobody had seen it yet
//
// An item that the model does not know, or that comes with a text of its own in the request, has its text's score as
// match.score too. Columns are missing for a candidate that is neither known nor has a text, and for a user without a
// history.
type Neural struct {
	w      Weights
	toDim  []float32 // Dim x TextDim: TextMap, by output
	layers []layer
}

var _ Learned = (*Neural)(nil)

// KindNeural is the kind of Neural's file.
const KindNeural = "match"

var neuralColumns = []string{"match.score", "match.score_text"}

// NewNeural checks the weights and makes their matcher, which keeps them: they must not be changed any more.
func NewNeural(w Weights) (*Neural, error) {
	if err := w.check(); err != nil {
		return nil, err
	}
	m := &Neural{w: w, toDim: transpose(w.TextMap, w.TextDim, w.Dim)}
	for i := range w.Blocks {
		m.layers = append(m.layers, newLayer(&w, &w.Blocks[i]))
	}
	return m, nil
}

// Kind implements Learned.
func (*Neural) Kind() string { return KindNeural }

// Columns implements ranker.Matcher.
func (*Neural) Columns() []string { return neuralColumns }

// Weights are what the matcher serves. They must not be changed.
func (m *Neural) Weights() *Weights { return &m.w }

// Match implements ranker.Matcher. Vectors of another length than the model's texts have are an error: they are of
// another encoder.
func (m *Neural) Match(_ context.Context, in *ranker.MatchInput, out []float32) error {
	return m.match(in, out, m.User)
}

// match matches with the user's vector that user makes of a history.
func (m *Neural) match(in *ranker.MatchInput, out []float32, user func(history [][]float32) []float32) error {
	for i := range out {
		out[i] = missing
	}
	for _, v := range in.ItemVectors {
		if v != nil && m.w.TextDim > 0 && len(v) != m.w.TextDim {
			return fmt.Errorf("matcher %s: a text vector of %d numbers; the model was trained on %d", KindNeural, len(v), m.w.TextDim)
		}
	}
	n := in.Numbers(m.w.Items)
	history := m.history(in, n.Recent)
	if len(history) == 0 {
		return nil
	}
	who := user(history)
	text, base := m.byText(who)
	for i, item := range n.Candidates {
		row := out[2*i : 2*i+2]
		if v := in.ItemVectors[i]; v != nil && text != nil {
			row[1] = vek32.Dot(text, v) + base
		}
		if row[0] = row[1]; item >= 0 && !ownText(&in.Request.Candidates[i]) {
			row[0] = vek32.Dot(who, m.vector(item)) + m.w.Bias[item]
		}
	}
	return nil
}

// ownText tells whether the request brings the candidate's text.
func ownText(c *ranker.Candidate) bool {
	return c.Inline != nil && (c.Inline.Title != "" || c.Inline.Text != "" || len(c.Inline.Tags) > 0)
}

// byText is the user's vector seen from the texts: his score for a text alone is the product with it, plus base.
func (m *Neural) byText(user []float32) (text []float32, base float32) {
	if m.w.TextDim == 0 {
		return nil, 0
	}
	text = make([]float32, m.w.TextDim)
	apply(m.w.TextMap, user, text)
	return text, vek32.Dot(user, m.w.TextOffset) + m.w.UnknownBias
}

func (m *Neural) vector(item int32) []float32 {
	at := int(item) * m.w.Dim
	return m.w.Vectors[at : at+m.w.Dim]
}

// history gives the vectors of the items that the model reads, oldest first. An item that repeats the one before it
// counts once, as in training; one that is neither known nor has a text is passed over.
func (m *Neural) history(in *ranker.MatchInput, numbers []int32) [][]float32 {
	newest := make([][]float32, 0, m.w.Length)
	last := ""
	for k := range in.State.Recent {
		id := in.State.Recent[k].Item
		if len(newest) == m.w.Length {
			break
		}
		if id == last {
			continue
		}
		last = id
		if numbers[k] >= 0 {
			newest = append(newest, m.vector(numbers[k]))
		} else if v := m.TextVector(in.HistoryVectors[k]); v != nil {
			newest = append(newest, v)
		}
	}
	for i, j := 0, len(newest)-1; i < j; i, j = i+1, j-1 {
		newest[i], newest[j] = newest[j], newest[i]
	}
	return newest
}

// TextVector gives the vector of an item that is known by its text alone, nil for no text or one of another encoder.
func (m *Neural) TextVector(text []float32) []float32 {
	if text == nil || len(text) != m.w.TextDim {
		return nil
	}
	v := make([]float32, m.w.Dim)
	apply(m.toDim, text, v)
	vek32.Add_Inplace(v, m.w.TextOffset)
	return v
}
