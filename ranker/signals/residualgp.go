package signals

import (
	"context"
	"math"
	"slices"
	"sync"

	"relish/ranker"
)

// ResidualGP predicts a user's clicks from the lists that they were recently shown.
//
// Each shown item has a residual: 1 if it was clicked, else 0, minus the click probability p that
// its popularity gave it among the items of its list. A Gaussian process over items (Rasmussen and
// Williams 2006, chapter 2) spreads the residuals to the candidates, in log-odds. A residual of
// the probability p is an observation residual / (p (1 - p)) of the user's preference, with the
// precision p (1 - p). The kernel is that of ItemKernel. A click that no kept list tells is an
// observation by itself.
//
// Users do not look at every item. With the probability e that they look at a position
// (Examination), the click probability is e p, and a missing click says the less, the smaller e is.
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
	Prior *ContentPrior // the items' log-odds whoever the user is
	// LogOdds are, by item, the content_prior.log_odds at the end of the training log, if users
	// looked at every position.
	LogOdds []float32
	Kernel  *ItemKernel
	// Examination is the probability that users look at a position of a list, by position from 0;
	// further positions have the last one's. Empty: 1 everywhere.
	Examination []float32

	posteriors sync.Pool // of *userPosterior
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

// InMemory implements ranker.InMemory.
func (*ResidualGP) InMemory() bool { return true }

// Compute implements ranker.Signal.
func (g *ResidualGP) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	fillMissing(out)
	indices, priors := in.ItemIndices(g.Prior.Items), g.Prior.columns(in)
	u, ok := g.posteriors.Get().(*userPosterior)
	if !ok {
		u = g.Kernel.newPosterior()
	}
	defer g.posteriors.Put(u)
	kept := g.posterior(in, indices, u)
	var known []posteriorMean
	if !kept.empty {
		known = u.means(indices.Candidates)
	}
	for i, item := range indices.Candidates {
		row := out[len(residualColumns)*i : len(residualColumns)*(i+1)]
		row[2] = priors[len(contentPriorColumns)*i+1]
		if kept.empty {
			continue
		}
		row[3] = kept.logEvidence
		var mean posteriorMean
		switch {
		case item >= 0:
			mean, known = known[0], known[1:]
		case in.State.Items[i] != nil:
			mean.content, mean.learned = u.newItemMean(in.State.Items[i], in.ItemVectors[i])
		default:
			continue
		}
		row[0], row[1] = mean.learned, mean.content
		row[2] += mean.learned + mean.content
	}
	return nil
}

// Residual is what one shown item says about a user: the derivative of the log-likelihood by the
// user's preference for the item, and the Fisher information. For the click y (1 or 0), the click
// probability p of an item that is looked at, and the probability e of looking at it, these are
//
//	Value      (y - e p) (1 - p) / (1 - e p)
//	Precision  e p (1 - p)² / (1 - e p)
//
// For e = 1 they are y - p and p (1 - p).
type Residual struct {
	Item             int32
	Value, Precision float32
	Examined         float32 // e, above 0 and at most 1
}

// Residuals returns the residuals of the shown items that the model knows. indices holds the shown
// items' indices in Prior.Items, -1 for unknown ones.
//
// Items with the same time form one list. The state keeps them in reverse: the last one stood at
// the top. Of the oldest list it may have dropped the top. A list in which nothing or everything
// was clicked carries no evidence and is skipped.
func (g *ResidualGP) Residuals(shown []ranker.Shown, indices []int32) []Residual {
	out := make([]Residual, 0, len(shown))
	for from := 0; from < len(shown); {
		to := from + 1 // the end of the list
		for to < len(shown) && shown[to].Time == shown[from].Time {
			to++
		}
		first, clicks := len(out), 0
		for i := from; i < to; i++ {
			if indices[i] < 0 {
				continue
			}
			r := Residual{Item: indices[i], Examined: g.examination(to - 1 - i)}
			if shown[i].Clicked {
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

// examination returns the probability that users look at a position.
func (g *ResidualGP) examination(position int) float32 {
	if len(g.Examination) == 0 {
		return 1
	}
	return g.Examination[min(position, len(g.Examination)-1)]
}

// addOlderClicks appends the residuals of the user's recent interactions that no kept list tells:
// those before the oldest one, or with an item that none shows. An item counts once. The items
// beside it in its list are forgotten.
func (g *ResidualGP) addOlderClicks(
	out []Residual, s *ranker.RequestState, indices *ranker.ItemIndices,
) []Residual {
	oldest := int64(math.MaxInt64)
	if n := len(s.Shown); n > 0 {
		oldest = s.Shown[n-1].Time
	}
	for k, item := range indices.Recent {
		if item < 0 || slices.Contains(indices.Recent[:k], item) ||
			s.Recent[k].Time >= oldest && slices.Contains(indices.Shown, item) {
			continue
		}
		p := Sigmoid(float64(g.LogOdds[item]) + g.Prior.MeanLogOdds)
		out = append(out, newResidual(item, 1, p, 1))
	}
	return out
}

// newResidual returns the residual of an item with the click y, 1 or 0.
func newResidual(item int32, y, p, e float64) Residual {
	missed := (1 - p) / (1 - e*p)
	return Residual{
		Item: item, Value: float32((y - e*p) * missed), Examined: float32(e),
		Precision: float32(max(minResidualPrecision, e*p*(1-p)*missed)),
	}
}

// ListResiduals turns the values of one list, which are 1 for the given number of clicks and 0 for
// the others, into residuals. The items' log-odds are shifted by a constant so that the expected
// clicks are as many as the clicks.
func ListResiduals(logOdds []float32, list []Residual, clicks int) {
	if len(list) == 0 {
		return
	}
	offset := listOffset(logOdds, list, clicks)
	for k, r := range list {
		p := Sigmoid(float64(logOdds[r.Item]) + offset)
		list[k] = newResidual(r.Item, float64(r.Value), p, float64(r.Examined))
	}
}

// Sigmoid returns the probability of the given log-odds.
func Sigmoid(logOdds float64) float64 { return 1 / (1 + math.Exp(-logOdds)) }

// listOffset returns the constant that, added to the items' log-odds, makes the expected clicks as
// many as the list's clicks. It needs 0 < clicks < len(list). It takes six Newton steps, each
// clamped to ±2.
func listOffset(logOdds []float32, list []Residual, clicks int) float64 {
	offset := 0.0
	for range 6 {
		sum, slope := 0.0, 1e-9
		for _, r := range list {
			p := Sigmoid(float64(logOdds[r.Item]) + offset)
			sum += float64(r.Examined) * p
			slope += float64(r.Examined) * p * (1 - p)
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
	w.floats(g.Examination)
	g.Kernel.encode(w)
	return w.buf
}

func decodeResidualGP(
	data []byte, shared *ranker.ItemTable,
) (TrainedSignal, *ranker.ItemTable, error) {
	r := newFileReader(KindResidualGP, data)
	items := r.items(shared)
	g := &ResidualGP{Prior: r.contentPrior(items), LogOdds: r.floats(items.Len())}
	g.Examination = r.boundedFloats(-1, math.SmallestNonzeroFloat32)
	if slices.ContainsFunc(g.Examination, func(e float32) bool { return e > 1 }) {
		return nil, nil, malformed("an examination probability is above 1")
	}
	g.Kernel = r.itemKernel(g.Prior.Features, items.Len())
	return g, items, r.end()
}
