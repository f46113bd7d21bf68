package evaluation

import (
	"fmt"
	"math"
	"slices"

	"relish/internal/stats"
	"relish/training/replay"
)

// Table is a finished evaluation.
type Table struct {
	K     int `json:"k"`     // cutoff of the metrics
	Lists int `json:"lists"` // scored

	// Baseline is the baseline with the best NDCG over all lists, LoggedOrder left out.
	Baseline string `json:"baseline"`
	// PositionBias says how the position-corrected metrics were computed.
	PositionBias *PositionBias `json:"position_bias"`

	// Rows are ordered by slice, then by scorer. A slice that holds no list or all lists is left
	// out.
	Rows        []Row        `json:"rows"`
	Differences []Difference `json:"differences"`
	Overall     []Overall    `json:"overall"` // by scorer
}

// Row is one scorer's result on one slice: means over lists, with 95 % bootstrap intervals.
type Row struct {
	Scorer   string         `json:"scorer"`
	Baseline bool           `json:"baseline"`
	Slice    string         `json:"slice"`
	NDCG     stats.Interval `json:"ndcg"`
	MRR      stats.Interval `json:"mrr"`
	MAP      stats.Interval `json:"map"`
	HitRate  stats.Interval `json:"hit_rate"`
	// AUC is the mean over the lists that have a candidate that is not relevant; nil without any.
	AUC *stats.Interval `json:"auc,omitempty"`
	// CorrectedNDCG and CorrectedMRR are position-corrected, see PositionBias; nil if the log does
	// not tell its position bias. CorrectedMRR is the mean of 1 / rank over all relevant items of a
	// list, not only over the first one.
	CorrectedNDCG *stats.Interval `json:"corrected_ndcg,omitempty"`
	CorrectedMRR  *stats.Interval `json:"corrected_mrr,omitempty"`
}

// Difference says how much better Scorer is than Against on the same lists: the mean of the paired
// differences, with its 95 % bootstrap interval.
type Difference struct {
	Scorer  string `json:"scorer"`
	Against string `json:"against"`
	Slice   string `json:"slice"`
	// Corrected reports that NDCG and MRR are position-corrected, see PositionBias. There is one
	// difference with it and one without it, against LoggedOrder only the one with it.
	Corrected bool           `json:"corrected"`
	NDCG      stats.Interval `json:"ndcg"`
	MRR       stats.Interval `json:"mrr"`
}

// Row returns a scorer's row of a slice, false if there is none.
func (t *Table) Row(scorer, slice string) (Row, bool) {
	i := slices.IndexFunc(t.Rows, func(r Row) bool {
		return r.Scorer == scorer && r.Slice == slice
	})
	if i < 0 {
		return Row{}, false
	}
	return t.Rows[i], true
}

// Difference returns the comparison of two scorers on a slice by plain metrics, false if there is
// none.
func (t *Table) Difference(scorer, against, slice string) (Difference, bool) {
	return t.difference(scorer, against, slice, false)
}

// CorrectedDifference returns the comparison of two scorers on a slice by position-corrected
// metrics, false if there is none. If positions explain no clicks, it equals Difference.
func (t *Table) CorrectedDifference(scorer, against, slice string) (Difference, bool) {
	return t.difference(scorer, against, slice, true)
}

func (t *Table) difference(scorer, against, slice string, corrected bool) (Difference, bool) {
	i := slices.IndexFunc(t.Differences, func(d Difference) bool {
		return d.Scorer == scorer && d.Against == against && d.Slice == slice &&
			d.Corrected == corrected
	})
	if i < 0 {
		return Difference{}, false
	}
	return t.Differences[i], true
}

// Slice is a named part of the scored lists, selected by what is known of each list, of type T.
// Slices may overlap, and a list may be in none.
type Slice[T any] struct {
	Name     string
	Contains func(T) bool
}

// IndicesBySlice returns, for each slice, the indices of the lists that it contains, in order. With
// SelectValues it cuts any per-list metric of any scorer, so that all are compared on the same
// lists.
func IndicesBySlice[T any](lists []T, by []Slice[T]) [][]int {
	out := make([][]int, len(by))
	for s := range by {
		for i, l := range lists {
			if by[s].Contains(l) {
				out[s] = append(out[s], i)
			}
		}
	}
	return out
}

// SelectValues returns the values at the given indices.
func SelectValues(values []float64, indices []int) []float64 {
	out := make([]float64, len(indices))
	for i, k := range indices {
		out[i] = values[k]
	}
	return out
}

// The slices of a table. An item's exposure is how often it was shown or interacted with before.
const (
	AllLists    = "all"
	NewUsers    = "first list of a user"  // nothing is known of the user
	KnownUsers  = "user seen before"      // the user was shown something, or did something
	LongHistory = "long history"          // at least 10 interactions of the user before
	NewItems    = "a new item is wanted"  // the least exposed relevant item: exposure below 5
	RareItems   = "a rare item is wanted" // the least exposed relevant item: exposure 5 to 19
	Shown       = "shown list"            // somebody was shown this list
	Sampled     = "sampled list"          // an interaction among sampled items
)

const (
	longHistoryInteractions = 10
	newItemLimit            = 5
	rareItemLimit           = 20
)

var tableSlices = []Slice[listFacts]{
	{AllLists, func(listFacts) bool { return true }},
	{NewUsers, func(f listFacts) bool { return f.newUser }},
	{KnownUsers, func(f listFacts) bool { return !f.newUser }},
	{LongHistory, func(f listFacts) bool { return f.history >= longHistoryInteractions }},
	{NewItems, func(f listFacts) bool { return f.leastKnown < newItemLimit }},
	{RareItems, func(f listFacts) bool {
		return f.leastKnown >= newItemLimit && f.leastKnown < rareItemLimit
	}},
	{Shown, func(f listFacts) bool { return f.shown }},
	{Sampled, func(f listFacts) bool { return !f.shown }},
}

// listFacts describes a list just before it is shown.
type listFacts struct {
	shown      bool // false for a sampled list
	newUser    bool
	history    int     // interactions of the user
	leastKnown float64 // exposure of the least exposed relevant item
}

func (c *popularityCounts) describe(ex *replay.Example) listFacts {
	f := listFacts{
		shown: ex.Logged, history: c.userInteractions[ex.Request.User], leastKnown: math.Inf(1),
	}
	f.newUser = ex.NewUser && f.history == 0
	for i, g := range ex.Gains {
		if id := ex.Request.Candidates[i].ID; g > 0 {
			f.leastKnown = min(f.leastKnown, c.shown[id]+c.clicks[id])
		}
	}
	return f
}

// The per-list metrics, as indices of result.values.
const (
	metricNDCG = iota
	metricMRR
	metricMAP
	metricHitRate
	metricAUC
	metricCount
)

// table turns the collected values into means and differences.
func (e *evaluator) table() (*Table, error) {
	t := &Table{K: e.testSet.opt.K, Lists: len(e.lists), PositionBias: e.bias}
	pairs := e.pairs
	for s, lists := range IndicesBySlice(e.lists, tableSlices) {
		slice := tableSlices[s].Name
		if len(lists) == 0 || slice != AllLists && len(lists) == len(e.lists) {
			continue
		}
		for i := range e.scorers {
			row, err := e.row(i, slice, lists)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", e.scorers[i].Name(), err)
			}
			t.Rows = append(t.Rows, row)
		}
		if slice == AllLists {
			t.Baseline = t.bestBaseline()
			pairs = slices.Concat(
				e.pairsWithBaseline(t.Baseline), e.pairsWithBaseline(LoggedOrder), e.pairs)
		}
		for _, p := range pairs {
			d, err := e.differences(p, slice, lists)
			if err != nil {
				return nil, fmt.Errorf("%s against %s: %w", p.Scorer, p.Against, err)
			}
			t.Differences = append(t.Differences, d...)
		}
	}
	for i, s := range e.scorers {
		o, err := e.results[i].overall.overall(s.Name(), e.testSet.opt.Seed)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name(), err)
		}
		t.Overall = append(t.Overall, o)
	}
	return t, nil
}

// bestBaseline returns the name of the baseline with the largest NDCG. LoggedOrder does not take
// part.
func (t *Table) bestBaseline() (name string) {
	best := -1.0
	for _, row := range t.Rows {
		if row.Baseline && row.Scorer != LoggedOrder && row.NDCG.Mean > best {
			best, name = row.NDCG.Mean, row.Scorer
		}
	}
	return name
}

// pairsWithBaseline pairs every model with the baseline, if it is measured, without the pairs that
// exist already.
func (e *evaluator) pairsWithBaseline(baseline string) (out []Pair) {
	isBaseline := func(s Scorer) bool { return s.Name() == baseline }
	if !slices.ContainsFunc(e.scorers, isBaseline) {
		return nil
	}
	for _, s := range e.scorers[e.baselineCount:] {
		if p := (Pair{s.Name(), baseline}); !slices.Contains(e.pairs, p) {
			out = append(out, p)
		}
	}
	return out
}

// intervals returns the fields of the row in the order of the metric constants. It does not compile
// if a metric has no field.
func (r *Row) intervals() [metricCount]*stats.Interval {
	return [...]*stats.Interval{&r.NDCG, &r.MRR, &r.MAP, &r.HitRate, r.AUC}
}

func (e *evaluator) row(scorer int, slice string, lists []int) (Row, error) {
	row := Row{
		Scorer:   e.scorers[scorer].Name(),
		Baseline: scorer < e.baselineCount,
		Slice:    slice,
		AUC:      &stats.Interval{},
	}
	for metric, to := range row.intervals() {
		values := DropNaN(SelectValues(e.results[scorer].values[metric], lists))
		var err error
		if *to, err = stats.Bootstrap(values, e.testSet.opt.Seed); err != nil {
			return row, err
		}
	}
	if row.AUC.N == 0 {
		row.AUC = nil
	}
	err := e.addCorrected(&row, &e.results[scorer], lists)
	return row, err
}

// differences returns the comparison of a pair by plain and by position-corrected metrics, as far
// as each is sound.
func (e *evaluator) differences(p Pair, slice string, lists []int) (out []Difference, err error) {
	var results [2]*result
	for k, name := range []string{p.Scorer, p.Against} {
		i := slices.IndexFunc(e.scorers, func(s Scorer) bool { return s.Name() == name })
		if i < 0 {
			return nil, fmt.Errorf("scorer %q is not part of the evaluation", name)
		}
		results[k] = &e.results[i]
	}
	add := func(corrected bool, metrics func(*result) (ndcg, mrr []float64)) error {
		d := Difference{
			Scorer: p.Scorer, Against: p.Against, Slice: slice, Corrected: corrected,
		}
		ndcg, mrr := metrics(results[0])
		otherNDCG, otherMRR := metrics(results[1])
		var err error
		if d.NDCG, err = stats.PairedBootstrap(ndcg, otherNDCG, e.testSet.opt.Seed); err != nil {
			return err
		}
		d.MRR, err = stats.PairedBootstrap(mrr, otherMRR, e.testSet.opt.Seed)
		out = append(out, d)
		return err
	}
	if p.Scorer != LoggedOrder && p.Against != LoggedOrder {
		err = add(false, func(r *result) (ndcg, mrr []float64) {
			return SelectValues(r.values[metricNDCG], lists),
				SelectValues(r.values[metricMRR], lists)
		})
	}
	if err == nil && e.bias.Known {
		err = add(true, func(r *result) (ndcg, mrr []float64) { return e.corrected(r, lists) })
	}
	return out, err
}
