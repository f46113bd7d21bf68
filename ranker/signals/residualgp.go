package signals

import (
	"context"
	"math"
	"sync"

	"relish/ranker"
)

// ResidualGP predicts a user's clicks from the lists that they were recently shown.
//
// Each shown item has a residual: 1 if it was clicked, else 0, minus the click probability p that
// its popularity gave it among the items of its list. A Gaussian process over items (Rasmussen and
// Williams 2006, chapter 2) spreads the residuals to the candidates, in log-odds. A residual of
// the probability p is an observation residual / (p (1 - p)) of the user's preference, with the
// precision p (1 - p). The kernel is that of ItemKernel.
//
// Columns, missing for a user whose lists carry no evidence, except for residual.score:
//
//	residual.learned   the part of the posterior mean that comes from the learned item vectors
//	residual.content   the part that comes from shared field values, texts and numbers
//	residual.score     content_prior.log_odds plus both parts: log-odds of a click relative to all
//	                   items; missing for a log without impressions
//	residual.evidence  log1p of the sum of p (1 - p) over the residuals
//
// It is read-only once built and safe for concurrent use.
type ResidualGP struct {
	Prior   *ContentPrior // the items' log-odds whoever the user is
	LogOdds []float32     // by item: content_prior.log_odds at the end of the training log
	Kernel  *ItemKernel

	posteriors sync.Pool // of *UserPosterior
}

var _ TrainedSignal = (*ResidualGP)(nil)

// KindResidualGP is the kind of ResidualGP in bundles.
const KindResidualGP = "residual"

// minResidualPrecision keeps the observation of a nearly certain click finite.
const minResidualPrecision = 1e-3

const residualContent = "residual.content"

var residualColumns = []string{
	"residual.learned", residualContent, "residual.score", "residual.evidence",
}

// Kind implements TrainedSignal.
func (*ResidualGP) Kind() string { return KindResidualGP }

// Columns implements ranker.Signal.
func (*ResidualGP) Columns() []string { return residualColumns }

// Compute implements ranker.Signal.
func (g *ResidualGP) Compute(ctx context.Context, in *ranker.SignalInput, out []float32) error {
	fillMissing(out)
	indices := in.ItemIndices(g.Prior.Items)
	priors := make([]float32, len(contentPriorColumns)*len(indices.Candidates))
	if err := g.Prior.Compute(ctx, in, priors); err != nil {
		return err
	}
	residuals := g.Residuals(in.State.Shown, indices.Shown)
	if len(residuals) == 0 {
		for i := range indices.Candidates {
			out[len(residualColumns)*i+2] = priors[len(contentPriorColumns)*i+1]
		}
		return nil
	}
	u := g.posterior(residuals)
	defer g.posteriors.Put(u)
	evidence := 0.0
	for _, r := range residuals {
		evidence += float64(r.Precision)
	}
	for i, item := range indices.Candidates {
		row := out[len(residualColumns)*i : len(residualColumns)*(i+1)]
		row[2], row[3] = priors[len(contentPriorColumns)*i+1], float32(math.Log1p(evidence))
		var content, learned float32
		switch {
		case item >= 0:
			content, learned = u.Mean(item)
		case in.State.Items[i] != nil:
			content, learned = u.newItemMean(in.State.Items[i], in.ItemVectors[i])
		default:
			continue
		}
		row[0], row[1] = learned, content
		row[2] += learned + content
	}
	return nil
}

// posterior returns the posterior of a user. The caller puts it back into g.posteriors.
func (g *ResidualGP) posterior(residuals []Residual) *UserPosterior {
	u, ok := g.posteriors.Get().(*UserPosterior)
	if !ok {
		u = g.Kernel.NewPosterior()
	}
	u.Set(residuals)
	return u
}

// Residual is what one shown item says about a user.
type Residual struct {
	Item      int32
	Value     float32 // 1 for a click, else 0, minus the expected probability p
	Precision float32 // p (1 - p)
}

// Residuals returns the residuals of the shown items that the model knows. indices holds the shown
// items' indices in Prior.Items, -1 for unknown ones.
//
// Items with the same time form one list. A list in which nothing or everything was clicked carries
// no evidence and is skipped.
func (g *ResidualGP) Residuals(shown []ranker.Shown, indices []int32) []Residual {
	out := make([]Residual, 0, len(shown))
	for from := 0; from < len(shown); {
		first, clicks := len(out), 0
		to := from
		for ; to < len(shown) && shown[to].Time == shown[from].Time; to++ {
			if indices[to] < 0 {
				continue
			}
			r := Residual{Item: indices[to]}
			if shown[to].Clicked {
				r.Value = 1
				clicks++
			}
			out = append(out, r)
		}
		if clicks == 0 || clicks == len(out)-first {
			out = out[:first]
		}
		ListResiduals(g.LogOdds, out[first:], clicks)
		from = to
	}
	return out
}

// ListResiduals subtracts the expected probabilities from the values of one list, which are 1 for
// the given number of clicks and 0 for the others, and sets the precisions. The items' log-odds are
// shifted by a constant so that the probabilities sum to the clicks.
func ListResiduals(logOdds []float32, list []Residual, clicks int) {
	if len(list) == 0 {
		return
	}
	offset := listOffset(logOdds, list, clicks)
	for k := range list {
		p := Sigmoid(float64(logOdds[list[k].Item]) + offset)
		list[k].Value -= float32(p)
		list[k].Precision = float32(max(minResidualPrecision, p*(1-p)))
	}
}

// Sigmoid returns the probability of the given log-odds.
func Sigmoid(logOdds float64) float64 { return 1 / (1 + math.Exp(-logOdds)) }

// listOffset returns the constant that, added to the items' log-odds, makes their click
// probabilities sum to the list's clicks. It needs 0 < clicks < len(list). It takes six Newton
// steps, each clamped to ±2.
func listOffset(logOdds []float32, list []Residual, clicks int) float64 {
	offset := 0.0
	for range 6 {
		sum, slope := 0.0, 1e-9
		for k := range list {
			p := Sigmoid(float64(logOdds[list[k].Item]) + offset)
			sum += p
			slope += p * (1 - p)
		}
		offset += max(-2, min(2, (float64(clicks)-sum)/slope))
	}
	return offset
}

// Encode implements TrainedSignal.
func (g *ResidualGP) Encode() []byte {
	w := newFileWriter(KindResidualGP)
	w.strings(g.Prior.Items.IDs())
	g.Prior.encode(w)
	w.floats(g.LogOdds)
	g.Kernel.encode(w)
	return w.buf
}

func decodeResidualGP(
	data []byte, shared *ranker.ItemTable,
) (TrainedSignal, *ranker.ItemTable, error) {
	r := newFileReader(KindResidualGP, data)
	items := r.items(shared)
	g := &ResidualGP{Prior: r.contentPrior(items), LogOdds: r.floats(items.Len())}
	g.Kernel = r.itemKernel(g.Prior)
	return g, items, r.end()
}
