package signals

import (
	"math"

	"relish/ranker"
	served "relish/ranker/signals"
)

const (
	// searchItems is the number of items that choose the variances at most.
	searchItems = 20_000
	searchFolds = 5
	// The search changes one variance at a time by varianceStep, as long as the likelihood rises by
	// minLikelihoodGain, in searchRounds rounds.
	searchRounds      = 2
	varianceStep      = 2.5
	minLikelihoodGain = 0.5
	// The variances stay within these bounds.
	minVariance, maxVariance = 1e-3, 30
)

// startVariances is where the search begins. Most catalogues are described by few fields well.
var startVariances = ContentVariances{Fields: 0.3, Text: 0.1, Numbers: 0.6, PriorImpressions: 20}

// varianceSearch looks for the variances with which content predicts the clicks on items best, if
// the regression has not seen these clicks.
type varianceSearch struct {
	design  *contentDesign
	targets *contentTargets
	counts  []ranker.ItemCounts // by row, of the items that are searched with
	mean    float64             // log-odds of a click on any item
	rows    []int
	foldOf  []uint8

	best         ContentVariances
	highest      float64   // log-likelihood of the best
	coefficients []float64 // of the best
}

// ChooseContentVariances returns the variances under which the clicks on the corpus's items are
// most likely, each predicted from the other items' clicks.
func ChooseContentVariances(c *Corpus, features *served.ContentFeatures) (ContentVariances, error) {
	design, err := newContentDesign(c, features)
	if err != nil {
		return startVariances, err
	}
	s := &varianceSearch{
		design: design, targets: c.contentTargets(), foldOf: contentFoldOf(c),
		best: startVariances, highest: math.Inf(-1),
	}
	var known []int
	for i := range c.Items.Len() {
		if s.targets.isKnown(i) {
			known = append(known, i)
		}
	}
	counts, rate := c.clickCounts(false)
	s.mean = logOddsOf(rate)
	stride := max(1, (len(known)+searchItems-1)/searchItems)
	for k := 0; k < len(known); k += stride {
		s.rows, s.counts = append(s.rows, known[k]), append(s.counts, counts[known[k]])
	}
	if len(s.rows) < searchFolds || features.IsEmpty() {
		return s.best, nil
	}
	s.try(s.best)
	s.run(features)
	return s.best, nil
}

// run climbs along one variance after the other.
func (s *varianceSearch) run(f *served.ContentFeatures) {
	var parts []func(*ContentVariances) *float64
	if f.FieldCount > 0 {
		parts = append(parts, func(v *ContentVariances) *float64 { return &v.Fields })
	}
	if len(f.Numbers) > 0 {
		parts = append(parts, func(v *ContentVariances) *float64 { return &v.Numbers })
	}
	if f.Projection.TextDim > 0 {
		parts = append(parts, func(v *ContentVariances) *float64 { return &v.Text })
	}
	for range searchRounds {
		for _, part := range parts {
			if !s.climb(part, varianceStep) {
				s.climb(part, 1/varianceStep)
			}
		}
	}
}

// climb multiplies a variance by the factor as long as that is better. It reports whether it was.
func (s *varianceSearch) climb(
	part func(*ContentVariances) *float64, factor float64,
) (better bool) {
	for {
		v := s.best
		x := part(&v)
		*x *= factor
		if *x < minVariance || *x > maxVariance || !s.try(v) {
			return better
		}
		better = true
	}
}

// try reports whether the variances are better than the best ones, which they then become.
func (s *varianceSearch) try(v ContentVariances) bool {
	r := newContentRegression(s.design, s.targets, v)
	coefficients, predictions := r.outOfFold(s.rows, s.foldOf, searchFolds, s.coefficients)
	var likelihood float64
	if s.targets.popularity != nil {
		likelihood = s.gaussianLikelihood(predictions)
	} else {
		at := func(k int) float64 { return s.mean + predictions[k] }
		likelihood, v.PriorImpressions = clickLikelihood(s.counts, at)
	}
	if likelihood < s.highest+minLikelihoodGain {
		return false
	}
	s.best, s.highest, s.coefficients = v, likelihood, coefficients
	return true
}

// gaussianLikelihood returns the log-likelihood of the items' popularity if the errors of the
// predictions are normal, up to a constant.
func (s *varianceSearch) gaussianLikelihood(predictions []float64) float64 {
	squares, n := 1e-9, float64(len(s.rows))
	for k, row := range s.rows {
		x := s.targets.popularity[row] - predictions[k]
		squares += x * x
	}
	return -n / 2 * math.Log(squares/n)
}
