package evaluation

import (
	"math"
	"slices"

	"github.com/viterin/vek/vek32"

	"relish/internal/stats"
	"relish/ranker"
	"relish/training/replay"
)

// Overall holds the metrics of a scorer that are no means over lists. A metric that these lists do
// not support is nil.
type Overall struct {
	Scorer string `json:"scorer"`
	// Calibration is measured on the later half of the lists. The sigmoid that turns scores into
	// probabilities is fitted on the earlier half.
	Calibration *Calibration `json:"calibration,omitempty"`
	// AUC is pooled over the candidates of the lists that Calibration uses.
	AUC *float64 `json:"auc,omitempty"`
	// Coverage is the share of the log's items that were among the first K of any list, 0 to 1.
	Coverage float64 `json:"coverage"`
	// Diversity is the mean distance between the first K items of a list, by their text vectors, or
	// by tags and fields if there are no vectors.
	Diversity *stats.Interval `json:"diversity,omitempty"`
}

// Calibration compares predicted probabilities with outcomes.
type Calibration struct {
	Error   float64 `json:"error"` // expected calibration error, see CalibrationError
	Sigmoid Sigmoid `json:"sigmoid"`
	Bins    []Bin   `json:"bins"`
}

const (
	// maxCalibrationLists bounds how many lists are kept for calibration, spread evenly over all.
	maxCalibrationLists = 20_000
	calibrationBins     = 10
)

// overallStats collects one scorer's Overall.
type overallStats struct {
	coverage  *Coverage
	diversity []float64 // by list
	// scores and gains of candidates, from the earlier and from the later half of the lists
	scores, gains [2][]float64
}

// addList counts the first k items of one ranked list.
func (s *overallStats) addList(ex *replay.Example, order []int, k int, distance Distance) {
	top := make([]string, 0, k)
	for _, i := range order[:min(k, len(order))] {
		top = append(top, ex.Request.Candidates[i].ID)
	}
	s.coverage.Add(top)
	ranked := func(i, j int) float64 { return distance(order[i], order[j]) }
	s.diversity = append(s.diversity, Diversity(len(order), k, ranked))
}

// addCalibrationSample keeps the candidates of the list with this number, one of total lists.
func (s *overallStats) addCalibrationSample(list, total int, scores, gains []float64) {
	if list%(1+total/maxCalibrationLists) != 0 {
		return
	}
	half := 2 * list / total
	s.scores[half] = append(s.scores[half], scores...)
	s.gains[half] = append(s.gains[half], gains...)
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

// calibration returns nil if no sigmoid can be fitted to the earlier half or the later half is
// empty.
func (s *overallStats) calibration() (*Calibration, error) {
	if !canFit(s.gains[0]) || len(s.scores[1]) == 0 {
		return nil, nil
	}
	fit, err := FitSigmoid(s.scores[0], s.gains[0])
	if err != nil {
		return nil, err
	}
	predicted := make([]float64, len(s.scores[1]))
	for i, x := range s.scores[1] {
		predicted[i] = fit.Probability(x)
	}
	bins, err := Reliability(predicted, s.gains[1], calibrationBins)
	if err != nil {
		return nil, err
	}
	return &Calibration{Error: CalibrationError(bins), Sigmoid: fit, Bins: bins}, nil
}

// Coverage counts which items of a catalogue are recommended at all. A ranker that shows everybody
// the same few items has a low coverage, however well it ranks. It is not safe for concurrent use.
type Coverage struct{ recommended map[string]bool }

// NewCoverage returns an empty count over the catalogue's items.
func NewCoverage(catalogue []string) *Coverage {
	c := &Coverage{recommended: make(map[string]bool, len(catalogue))}
	for _, id := range catalogue {
		c.recommended[id] = false
	}
	return c
}

// Add counts the first items of one answer. Items outside the catalogue are ignored.
func (c *Coverage) Add(top []string) {
	for _, id := range top {
		if _, ok := c.recommended[id]; ok {
			c.recommended[id] = true
		}
	}
}

// Share returns the share of the catalogue that was in any answer (catalogue coverage: Ge,
// Delgado-Battenfeld and Jannach, Beyond accuracy, RecSys 2010). It is NaN for an empty catalogue.
func (c *Coverage) Share() float64 {
	n := 0.0
	for _, recommended := range c.recommended {
		if recommended {
			n++
		}
	}
	return n / float64(len(c.recommended))
}

// Distance returns how different the items at positions i and j of one answer are, NaN if that is
// unknown. It is symmetric.
type Distance func(i, j int) float64

// Diversity returns the mean distance over all pairs among the first k of an answer's n items
// (Smyth and McClave, Similarity vs. diversity, ICCBR 2001; one minus the intra-list similarity of
// Ziegler et al., WWW 2005). Pairs of unknown distance are left out. It is NaN if no pair is left.
func Diversity(n, k int, distance Distance) float64 {
	pairs, sum := 0.0, 0.0
	for i := range min(n, k) {
		for j := range i {
			if d := distance(i, j); !math.IsNaN(d) {
				pairs++
				sum += d
			}
		}
	}
	return sum / pairs
}

// CosineDistance returns a distance of one minus the cosine of the items' vectors, 0 to 2. It is
// NaN if a vector is missing or zero. All vectors have the same length. They are not copied.
func CosineDistance(vectors [][]float32) Distance {
	return func(i, j int) float64 {
		a, b := vectors[i], vectors[j]
		if len(a) == 0 || len(b) == 0 {
			return math.NaN()
		}
		norm := float64(vek32.Norm(a)) * float64(vek32.Norm(b))
		if norm == 0 {
			return math.NaN()
		}
		return 1 - min(max(float64(vek32.Dot(a, b))/norm, -1), 1)
	}
}

// JaccardDistance returns a distance of one minus the share of common values, such as tags, among
// all values of two items, 0 to 1. It is NaN if neither item has a value. An item lists a value
// once.
func JaccardDistance(sets [][]string) Distance {
	return func(i, j int) float64 {
		a := make(map[string]bool, len(sets[i]))
		for _, v := range sets[i] {
			a[v] = true
		}
		common := 0
		for _, v := range sets[j] {
			if a[v] {
				common++
			}
		}
		return 1 - float64(common)/float64(len(sets[i])+len(sets[j])-common)
	}
}

// itemDistance returns the distance between the candidates of one list.
func (s *TestSet) itemDistance(candidates []ranker.Candidate) Distance {
	infos := make([]*ranker.ItemInfo, len(candidates))
	for i := range candidates {
		infos[i] = s.Log.Catalogue.Item(candidates[i].ID)
	}
	if s.opt.Vectors != nil {
		vectors := make([][]float32, len(infos))
		s.opt.Vectors.Lookup(infos, vectors)
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

// tagsAndFieldValues returns an item's tags and its text fields as NAME=VALUE, sorted, each once.
func tagsAndFieldValues(it *ranker.ItemInfo) []string {
	out := it.Tags()
	for name, v := range it.Fields() {
		if v.Kind == ranker.String || v.Kind == ranker.Strings {
			for _, value := range v.AsStrings() {
				out = append(out, name+"="+value)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
