package classifier

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
)

const (
	// folds is the number of parts of the examples. Each part is predicted by a model that was
	// trained on the others.
	folds = 5
	// enoughPredictions ends the cross-validation, with many examples before all parts are
	// predicted: the standard error of an accuracy of 90 % is below .7 percentage points then.
	enoughPredictions = 2000
	// maxRounds bounds how often few examples are dealt to the folds.
	maxRounds = 3
)

// start is the first setting that is tried. The others change it in one place.
var start = settings{cost: 10, scale: 0.5}

// tries are the values of one setting after the other that cross-validation compares.
var tries = [][]func(*settings){
	{func(s *settings) { s.names = true }},
	{setScale(0), setScale(1), setScale(2)},
	{setCost(3), setCost(30), setCost(100)},
	{func(s *settings) { s.balanced = true }},
}

func setCost(c float64) func(*settings)  { return func(s *settings) { s.cost = c } }
func setScale(x float64) func(*settings) { return func(s *settings) { s.scale = x } }

// maxExamplesWithNames is the number of examples of a label, on average, up to which its name may
// count as one more.
const maxExamplesWithNames = 50

// validated are settings with their predictions and weights.
type validated struct {
	settings
	predictions []*predictions // by round; each round has other folds
	weights     []weights      // by round and fold
}

// quality is what cross-validation maximizes: the mean of accuracy and macro-F1, so that neither
// frequent nor rare labels are given up.
func (v *validated) quality() float64 {
	sum := 0.0
	for _, p := range v.predictions {
		m := p.measure()
		sum += (m.Accuracy + m.MacroF1) / 2
	}
	return sum / float64(len(v.predictions))
}

// predictions are scores of examples by models that did not learn from them.
type predictions struct {
	rows   []int     // examples, in the order of the scores
	scores []float64 // rows x labels
	labels int
	truth  []int // by row: the right label
}

func (p *predictions) row(k int) []float64 { return p.scores[k*p.labels : (k+1)*p.labels] }

// assignFolds deals the examples of each label to the folds in turn: in the first round in their
// order, which depends on the texts alone, then in a random order for each round.
func assignFolds(label []int, labels, round int) []int {
	order := make([]int, len(label))
	for i := range order {
		order[i] = i
	}
	if round > 0 {
		order = rand.New(rand.NewPCG(uint64(round), 0xf01d)).Perm(len(label))
	}
	next, fold := make([]int, labels), make([]int, len(label))
	for _, i := range order {
		// Labels start at different folds, so that the folds have about the same size.
		l := label[i]
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

// search chooses the settings by cross-validation and returns them with the predictions of the
// first round. progress is called with the number of settings that were tried.
func search(
	ctx context.Context, d *data, progress func(done, total int),
) (settings, *predictions, error) {
	steps, total, done := tries, 1, 1
	if d.examples() > maxExamplesWithNames*d.labels || len(d.names) == 0 {
		steps = steps[1:]
	}
	for _, values := range steps {
		total += len(values)
	}
	best, err := crossValidate(ctx, d, start, nil)
	if err != nil {
		return start, nil, err
	}
	for _, values := range steps {
		from := best
		for _, change := range values {
			s, begin := from.settings, from.weights
			change(&s)
			if s.scale == 0 || from.scale == 0 {
				begin = nil
			}
			progress(done, total)
			v, err := crossValidate(ctx, d, s, begin)
			if err != nil {
				return start, nil, err
			}
			if done++; v.quality() > best.quality() {
				best = v
			}
		}
	}
	progress(total, total)
	return best.settings, best.predictions[0], nil
}

// crossValidate predicts examples fold by fold until enoughPredictions are made. With few examples
// it does so in up to maxRounds rounds, so that chance decides less. begin, if not nil, has the
// weights from which each fold starts.
func crossValidate(
	ctx context.Context, d *data, s settings, begin []weights,
) (*validated, error) {
	v := &validated{settings: s}
	for round, made := 0, 0; round < maxRounds && made < enoughPredictions; round++ {
		p := &predictions{labels: d.labels}
		fold := assignFolds(d.label[:d.examples()], d.labels, round)
		for k := 0; k < folds && made < enoughPredictions; k++ {
			train, test := split(fold, k)
			var from weights
			if begin != nil {
				from = begin[len(v.weights)]
			}
			w, err := fit(ctx, d, train, s, from)
			if err != nil {
				return nil, err
			}
			v.weights = append(v.weights, w)
			p.add(d, test, predict(d, test, s, w))
			made += len(test)
		}
		v.predictions = append(v.predictions, p)
	}
	return v, nil
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
