package signals

import (
	"context"
	"fmt"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// TwoTower matches by a model of what users do next, trained on the log:
//
//	two_tower.score       the product of the user's vector, read off his last items, with the candidate's, plus its bias
//	two_tower.score_text  the same with what the candidate's text alone says of it, as if nobody had seen it yet
//
// An item that the model does not know, or that comes with a text of its own in the request, has its text's score as
// two_tower.score too. Columns are missing for a candidate that is neither known nor has a text, and for a user without a
// history.
type TwoTower struct {
	weights      TwoTowerWeights
	textToVector []float32 // Dim x TextDim: TextMap, by output
	layers       []attentionLayer
}

var _ TrainedSignal = (*TwoTower)(nil)

// KindTwoTower is the kind of Neural's file.
const KindTwoTower = "two_tower"

var twoTowerColumns = []string{"two_tower.score", "two_tower.score_text"}

// NewTwoTower checks the weights and makes their matcher, which keeps them: they must not be changed any more.
func NewTwoTower(w TwoTowerWeights) (*TwoTower, error) {
	if err := w.check(); err != nil {
		return nil, err
	}
	m := &TwoTower{weights: w, textToVector: transpose(w.TextProjection, w.TextDim, w.Dim)}
	for i := range w.Blocks {
		m.layers = append(m.layers, newAttentionLayer(&w, &w.Blocks[i]))
	}
	return m, nil
}

// Kind implements Learned.
func (*TwoTower) Kind() string { return KindTwoTower }

// Columns implements ranker.Matcher.
func (*TwoTower) Columns() []string { return twoTowerColumns }

// Weights are what the matcher serves. They must not be changed.
func (m *TwoTower) Weights() *TwoTowerWeights { return &m.weights }

// Compute implements ranker.Matcher. Vectors of another length than the model's texts have are an error: they are of
// another encoder.
func (m *TwoTower) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	return m.compute(in, out, m.UserVector)
}

// compute matches with the user's vector that user makes of a history.
func (m *TwoTower) compute(in *ranker.SignalInput, out []float32, user func(history [][]float32) []float32) error {
	for i := range out {
		out[i] = missing
	}
	for _, v := range in.ItemVectors {
		if v != nil && m.weights.TextDim > 0 && len(v) != m.weights.TextDim {
			return fmt.Errorf("matcher %s: a text vector of %d numbers; the model was trained on %d", KindTwoTower, len(v), m.weights.TextDim)
		}
	}
	n := in.ItemIndices(m.weights.Items)
	history := m.historyVectors(in, n.Recent)
	if len(history) == 0 {
		return nil
	}
	who := user(history)
	text, base := m.textQuery(who)
	for i, item := range n.Candidates {
		row := out[2*i : 2*i+2]
		if v := in.ItemVectors[i]; v != nil && text != nil {
			row[1] = vek32.Dot(text, v) + base
		}
		if row[0] = row[1]; item >= 0 && !hasInlineText(&in.Request.Candidates[i]) {
			row[0] = vek32.Dot(who, m.vector(item)) + m.weights.Bias[item]
		}
	}
	return nil
}

// hasInlineText tells whether the request brings the candidate's text.
func hasInlineText(c *ranker.Candidate) bool {
	return c.Inline != nil && (c.Inline.Title != "" || c.Inline.Text != "" || len(c.Inline.Tags) > 0)
}

// textQuery is the user's vector seen from the texts: his score for a text alone is the product with it, plus base.
func (m *TwoTower) textQuery(user []float32) (text []float32, base float32) {
	if m.weights.TextDim == 0 {
		return nil, 0
	}
	text = make([]float32, m.weights.TextDim)
	multiply(m.weights.TextProjection, user, text)
	return text, vek32.Dot(user, m.weights.TextOffset) + m.weights.UnknownBias
}

func (m *TwoTower) vector(item int32) []float32 {
	at := int(item) * m.weights.Dim
	return m.weights.Vectors[at : at+m.weights.Dim]
}

// historyVectors gives the vectors of the items that the model reads, oldest first. An item that repeats the one before it
// counts once, as in training; one that is neither known nor has a text is passed over.
func (m *TwoTower) historyVectors(in *ranker.SignalInput, numbers []int32) [][]float32 {
	newest := make([][]float32, 0, m.weights.HistoryLength)
	last := ""
	for k := range in.State.Recent {
		id := in.State.Recent[k].Item
		if len(newest) == m.weights.HistoryLength {
			break
		}
		if id == last {
			continue
		}
		last = id
		if numbers[k] >= 0 {
			newest = append(newest, m.vector(numbers[k]))
		} else if v := m.EncodeText(in.RecentVectors[k]); v != nil {
			newest = append(newest, v)
		}
	}
	for i, j := 0, len(newest)-1; i < j; i, j = i+1, j-1 {
		newest[i], newest[j] = newest[j], newest[i]
	}
	return newest
}

// EncodeText gives the vector of an item that is known by its text alone, nil for no text or one of another encoder.
func (m *TwoTower) EncodeText(text []float32) []float32 {
	if text == nil || len(text) != m.weights.TextDim {
		return nil
	}
	v := make([]float32, m.weights.Dim)
	multiply(m.textToVector, text, v)
	vek32.Add_Inplace(v, m.weights.TextOffset)
	return v
}
