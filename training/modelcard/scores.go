package modelcard

import (
	"slices"

	"relish/evaluation"
)

// scoreIndex finds scores by metric, slice and scorer. Each of the three is listed in the order of
// its first appearance.
type scoreIndex struct {
	metrics, slices []string
	scorers         []Score             // one score for each scorer, for its name and role
	values          map[[3]string]Score // by metric, slice, scorer
}

func newScoreIndex(scores []Score) *scoreIndex {
	index := &scoreIndex{values: map[[3]string]Score{}}
	for _, s := range scores {
		if s.Value.N == 0 {
			continue
		}
		if !slices.Contains(index.metrics, s.Metric) {
			index.metrics = append(index.metrics, s.Metric)
		}
		if !slices.Contains(index.slices, s.Slice) {
			index.slices = append(index.slices, s.Slice)
		}
		sameScorer := func(other Score) bool { return other.Scorer == s.Scorer }
		if !slices.ContainsFunc(index.scorers, sameScorer) {
			index.scorers = append(index.scorers, s)
		}
		index.values[[3]string{s.Metric, s.Slice, s.Scorer}] = s
	}
	return index
}

func (x *scoreIndex) find(metric, slice, scorer string) (Score, bool) {
	s, ok := x.values[[3]string{metric, slice, scorer}]
	return s, ok
}

// byRole returns the score of the first scorer with a role.
func (x *scoreIndex) byRole(metric, slice, role string) (Score, bool) {
	for _, scorer := range x.scorers {
		if s, ok := x.find(metric, slice, scorer.Scorer); ok && s.Role == role {
			return s, true
		}
	}
	return Score{}, false
}

// bestBaseline returns the baseline with the highest mean. The logged order does not take part,
// because position bias flatters it.
func (x *scoreIndex) bestBaseline(metric, slice string) (best Score, ok bool) {
	for _, scorer := range x.scorers {
		s, has := x.find(metric, slice, scorer.Scorer)
		if has && s.Role == RoleBaseline && s.Scorer != evaluation.LoggedOrder &&
			(!ok || s.Value.Mean > best.Value.Mean) {
			best, ok = s, true
		}
	}
	return best, ok
}

// partSlices returns all slices but the slice of all lists.
func (x *scoreIndex) partSlices() (out []string) {
	for _, slice := range x.slices {
		if slice != evaluation.AllLists {
			out = append(out, slice)
		}
	}
	return out
}

// scoreTable is the table of one slice: a row for each scorer, a column for each metric.
type scoreTable struct {
	Metrics []string
	Rows    []scoreRow
}

type scoreRow struct {
	Scorer, Role string
	Cells        []scoreCell // aligned with the metrics
}

type scoreCell struct{ Value, Interval string }

// rows returns the rows of one slice. A scorer without any score there has no row.
func (x *scoreIndex) rows(slice string) (rows []scoreRow) {
	for _, scorer := range x.scorers {
		row, hasScore := scoreRow{Scorer: scorer.Scorer, Role: scorer.Role}, false
		for _, metric := range x.metrics {
			s, ok := x.find(metric, slice, scorer.Scorer)
			hasScore = hasScore || ok
			row.Cells = append(row.Cells, newScoreCell(s, ok))
		}
		if hasScore {
			rows = append(rows, row)
		}
	}
	return rows
}

// newScoreCell formats one score. A value without an interval, such as catalogue coverage, shows
// the mean only.
func newScoreCell(s Score, ok bool) scoreCell {
	switch {
	case !ok:
		return scoreCell{Value: "–"}
	case !s.Value.IsBounded():
		return scoreCell{formatFixed(s.Value.Mean), formatPlural(s.Value.N, "list") + ", too few"}
	case s.Value.Low == s.Value.High:
		return scoreCell{Value: formatFixed(s.Value.Mean)}
	}
	interval := "[" + formatFixed(s.Value.Low) + ", " + formatFixed(s.Value.High) + "]"
	return scoreCell{formatFixed(s.Value.Mean), interval}
}

// Metrics returns the columns of the score tables.
func (v *view) Metrics() []string { return v.scores.metrics }

// AllLists reports whether there is a score over all lists.
func (v *view) AllLists() bool { return len(v.scores.rows(evaluation.AllLists)) > 0 }

// Slices returns the slices other than all lists.
func (v *view) Slices() []string { return v.scores.partSlices() }

// ScoreTable returns the score table of a slice; "" means all lists.
func (v *view) ScoreTable(slice string) scoreTable {
	if slice == "" {
		slice = evaluation.AllLists
	}
	return scoreTable{v.scores.metrics, v.scores.rows(slice)}
}
