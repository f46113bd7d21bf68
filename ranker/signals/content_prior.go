package signals

import (
	"context"
	"math"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// ContentPrior predicts an item's popularity from its content, and corrects the prediction by the
// item's own counts:
//
//	content_prior.strength  log-odds of a click that the content predicts, relative to all items;
//	                        for a log without impressions, log1p of the interactions
//	content_prior.log_odds  log-odds of a click relative to all items, smoothed towards the
//	                        prediction: an item with few impressions has those that its content
//	                        predicts, an item with many has its own; missing for a log without
//	                        impressions
//
// It is a ridge regression over the item's content vector and numeric fields. An item of the
// training log has its leave-one-out prediction, the value that the other items predict for it,
// even if it is ranked as a cold start. Its own clicks must not come back as content, and the
// regression would say the same of it if nobody had interacted with it. ContentPrior is read-only
// once built and safe for concurrent use.
type ContentPrior struct {
	Items          *ranker.ItemTable
	LeaveOneOut    []float32 // by item
	Projection     *Projection
	NumericFields  []string
	Means          []float32 // by numeric field, of SignedLog1p of the values
	InverseStdDevs []float32 // by numeric field
	// Weights are those of the regressors: Projection.Dim(), then numberTerms for each numeric
	// field.
	Weights   []float32
	Intercept float64
	// MeanLogOdds are the log-odds of a click on any item. The prediction counts as much as
	// PriorImpressions impressions of the item; 0: the log has no impressions.
	MeanLogOdds, PriorImpressions float64
}

var _ TrainedSignal = (*ContentPrior)(nil)

// KindContentPrior is the kind of ContentPrior in bundles.
const KindContentPrior = "content_prior"

// numberTerms is the number of regressors of a numeric field: its standardized value x, 1 if the
// item has it, and x² - 1.
const numberTerms = 3

// maxStdDevs clips standardized values, so that one film with a thousand times the budget does not
// decide the prediction.
const maxStdDevs = 4

var contentPriorColumns = []string{"content_prior.strength", contentPriorLogOdds}

const contentPriorLogOdds = "content_prior.log_odds"

// Kind implements TrainedSignal.
func (*ContentPrior) Kind() string { return KindContentPrior }

// Columns implements ranker.Signal.
func (*ContentPrior) Columns() []string { return contentPriorColumns }

// Compute implements ranker.Signal.
func (c *ContentPrior) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	indices := in.ItemIndices(c.Items)
	var regressors []float32
	for i, item := range indices.Candidates {
		if candidate := &in.Request.Candidates[i]; candidate.ColdStart {
			item = c.Items.Index(candidate.ID)
		}
		row := out[2*i : 2*i+2]
		row[0], row[1] = missing, missing
		if item >= 0 {
			row[0] = c.LeaveOneOut[item]
		} else if in.State.Items[i] != nil {
			if regressors == nil {
				regressors = make([]float32, len(c.Weights))
			}
			c.Regressors(in.State.Items[i], in.ItemVectors[i], regressors)
			if row[0] = float32(c.Intercept); len(regressors) > 0 {
				row[0] += vek32.Dot(regressors, c.Weights)
			}
		}
		if c.PriorImpressions > 0 {
			var counts ranker.ItemCounts
			if i < len(in.State.Counts) {
				counts = in.State.Counts[i]
			}
			row[1] = float32(c.LogOdds(row[0], counts))
		}
	}
	return nil
}

// LogOdds returns the log-odds of a click relative to all items, for an item with the given counts.
// strength is what its content predicts, NaN for nothing. PriorImpressions must be above 0.
func (c *ContentPrior) LogOdds(strength float32, counts ranker.ItemCounts) float64 {
	predicted := c.MeanLogOdds
	if strength == strength {
		predicted += float64(strength)
	}
	clicks := counts.Actions + c.PriorImpressions*Sigmoid(predicted)
	others := max(0, counts.Shown-counts.Actions) + c.PriorImpressions*Sigmoid(-predicted)
	return math.Log(clicks/others) - c.MeanLogOdds
}

// RegressorCount returns the number of regressors.
func (c *ContentPrior) RegressorCount() int {
	return c.Projection.Dim() + numberTerms*len(c.NumericFields)
}

// Regressors writes what the regression reads of an item to out, which has length
// RegressorCount. vector is that of the item's text, nil without one.
func (c *ContentPrior) Regressors(info *ranker.ItemInfo, vector, out []float32) {
	d := c.Projection.Dim()
	c.Projection.Project(info, vector, out[:d])
	for k, name := range c.NumericFields {
		x, present, square := float32(0), float32(0), float32(0)
		if v, ok := info.Fields[name]; ok && (v.Kind == ranker.Number || v.Kind == ranker.Bool) {
			standardized := (SignedLog1p(v.Num) - c.Means[k]) * c.InverseStdDevs[k]
			x, present = max(-maxStdDevs, min(maxStdDevs, standardized)), 1
			square = x*x - 1
		}
		terms := out[d+numberTerms*k : d+numberTerms*(k+1)]
		terms[0], terms[1], terms[2] = x, present, square
	}
}

// SignedLog1p returns log1p of the magnitude of x with the sign of x. It suits counts and prices,
// whose distributions are skewed.
func SignedLog1p(x float64) float32 { return float32(math.Copysign(math.Log1p(math.Abs(x)), x)) }

// Encode implements TrainedSignal.
func (c *ContentPrior) Encode() []byte {
	w := newFileWriter(KindContentPrior)
	w.strings(c.Items.IDs())
	c.encode(w)
	return w.buf
}

// encode writes everything but the items.
func (c *ContentPrior) encode(w *fileWriter) {
	w.floats(c.LeaveOneOut)
	c.Projection.encode(w)
	w.strings(c.NumericFields)
	w.floats(c.Means)
	w.floats(c.InverseStdDevs)
	w.floats(c.Weights)
	w.number(c.Intercept)
	w.number(c.MeanLogOdds)
	w.number(c.PriorImpressions)
}

func decodeContentPrior(
	data []byte, shared *ranker.ItemTable,
) (TrainedSignal, *ranker.ItemTable, error) {
	r := newFileReader(KindContentPrior, data)
	c := r.contentPrior(r.items(shared))
	return c, c.Items, r.end()
}

// contentPrior reads what encode wrote.
func (r *fileReader) contentPrior(items *ranker.ItemTable) *ContentPrior {
	c := &ContentPrior{Items: items}
	c.LeaveOneOut, c.Projection = r.floats(items.Len()), r.projection()
	c.NumericFields = r.strings()
	n := len(c.NumericFields)
	c.Means, c.InverseStdDevs = r.floats(n), r.floats(n)
	c.Weights, c.Intercept = r.floats(c.RegressorCount()), r.number()
	c.MeanLogOdds, c.PriorImpressions = r.number(), r.number()
	if r.err == nil && (c.PriorImpressions < 0 || math.Abs(c.MeanLogOdds) > 50) {
		r.err = malformed("mean log-odds %g and %g prior impressions",
			c.MeanLogOdds, c.PriorImpressions)
	}
	return c
}
