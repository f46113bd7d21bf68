package ranker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// interleave ranks for the other arm of an interleaved request, and drafts the answer from both lists.
// What both sides share is not done twice: features are read once unless the schemas differ, vectors
// are fetched once, and arms that score alike are scored once. When the other side cannot be ranked,
// control's list is the answer.
func (r *ranking) interleave(ctx context.Context) {
	t := r.interleaved()
	if t == nil {
		return
	}
	if r.model == nil {
		r.fallInterleaved(errNothingScored)
		return
	}
	other := *r
	other.control, other.errs, other.trials = r, nil, slices.Clone(r.trials)
	other.interleaved().inEffect = t.Arm
	other.fold()
	if !other.scoresLike(r) {
		other.scoreOther(ctx)
	}
	if other.interleaved() != nil {
		other.order()
		other.steps(ctx)
	}
	r.errs = append(r.errs, other.errs...)
	for i := range r.trials {
		r.trials[i].fellBack = r.trials[i].fellBack || other.trials[i].fellBack
	}
	if r.interleaved() != nil {
		r.other = &other
		r.draft()
	}
}

// scoreOther scores for the other arm, which has no stand-in: control's list is there already.
func (r *ranking) scoreOther(ctx context.Context) {
	model, err := r.choose()
	if err == nil && r.interleaved() != nil {
		if err = r.scoreWith(ctx, model); err == nil {
			r.model, r.places = model, nil
		}
	}
	if err != nil {
		r.fallInterleaved(err)
	}
}

// fallInterleaved gives up the interleaving.
func (r *ranking) fallInterleaved(why error) {
	if t := r.interleaved(); t != nil {
		t.fellBack = true
		r.errs = append(r.errs, fmt.Errorf("experiment %s: %w", t.Experiment, why))
	}
}

// scoresLike reports whether both rankings give every candidate the same score.
func (r *ranking) scoresLike(b *ranking) bool {
	return r.plan.Model == b.plan.Model && r.plan.ScorerParams == nil && b.plan.ScorerParams == nil && r.plan.Text == b.plan.Text
}

// draft merges the two lists by team draft (Radlinski, Kurup, Joachims: How does clickthrough data
// reflect retrieval quality, CIKM 2008): the team with fewer items picks its best one that is left, a
// coin decides where both have as many. The coin is a hash of the request, so that a replay draws
// the same. Propensities are given the places above and their teams.
func (r *ranking) draft() {
	lists := [2][]Entry{r.list.Entries, r.other.list.Entries}
	taken := make([]bool, len(r.req.Candidates))
	rng := rand.New(rand.NewPCG(xxhash.Sum64String(r.req.ID), r.seed))
	var counts [2]int
	merged := List{Request: r.req, State: r.state, Vectors: r.vectors}
	for {
		for side := range lists {
			for len(lists[side]) > 0 && taken[lists[side][0].Index] {
				lists[side] = lists[side][1:]
			}
		}
		if len(lists[0]) == 0 && len(lists[1]) == 0 {
			break
		}
		team, propensity := pick(lists, counts, rng)
		e := lists[team][0]
		taken[e.Index] = true
		counts[team]++
		merged.Entries = append(merged.Entries, e)
		merged.Propensity = append(merged.Propensity, propensity)
		r.teams = append(r.teams, uint8(team))
	}
	r.list = merged
}

// pick decides whose turn it is, and how probable the item was.
func pick(lists [2][]Entry, counts [2]int, rng *rand.Rand) (team int, propensity float64) {
	switch {
	case len(lists[0]) == 0:
		return 1, 1
	case len(lists[1]) == 0:
		return 0, 1
	case counts[0] != counts[1]:
		if counts[0] < counts[1] {
			return 0, 1
		}
		return 1, 1
	}
	propensity = 0.5
	if lists[0][0].Index == lists[1][0].Index {
		propensity = 1
	}
	return rng.IntN(2), propensity
}

// side returns the ranking that the answer's place i is from.
func (r *ranking) side(i int) *ranking {
	if r.other != nil && r.teams[i] == 1 {
		return r.other
	}
	return r
}
