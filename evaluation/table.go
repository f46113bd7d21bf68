package evaluation

import (
	"fmt"
	"slices"

	"relish/internal/stats"
)

// Row is one scorer's result over one slice of the lists: means over lists with their intervals.
type Row struct {
	Scorer   string         `json:"scorer"`
	Baseline bool           `json:"plain"` // a baseline
	Slice    string         `json:"slice"`
	NDCG     stats.Interval `json:"ndcg"`
	MRR      stats.Interval `json:"mrr"`
	MAP      stats.Interval `json:"map"`
	HitRate  stats.Interval `json:"hit_rate"`
	// AUC is that of the order within a list, over those that have something irrelevant too; nil without any.
	AUC *stats.Interval `json:"auc,omitempty"`
}

// Difference is how much better one scorer is than another on the same lists: the mean of the paired differences.
type Difference struct {
	Scorer  string         `json:"scorer"`
	Against string         `json:"against"`
	Slice   string         `json:"slice"`
	NDCG    stats.Interval `json:"ndcg"`
	MRR     stats.Interval `json:"mrr"`
}

// Table is a finished evaluation.
type Table struct {
	K           int          `json:"k"`
	Lists       int          `json:"lists"`
	Baseline    string       `json:"baseline"` // the plain scorer with the best NDCG over all lists
	Rows        []Row        `json:"rows"`     // by slice, then by scorer; slices that no list is in, or all are, are left out
	Differences []Difference `json:"differences"`
	Overall     []Overall    `json:"overall"`
}

// Row returns a scorer's row of a slice.
func (t *Table) Row(scorer, slice string) (Row, bool) {
	i := slices.IndexFunc(t.Rows, func(r Row) bool { return r.Scorer == scorer && r.Slice == slice })
	if i < 0 {
		return Row{}, false
	}
	return t.Rows[i], true
}

// Difference returns the comparison of two scorers over a slice.
func (t *Table) Difference(scorer, against, slice string) (Difference, bool) {
	i := slices.IndexFunc(t.Differences, func(d Difference) bool { return d.Scorer == scorer && d.Against == against && d.Slice == slice })
	if i < 0 {
		return Difference{}, false
	}
	return t.Differences[i], true
}

// The metrics of a list.
const (
	metricNDCG = iota
	metricMRR
	metricMAP
	metricHitRate
	metricAUC
	metricCount // how many
)

func (r *evaluator) table() (*Table, error) {
	t := &Table{K: r.testSet.opt.K, Lists: len(r.lists)}
	pairs := r.pairs
	for s, at := range IndicesBySlice(r.lists, tableSlices) {
		if len(at) == 0 || tableSlices[s].Name != AllLists && len(at) == len(r.lists) {
			continue
		}
		for i := range r.scorers {
			row, err := r.row(i, tableSlices[s].Name, at)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.scorers[i].Name(), err)
			}
			t.Rows = append(t.Rows, row)
		}
		if tableSlices[s].Name == AllLists {
			t.Baseline = t.bestBaseline()
			pairs = slices.Concat(r.pairsWithBaseline(t.Baseline), r.pairs)
		}
		for _, p := range pairs {
			d, err := r.difference(p, tableSlices[s].Name, at)
			if err != nil {
				return nil, fmt.Errorf("%s against %s: %w", p.Scorer, p.Against, err)
			}
			t.Differences = append(t.Differences, d)
		}
	}
	for i, s := range r.scorers {
		o, err := r.results[i].overall.overall(s.Name(), r.testSet.opt.Seed)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name(), err)
		}
		t.Overall = append(t.Overall, o)
	}
	return t, nil
}

// bestBaseline names the plain row with the largest NDCG.
func (t *Table) bestBaseline() (name string) {
	best := -1.0
	for _, row := range t.Rows {
		if row.Baseline && row.NDCG.Mean > best {
			best, name = row.NDCG.Mean, row.Scorer
		}
	}
	return name
}

func (r *evaluator) pairsWithBaseline(baseline string) (out []Pair) {
	for _, s := range r.scorers[r.baselineCount:] {
		out = append(out, Pair{s.Name(), baseline})
	}
	return out
}

func (r *evaluator) row(scorer int, slice string, at []int) (Row, error) {
	row := Row{Scorer: r.scorers[scorer].Name(), Baseline: scorer < r.baselineCount, Slice: slice, AUC: &stats.Interval{}}
	for metric, to := range [metricCount]*stats.Interval{&row.NDCG, &row.MRR, &row.MAP, &row.HitRate, row.AUC} {
		var err error
		if *to, err = stats.Bootstrap(DropNaN(SelectValues(r.results[scorer].values[metric], at)), r.testSet.opt.Seed); err != nil {
			return row, err
		}
	}
	if row.AUC.N == 0 {
		row.AUC = nil
	}
	return row, nil
}

func (r *evaluator) difference(p Pair, slice string, at []int) (Difference, error) {
	d := Difference{Scorer: p.Scorer, Against: p.Against, Slice: slice}
	var results [2]*result
	for k, name := range []string{p.Scorer, p.Against} {
		i := slices.IndexFunc(r.scorers, func(s Scorer) bool { return s.Name() == name })
		if i < 0 {
			return d, fmt.Errorf("there is no scorer %q", name)
		}
		results[k] = &r.results[i]
	}
	for metric, to := range map[int]*stats.Interval{metricNDCG: &d.NDCG, metricMRR: &d.MRR} {
		var err error
		if *to, err = stats.PairedBootstrap(SelectValues(results[0].values[metric], at), SelectValues(results[1].values[metric], at), r.testSet.opt.Seed); err != nil {
			return d, err
		}
	}
	return d, nil
}
