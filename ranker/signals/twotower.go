package signals

import (
	"context"
	"fmt"
	"slices"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// TwoTower predicts what users do next with a two-tower model that was trained on the log. The user
// tower encodes a history as a vector, the item tower an item; the score is their inner product
// plus the item's bias:
//
//	two_tower.score       score of the candidate
//	two_tower.score_text  score of an unknown item with the candidate's text
//
// An item that the model does not know, or whose text the request brings, has two_tower.score_text
// as two_tower.score too. The columns are missing for a candidate that is neither known nor has a
// text, and for a user without a history. TwoTower is immutable and safe for concurrent use.
type TwoTower struct {
	weights      TwoTowerWeights
	textToVector []float32 // Dim x TextDim: TextProjection transposed
	layers       []attentionLayer
}

var _ TrainedSignal = (*TwoTower)(nil)

// KindTwoTower is the kind of TwoTower in bundles.
const KindTwoTower = "two_tower"

var twoTowerColumns = []string{"two_tower.score", "two_tower.score_text"}

// NewTwoTower returns the signal of the given weights, or an error that says why they cannot be
// served. It keeps their slices, which must not change afterwards.
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

// Kind implements TrainedSignal.
func (*TwoTower) Kind() string { return KindTwoTower }

// Columns implements ranker.Signal.
func (*TwoTower) Columns() []string { return twoTowerColumns }

// Weights returns the model's weights, which must not be changed.
func (m *TwoTower) Weights() *TwoTowerWeights { return &m.weights }

// InMemory implements ranker.InMemory.
func (*TwoTower) InMemory() bool { return true }

// Compute implements ranker.Signal. It returns an error if a text vector has another length than
// those of the training, because it comes from another encoder.
func (m *TwoTower) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	return m.compute(in, out, m.UserVector)
}

// compute is Compute with the given user tower.
func (m *TwoTower) compute(
	in *ranker.SignalInput, out []float32, userVector func(history [][]float32) []float32,
) error {
	fillMissing(out)
	if dim := m.weights.TextDim; dim > 0 {
		if err := checkLengths(in.ItemVectors, dim); err != nil {
			return fmt.Errorf("signal %s: %w", KindTwoTower, err)
		}
	}
	indices := in.ItemIndices(m.weights.Items)
	kept := ranker.OfHistory(in, m, nil, func() (*towerUser, int) {
		u := &towerUser{}
		if history := m.historyVectors(in, indices.Recent); len(history) > 0 {
			u.vector = userVector(history)
			u.textQuery, u.offset = m.textQuery(u.vector)
		}
		return u, 96 + 4*(len(u.vector)+len(u.textQuery))
	})
	user, textQuery, offset := kept.vector, kept.textQuery, kept.offset
	if user == nil {
		return nil
	}
	if textQuery != nil {
		m.writeTextScores(in.ItemVectors, textQuery, offset, out)
	}
	vectors := newRowSet(m.weights.Dim)
	defer vectors.free()
	isKnown := func(i int, item int32) bool {
		return item >= 0 && !hasInlineText(&in.Request.Candidates[i])
	}
	for i, item := range indices.Candidates {
		if isKnown(i, item) {
			vectors.add(m.vector(item))
		}
	}
	scores := vectors.dots(user)
	for i, item := range indices.Candidates {
		if row := out[2*i : 2*i+2]; isKnown(i, item) {
			row[0], scores = scores[0]+m.weights.Bias[item], scores[1:]
		} else {
			row[0] = row[1]
		}
	}
	return nil
}

// writeTextScores writes the column two_tower.score_text.
func (m *TwoTower) writeTextScores(
	vectors [][]float32, textQuery []float32, offset float32, out []float32,
) {
	texts := newRowSet(m.weights.TextDim)
	defer texts.free()
	for _, v := range vectors {
		if v != nil {
			texts.add(v)
		}
	}
	scores := texts.dots(textQuery)
	for i, v := range vectors {
		if v != nil {
			out[2*i+1], scores = scores[0]+offset, scores[1:]
		}
	}
}

// towerUser is what the user tower says of a user.
type towerUser struct {
	vector    []float32 // nil without a history
	textQuery []float32 // see TwoTower.textQuery
	offset    float32
}

// hasInlineText reports whether the request brings the candidate's text.
func hasInlineText(c *ranker.Candidate) bool {
	return c.Inline != nil &&
		(c.Inline.Title != "" || c.Inline.Text != "" || len(c.Inline.Tags) > 0)
}

// textQuery maps the user's vector to the space of text vectors. The user's score of an unknown
// item is the inner product with its text vector, plus offset. query is nil for a model without
// text.
func (m *TwoTower) textQuery(user []float32) (query []float32, offset float32) {
	w := &m.weights
	if w.TextDim == 0 {
		return nil, 0
	}
	query = make([]float32, w.TextDim)
	multiply(w.TextProjection, user, query)
	return query, vek32.Dot(user, w.TextOffset) + w.UnknownBias
}

// vector returns the vector of a known item.
func (m *TwoTower) vector(item int32) []float32 {
	at := int(item) * m.weights.Dim
	return m.weights.Vectors[at : at+m.weights.Dim]
}

// historyVectors returns the vectors of the items that the user tower reads, oldest first. As in
// training, an item that repeats the one before it counts once, and an item that is neither known
// nor has a text is skipped.
func (m *TwoTower) historyVectors(in *ranker.SignalInput, indices []int32) [][]float32 {
	vectors := make([][]float32, 0, m.weights.HistoryLength) // newest first
	last := ""
	for k := range in.State.Recent {
		id := in.State.Recent[k].Item
		if len(vectors) == m.weights.HistoryLength {
			break
		}
		if id == last {
			continue
		}
		last = id
		if indices[k] >= 0 {
			vectors = append(vectors, m.vector(indices[k]))
		} else if v := m.EncodeText(in.RecentVectors[k]); v != nil {
			vectors = append(vectors, v)
		}
	}
	slices.Reverse(vectors)
	return vectors
}

// EncodeText is the item tower for an unknown item: it returns the item vector of a text vector. It
// is nil for no text and for a vector of another encoder.
func (m *TwoTower) EncodeText(text []float32) []float32 {
	if text == nil || len(text) != m.weights.TextDim {
		return nil
	}
	v := make([]float32, m.weights.Dim)
	multiply(m.textToVector, text, v)
	vek32.Add_Inplace(v, m.weights.TextOffset)
	return v
}
