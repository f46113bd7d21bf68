package classifier

import (
	"context"
	"math"
	"slices"
)

const (
	// folds is the number of parts of the examples. Each part is predicted by a model that was
	// trained on the others.
	folds = 5
	// enoughPredictions ends the cross-validation before all parts are predicted: the standard
	// error of an accuracy of 90 % is below .7 percentage points then.
	enoughPredictions = 2000
)

// start is the first setting that is tried. The others change it in one place.
var start = settings{cost: 10, scale: 0.5}

// tries are the values of one setting after the other that cross-validation compares.
var tries = [][]func(*settings){
	{setCost(3), setCost(30), setCost(100)},
	{setScale(0), setScale(1)},
	{func(s *settings) { s.balanced = true }},
}

func setCost(c float64) func(*settings)  { return func(s *settings) { s.cost = c } }
func setScale(x float64) func(*settings) { return func(s *settings) { s.scale = x } }

// predictions are scores of examples by models that did not learn from them.
type predictions struct {
	rows   []int     // examples, in the order of the scores
	scores []float64 // rows x labels
	labels int
	truth  []int // by row: the right label
}

func (p *predictions) row(k int) []float64 { return p.scores[k*p.labels : (k+1)*p.labels] }

// quality is what cross-validation maximizes: the mean of accuracy and macro-F1, so that neither
// frequent nor rare labels are given up.
func (p *predictions) quality() float64 {
	m := p.measure()
	return (m.Accuracy + m.MacroF1) / 2
}

// assignFolds deals the examples of each label to the folds in turn. The examples are in an order
// that depends on the texts alone.
func assignFolds(label []int, labels int) []int {
	next, fold := make([]int, labels), make([]int, len(label))
	for i, l := range label {
		// Labels start at different folds, so that the folds have about the same size.
		fold[i] = (next[l] + l) % folds
		next[l]++
	}
	return fold
}

// split returns the examples that a fold is trained on and those that it predicts.
func split(fold []int, k int) (train, test []int) {
	for i, f := range fold {
		if f == k {
			test = append(test, i)
		} else {
			train = append(train, i)
		}
	}
	return train, test
}

// search chooses the settings by cross-validation and returns them with their predictions. progress
// is called with the number of fits.
func search(
	ctx context.Context, d *data, fold []int, progress func(done, total int),
) (settings, *predictions, error) {
	total := 1
	for _, values := range tries {
		total += len(values)
	}
	best, done := start, 1
	var warm [folds]weights
	p, err := crossValidate(ctx, d, fold, best, &warm)
	if err != nil {
		return best, nil, err
	}
	for _, values := range tries {
		from, kept := best, warm
		for _, change := range values {
			s, w := from, kept
			change(&s)
			if s.scale == 0 || from.scale == 0 {
				w = [folds]weights{}
			}
			progress(done, total)
			q, err := crossValidate(ctx, d, fold, s, &w)
			if err != nil {
				return best, nil, err
			}
			if done++; q.quality() > p.quality() {
				best, p, warm = s, q, w
			}
		}
	}
	progress(total, total)
	return best, p, nil
}

// crossValidate predicts examples fold by fold, until all or enoughPredictions are predicted. warm
// holds the weights from which each fold starts, and receives what it learned.
func crossValidate(
	ctx context.Context, d *data, fold []int, s settings, warm *[folds]weights,
) (*predictions, error) {
	p := &predictions{labels: d.labels}
	for k := 0; k < folds && len(p.rows) < enoughPredictions; k++ {
		train, test := split(fold, k)
		w, err := fit(ctx, d, train, s, warm[k])
		if err != nil {
			return nil, err
		}
		warm[k] = w
		p.add(d, test, predict(d, test, s, w))
	}
	return p, nil
}

// add adds the scores of rows.
func (p *predictions) add(d *data, rows []int, scores []float32) {
	p.rows = append(p.rows, rows...)
	for _, i := range rows {
		p.truth = append(p.truth, d.label[i])
	}
	for _, s := range scores {
		p.scores = append(p.scores, float64(s))
	}
}

// temperature returns the divisor of the scores that makes the right labels most likely (Guo et al.
// 2017), from 1/20 to 20, by golden section search over its logarithm. The likelihood has one
// maximum.
func (p *predictions) temperature() float64 {
	low, high := math.Log(1.0/20), math.Log(20.0)
	const golden = 0.6180339887498949
	for high-low > 1e-3 {
		a, b := high-golden*(high-low), low+golden*(high-low)
		if p.logLoss(math.Exp(a)) < p.logLoss(math.Exp(b)) {
			high = b
		} else {
			low = a
		}
	}
	return math.Exp((low + high) / 2)
}

// logLoss returns the mean negative log-likelihood of the right labels.
func (p *predictions) logLoss(temperature float64) float64 {
	sum := 0.0
	for k, truth := range p.truth {
		row := p.row(k)
		top, all := slices.Max(row), 0.0
		for _, s := range row {
			all += math.Exp((s - top) / temperature)
		}
		sum += math.Log(all) - (row[truth]-top)/temperature
	}
	return sum / float64(len(p.truth))
}
