package evaluation

import (
	"math"
	"slices"

	"relish/internal/stats"
	"relish/ranker"
	"relish/training/replay"
)

// Overall is what is told of a scorer over all lists together. What a set of lists does not tell is nil.
type Overall struct {
	Scorer string `json:"scorer"`
	// Calibration is of the later half of the lists, after a sigmoid that was fitted to the scores of the earlier half: a
	// ranker's score is no probability by itself.
	Calibration *Calibration `json:"calibration,omitempty"`
	// AUC is pooled over the candidates of the lists that calibration looks at.
	AUC *float64 `json:"auc,omitempty"`
	// Coverage is the share of the log's items that stood among the first K of any list.
	Coverage float64 `json:"coverage"`
	// Diversity is how far apart the first K of a list are, by their texts, or by tags and fields where there are no vectors.
	Diversity *stats.Interval `json:"diversity,omitempty"`
}

// Calibration says whether probabilities come true.
type Calibration struct {
	Error   float64 `json:"error"` // CalibrationError
	Sigmoid Sigmoid `json:"sigmoid"`
	Bins    []Bin   `json:"bins"`
}

// How many lists at most, spread evenly over all, are kept for calibration, and how many bins they fall into.
const (
	maxCalibrationLists = 20_000
	calibrationBins     = 10
)

// overallStats gathers what is told over all lists of one scorer.
type overallStats struct {
	coverage      *Coverage
	diversity     []float64
	scores, gains [2][]float64 // of candidates, of the earlier and the later half of the lists
}

func (s *overallStats) addList(c *replay.Example, order []int, k int, distance Distance) {
	top := make([]string, 0, k)
	for _, i := range order[:min(k, len(order))] {
		top = append(top, c.Request.Candidates[i].ID)
	}
	s.coverage.Add(top)
	s.diversity = append(s.diversity, Diversity(len(order), k, func(i, j int) float64 { return distance(order[i], order[j]) }))
}

func (s *overallStats) addCalibrationSample(list, of int, scores, gains []float64) {
	if list%(1+of/maxCalibrationLists) != 0 {
		return
	}
	half := 2 * list / of
	s.scores[half], s.gains[half] = append(s.scores[half], scores...), append(s.gains[half], gains...)
}

func (s *overallStats) overall(scorer string, seed uint64) (Overall, error) {
	o := Overall{Scorer: scorer, Coverage: s.coverage.Share()}
	if d := DropNaN(s.diversity); len(d) > 0 {
		mean, err := stats.Bootstrap(d, seed)
		if err != nil {
			return o, err
		}
		o.Diversity = &mean
	}
	auc, err := AUC(slices.Concat(s.scores[:]...), slices.Concat(s.gains[:]...))
	if err != nil {
		return o, err
	}
	if !math.IsNaN(auc) {
		o.AUC = &auc
	}
	o.Calibration, err = s.calibration()
	return o, err
}

// calibration is nil where the earlier half cannot be fitted, since all of it is relevant, or the later one is empty.
func (s *overallStats) calibration() (*Calibration, error) {
	fit, err := FitSigmoid(s.scores[0], s.gains[0])
	if err != nil || len(s.scores[1]) == 0 {
		return nil, nil
	}
	predicted := make([]float64, len(s.scores[1]))
	for i, x := range s.scores[1] {
		predicted[i] = fit.Probability(x)
	}
	b, err := Reliability(predicted, s.gains[1], calibrationBins)
	if err != nil {
		return nil, err
	}
	return &Calibration{Error: CalibrationError(b), Sigmoid: fit, Bins: b}, nil
}

// itemDistance returns how the distances within a list are told.
func (p *TestSet) itemDistance() func([]ranker.Candidate) Distance {
	return func(candidates []ranker.Candidate) Distance {
		infos := make([]*ranker.ItemInfo, len(candidates))
		for i := range candidates {
			infos[i] = p.Log.Catalogue.Item(candidates[i].ID)
		}
		if p.opt.Vectors != nil {
			vectors := make([][]float32, len(infos))
			p.opt.Vectors.Lookup(infos, vectors)
			return CosineDistance(vectors)
		}
		values := make([][]string, len(infos))
		for i, it := range infos {
			if it != nil {
				values[i] = tagsAndFieldValues(it)
			}
		}
		return JaccardDistance(values)
	}
}

// tagsAndFieldValues are an item's tags and the words of its fields.
func tagsAndFieldValues(it *ranker.ItemInfo) []string {
	out := append([]string(nil), it.Tags...)
	for name, v := range it.Fields {
		if v.Kind == ranker.String || v.Kind == ranker.Strings {
			for _, w := range v.AsStrings() {
				out = append(out, name+"="+w)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
