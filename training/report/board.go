package report

import (
	"slices"

	"relish/training/evaluate"
)

// board finds scores by metric, slice and scorer, each in order of first appearance.
type board struct {
	metrics, slices []string
	scorers         []Score // one per scorer, for its name and role
	at              map[[3]string]Score
}

func newBoard(scores []Score) *board {
	b := &board{at: map[[3]string]Score{}}
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
		b.at[[3]string{s.Metric, s.Slice, s.Scorer}] = s
	}
	return b
}

func (b *board) get(metric, slice, scorer string) (Score, bool) {
	s, ok := b.at[[3]string{metric, slice, scorer}]
	return s, ok
}

// role returns the first scorer's score in a role.
func (b *board) role(metric, slice, role string) (Score, bool) {
	for _, o := range b.scorers {
		if s, ok := b.get(metric, slice, o.Scorer); ok && s.Role == role {
			return s, true
		}
	}
	return Score{}, false
}

// best returns the best plain baseline.
func (b *board) best(metric, slice string) (best Score, ok bool) {
	for _, o := range b.scorers {
		if s, has := b.get(metric, slice, o.Scorer); has && s.Role == Plain && (!ok || s.Value.Mean > best.Value.Mean) {
			best, ok = s, true
		}
	}
	return best, ok
}

// table lists the scorers of one slice by metric, as cells of text.
func (b *board) table(slice string) (rows []scoreRow) {
	for _, o := range b.scorers {
		row, any := scoreRow{Scorer: o.Scorer, Role: o.Role}, false
		for _, m := range b.metrics {
			s, ok := b.get(m, slice, o.Scorer)
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

// others returns the slices that are part of the lists.
func (b *board) others() (out []string) {
	for _, s := range b.slices {
		if s != evaluate.AllLists {
			out = append(out, s)
		}
	}
	return out
}
