package signals

import (
	"context"
	"math"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// ContentPrior predicts from an item's content alone how strong it is, for items that nobody has met:
//
//	content_prior.strength  log-odds of a click; of a log without impressions, log1p of the interactions
//
// It is a ridge regression over the item's place by content and its numeric fields. An item that the training knew has
// the value that the other items predict for it (leave-one-out), even where it is ranked as new: its own clicks must not
// come back as content, and that is what the regression would say of it if nobody had met it.
type ContentPrior struct {
	Items          *ranker.ItemTable
	LeaveOneOut    []float32 // by item: the leave-one-out prediction
	Projection     *Projection
	NumericFields  []string  // numeric fields
	Means          []float32 // aligned with Numbers
	InverseStdDevs []float32 // one over the standard deviation
	Weights        []float32 // Space.Dim(), then two per number: its standardised value, and 1 if it is there
	Intercept      float64
}

var _ TrainedSignal = (*ContentPrior)(nil)

// KindContentPrior is the kind of Content's file.
const KindContentPrior = "content_prior"

var contentPriorColumns = []string{"content_prior.strength"}

// Kind implements Learned.
func (*ContentPrior) Kind() string { return KindContentPrior }

// Columns implements ranker.Matcher.
func (*ContentPrior) Columns() []string { return contentPriorColumns }

// Compute implements ranker.Matcher.
func (c *ContentPrior) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	n := in.ItemIndices(c.Items)
	var row []float32
	for i, item := range n.Candidates {
		if cand := &in.Request.Candidates[i]; cand.ColdStart {
			item = c.Items.Index(cand.ID)
		}
		if item >= 0 {
			out[i] = c.LeaveOneOut[item]
			continue
		}
		if out[i] = missing; in.State.Items[i] == nil {
			continue
		}
		if row == nil {
			row = make([]float32, len(c.Weights))
		}
		c.Regressors(in.State.Items[i], in.ItemVectors[i], row)
		if out[i] = float32(c.Intercept); len(row) > 0 {
			out[i] += vek32.Dot(row, c.Weights)
		}
	}
	return nil
}

// Regressors writes what the regression reads of an item to out, of length Space.Dim() + 2 len(Numbers). vector is its text's,
// nil for none.
func (c *ContentPrior) Regressors(info *ranker.ItemInfo, vector, out []float32) {
	d := c.Projection.Dim()
	c.Projection.Project(info, vector, out[:d])
	for k, name := range c.NumericFields {
		x, there := float32(0), float32(0)
		if v, ok := info.Fields[name]; ok && (v.Kind == ranker.Number || v.Kind == ranker.Bool) {
			// Extremes are cut: one film with a thousand times the budget must not decide.
			x, there = max(-4, min(4, (SignedLog1p(v.Num)-c.Means[k])*c.InverseStdDevs[k])), 1
		}
		out[d+2*k], out[d+2*k+1] = x, there
	}
}

// SignedLog1p takes the logarithm of a number's size and keeps its sign, as counts and prices ask for.
func SignedLog1p(x float64) float32 { return float32(math.Copysign(math.Log1p(math.Abs(x)), x)) }

// Encode implements Learned.
func (c *ContentPrior) Encode() []byte {
	w := newFileWriter(KindContentPrior)
	w.strings(c.Items.IDs())
	w.floats(c.LeaveOneOut)
	c.Projection.encode(w)
	w.strings(c.NumericFields)
	w.floats(c.Means)
	w.floats(c.InverseStdDevs)
	w.floats(c.Weights)
	w.number(c.Intercept)
	return w.buf
}

func decodeContentPrior(data []byte, shared *ranker.ItemTable) (TrainedSignal, *ranker.ItemTable, error) {
	r := newFileReader(KindContentPrior, data)
	c := &ContentPrior{Items: r.items(shared)}
	c.LeaveOneOut, c.Projection, c.NumericFields = r.floats(c.Items.Len()), r.projection(), r.strings()
	k := len(c.NumericFields)
	c.Means, c.InverseStdDevs = r.floats(k), r.floats(k)
	c.Weights, c.Intercept = r.floats(c.Projection.Dim()+2*k), r.number()
	return c, c.Items, r.end()
}
