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
// The prediction is a sum of effects: of the item's field values, of the directions of its text,
// and for each numeric field of the item's place among the values of the catalogue. An item without
// content has the mean of all items.
//
// An item of the training log has its out-of-fold prediction, the value that a regression without
// it predicts, even if it is ranked as a cold start. Its own clicks must not come back as content,
// and the regression would say the same of it if nobody had interacted with it. ContentPrior is
// read-only once built and safe for concurrent use.
type ContentPrior struct {
	Items     *ranker.ItemTable
	OutOfFold []float32 // by item: its content_prior.strength
	Features  *ContentFeatures
	Effects   ContentEffects
	// MeanLogOdds are the log-odds of a click on any item. The prediction counts as much as
	// PriorImpressions impressions of the item; 0: the log has no impressions.
	MeanLogOdds, PriorImpressions float64

	// predicted are the predicted chances by item, which are costly to compute. nil if the prior
	// was not read from a file.
	predicted []clickChance
}

// clickChance is the probability of a click, and that of none.
type clickChance struct{ click, none float64 }

// ContentEffects say by how much content changes the predicted log-odds.
type ContentEffects struct {
	Values    []float32 // by field value, times its entry
	Text      []float32 // by direction of the text
	Knots     []float32 // by knot of all numeric fields, linear in between
	Missing   []float32 // by numeric field, of an item without it
	Intercept float64
}

var _ TrainedSignal = (*ContentPrior)(nil)

// KindContentPrior is the kind of ContentPrior in bundles.
const KindContentPrior = "content_prior"

var contentPriorColumns = []string{"content_prior.strength", contentPriorLogOdds}

const contentPriorLogOdds = "content_prior.log_odds"

// Kind implements TrainedSignal.
func (*ContentPrior) Kind() string { return KindContentPrior }

// Columns implements ranker.Signal.
func (*ContentPrior) Columns() []string { return contentPriorColumns }

// InMemory implements ranker.InMemory.
func (*ContentPrior) InMemory() bool { return true }

// Compute implements ranker.Signal.
func (c *ContentPrior) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	copy(out, c.columns(in))
	return nil
}

// columns returns the columns of all candidates, row-major. ResidualGP reads them too, so they are
// computed once for each request.
func (c *ContentPrior) columns(in *ranker.SignalInput) []float32 {
	return ranker.OncePerRequest(in, c, func() []float32 {
		out := make([]float32, len(contentPriorColumns)*len(in.Request.Candidates))
		c.compute(in, out)
		return out
	})
}

func (c *ContentPrior) compute(in *ranker.SignalInput, out []float32) {
	indices := in.ItemIndices(c.Items)
	var reader *ContentReader
	for i, item := range indices.Candidates {
		if candidate := &in.Request.Candidates[i]; candidate.ColdStart {
			item = c.Items.Index(candidate.ID)
		}
		row := out[2*i : 2*i+2]
		row[0], row[1] = missing, missing
		if item >= 0 {
			row[0] = c.OutOfFold[item]
		} else if in.State.Items[i] != nil {
			if reader == nil {
				reader = c.Features.NewReader()
			}
			row[0] = c.predict(reader, in.State.Items[i], in.ItemVectors[i])
		}
		if c.PriorImpressions > 0 {
			var counts ranker.ItemCounts
			if i < len(in.State.Counts) {
				counts = in.State.Counts[i]
			}
			var chance clickChance
			if item >= 0 && c.predicted != nil {
				chance = c.predicted[item]
			} else {
				chance = c.chance(row[0])
			}
			row[1] = float32(c.smoothedLogOdds(chance, counts))
		}
	}
}

// LogOdds returns the log-odds of a click relative to all items, for an item with the given counts.
// strength is what its content predicts, NaN for nothing. PriorImpressions must be above 0.
func (c *ContentPrior) LogOdds(strength float32, counts ranker.ItemCounts) float64 {
	return c.smoothedLogOdds(c.chance(strength), counts)
}

// chance returns the chance that content with a strength predicts, NaN for nothing.
func (c *ContentPrior) chance(strength float32) clickChance {
	predicted := c.MeanLogOdds
	if strength == strength {
		predicted += float64(strength)
	}
	return clickChance{Sigmoid(predicted), Sigmoid(-predicted)}
}

// smoothedLogOdds is LogOdds for the chance that the content predicts.
func (c *ContentPrior) smoothedLogOdds(predicted clickChance, counts ranker.ItemCounts) float64 {
	clicks := counts.Actions + c.PriorImpressions*predicted.click
	others := max(0, counts.Shown-counts.Actions) + c.PriorImpressions*predicted.none
	return math.Log(clicks/others) - c.MeanLogOdds
}

// predict returns the strength that an item's content predicts.
func (c *ContentPrior) predict(
	reader *ContentReader, info *ranker.ItemInfo, vector []float32,
) float32 {
	reader.Read(info, vector)
	sum := float32(c.Effects.Intercept)
	for j, v := range reader.Values {
		sum += reader.Entries[j] * c.Effects.Values[v]
	}
	if len(reader.Text) > 0 {
		sum += vek32.Dot(reader.Text, c.Effects.Text)
	}
	knots := c.Effects.Knots
	for j := range c.Features.Numbers {
		scale := &c.Features.Numbers[j]
		if x, ok := NumberOf(info, scale.Name); ok {
			sum += scale.Interpolate(x, knots)
		} else {
			sum += c.Effects.Missing[j]
		}
		knots = knots[len(scale.Knots):]
	}
	return sum
}

// Encode implements TrainedSignal.
func (c *ContentPrior) Encode() []byte {
	w := newFileWriter(KindContentPrior)
	w.strings(c.Items.IDs())
	c.encode(w)
	return w.buf
}

// encode writes everything but the items.
func (c *ContentPrior) encode(w *fileWriter) {
	w.floats(c.OutOfFold)
	c.Features.encode(w)
	w.floats(c.Effects.Values)
	w.floats(c.Effects.Text)
	w.floats(c.Effects.Knots)
	w.floats(c.Effects.Missing)
	w.number(c.Effects.Intercept)
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
	c := &ContentPrior{
		Items: items, OutOfFold: r.floats(items.Len()), Features: r.contentFeatures(),
	}
	c.Effects = ContentEffects{
		Values: r.floats(len(c.Features.ValueWeights)),
		Text:   r.floats(c.Features.Projection.TextDim),
		Knots:  r.floats(c.Features.KnotCount()), Missing: r.floats(len(c.Features.Numbers)),
		Intercept: r.number(),
	}
	c.MeanLogOdds, c.PriorImpressions = r.number(), r.number()
	if r.err == nil && (c.PriorImpressions < 0 || math.Abs(c.MeanLogOdds) > 50) {
		r.err = malformed("mean log-odds %g and %g prior impressions",
			c.MeanLogOdds, c.PriorImpressions)
	}
	if r.err == nil && c.PriorImpressions > 0 {
		c.predicted = make([]clickChance, len(c.OutOfFold))
		for i, strength := range c.OutOfFold {
			c.predicted[i] = c.chance(strength)
		}
	}
	return c
}
