package modelcard

import (
	"slices"

	"relish/evaluation"
)

// scoreIndex finds scores by metric, slice and scorer, each in order of first appearance.
type scoreIndex struct {
	metrics, slices []string
	scorers         []Score // one per scorer, for its name and role
	values          map[[3]string]Score
}

func newScoreIndex(scores []Score) *scoreIndex {
	b := &scoreIndex{values: map[[3]string]Score{}}
	for _, s := range scores {
		if s.Value.N == 0 {
			continue
		}
		if !slices.Contains(b.metrics, s.Metric) {
			b.metrics = append(b.metrics, s.Metric)
		}
		if !slices.Contains(b.slices, s.Slice) {
			b.slices = append(b.slices, s.Slice)
		}
		if !slices.ContainsFunc(b.scorers, func(o Score) bool { return o.Scorer == s.Scorer }) {
			b.scorers = append(b.scorers, s)
		}
		b.values[[3]string{s.Metric, s.Slice, s.Scorer}] = s
	}
	return b
}

func (b *scoreIndex) find(metric, slice, scorer string) (Score, bool) {
	s, ok := b.values[[3]string{metric, slice, scorer}]
	return s, ok
}

// byRole returns the first scorer's score in a role.
func (b *scoreIndex) byRole(metric, slice, role string) (Score, bool) {
	for _, o := range b.scorers {
		if s, ok := b.find(metric, slice, o.Scorer); ok && s.Role == role {
			return s, true
		}
	}
	return Score{}, false
}

// bestBaseline returns the best plain baseline.
func (b *scoreIndex) bestBaseline(metric, slice string) (best Score, ok bool) {
	for _, o := range b.scorers {
		if s, has := b.find(metric, slice, o.Scorer); has && s.Role == RoleBaseline && (!ok || s.Value.Mean > best.Value.Mean) {
			best, ok = s, true
		}
	}
	return best, ok
}

// table lists the scorers of one slice by metric, as cells of text.
func (b *scoreIndex) table(slice string) (rows []scoreRow) {
	for _, o := range b.scorers {
		row, any := scoreRow{Scorer: o.Scorer, Role: o.Role}, false
		for _, m := range b.metrics {
			s, ok := b.find(m, slice, o.Scorer)
			any = any || ok
			row.Cells = append(row.Cells, cell(s, ok))
		}
		if any {
			rows = append(rows, row)
		}
	}
	return rows
}

type scoreRow struct {
	Scorer, Role string
	Cells        []scoreCell
}

type scoreCell struct{ Value, Interval string }

// cell leaves the interval out where there is none, as for a share of the catalogue.
func cell(s Score, ok bool) scoreCell {
	switch {
	case !ok:
		return scoreCell{Value: "–"}
	case s.Value.Low == s.Value.High:
		return scoreCell{Value: fixed(s.Value.Mean)}
	}
	return scoreCell{fixed(s.Value.Mean), "[" + fixed(s.Value.Low) + ", " + fixed(s.Value.High) + "]"}
}

// partSlices returns the slices that are part of the lists.
func (b *scoreIndex) partSlices() (out []string) {
	for _, s := range b.slices {
		if s != evaluation.AllLists {
			out = append(out, s)
		}
	}
	return out
}
