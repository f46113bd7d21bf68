package ranker

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"relish/internal/parallel"
)

// explain explains the first Request.Explain items of the answer, or as many as time allows. The
// result is aligned with the answer's first items.
func (p *Pipeline) explain(ctx context.Context, run *run, r ranking) []*Explanation {
	if run.req.Explain == 0 {
		return nil
	}
	defer run.timing(StageExplain, time.Now())
	ctx, cancel := run.stage(ctx, explainUntil)
	defer cancel()
	if r.model == nil || ctx.Err() != nil {
		run.degrade(ExplainPartial)
		return nil
	}
	sides := [2]explainer{{run: run, side: &r}, {run: run, side: r.second}}
	var explanations []*Explanation
	for i, e := range r.list.Entries[:min(run.req.Explain, r.answered(run.req))] {
		err := ctx.Err()
		if err == nil {
			err = parallel.Catch(func() error {
				x, err := sides[r.team(i)].explain(e)
				if err == nil {
					explanations = append(explanations, x)
				}
				return err
			})
		}
		if err != nil {
			run.fail("explain", err)
			run.degrade(ExplainPartial)
			break
		}
	}
	return explanations
}

// explainer explains the entries that one side of a ranking scored.
type explainer struct {
	run  *run
	side *ranking
	// positions is the result of positionsWithoutText; nil until the first explanation.
	positions []int
}

func (x *explainer) explain(e Entry) (*Explanation, error) {
	if x.positions == nil {
		positions, err := x.positionsWithoutText()
		if err != nil {
			return nil, err
		}
		x.positions = positions
	}
	m := x.side.visible
	parts := make([]float64, len(m.Columns))
	base, err := x.side.model.Scorer.Explain(m, e.Index, parts)
	if err != nil {
		return nil, err
	}
	out := &Explanation{Base: base, MovedBy: e.MovedBy, RankWithoutText: x.positions[e.Index]}
	row := m.Row(e.Index)
	for c, part := range parts {
		if part == 0 {
			continue
		}
		out.Contributions = append(out.Contributions, Contribution{
			Feature:      m.Columns[c].Name,
			Group:        m.Columns[c].Group,
			Value:        float64(row[c]),
			Contribution: part,
		})
	}
	slices.SortStableFunc(out.Contributions, func(a, b Contribution) int {
		return cmp.Compare(math.Abs(b.Contribution), math.Abs(a.Contribution))
	})
	return out, nil
}

// positionsWithoutText returns each candidate's position, from 1, if every text column were
// missing. It counts only the candidates that the rules left; the others have 0.
func (x *explainer) positionsWithoutText() ([]int, error) {
	scores := make([]float64, len(x.side.scores))
	if err := x.side.model.Scorer.Score(x.side.matrix.withoutGroup(GroupText), scores); err != nil {
		return nil, err
	}
	left := make([]bool, len(scores))
	for _, e := range x.side.list.Entries {
		left[e.Index] = true
	}
	positions := make([]int, len(scores))
	position := 0
	for _, i := range sortByScore(x.run, scores) {
		if left[i] {
			position++
			positions[i] = position
		}
	}
	return positions, nil
}
