package ranker

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/cespare/xxhash/v2"
)

// errNothingScored ends an interleaving: without scores both arms would keep the request's order.
var errNothingScored = errors.New("no model scored the candidates")

// errAnotherFellBack ends an interleaving: the first list was ranked with an arm of another
// experiment, and the second list cannot be ranked with that arm.
var errAnotherFellBack = errors.New(
	"the second list cannot be ranked with the arm of another experiment")

// interleave ranks the candidates for the second arm and merges its list with control's. If the
// second arm cannot be ranked, control's ranking is the answer.
//
// Work that both sides share is done once. Features are read again only if the schemas differ,
// vectors only if the text encoders do. Arms that score alike are scored once.
func (p *Pipeline) interleave(ctx context.Context, run *run, control ranking) ranking {
	if control.model == nil {
		control.plan = control.plan.endInterleaving(run, errNothingScored)
		return control
	}
	second := p.scoreSecond(ctx, run, control)
	other := ranking{scored: second, plan: second.plan}
	if second.plan.interleaves() {
		other = p.order(ctx, run, second)
		other.plan = other.plan.checkOthers(run, control.plan)
	}
	if !other.plan.interleaves() {
		control.plan = control.plan.withoutInterleaving()
		return control
	}
	return draft(run, control, &other)
}

// scoreSecond scores the candidates for the second arm. It tries no fallback, because control's
// list is one: if scoring fails, the returned plan no longer interleaves.
func (p *Pipeline) scoreSecond(ctx context.Context, run *run, control ranking) scored {
	pl := control.plan.secondArm()
	if pl.scoresLike(control.plan) {
		s := control.scored
		s.plan = pl
		return s
	}
	pl, err := p.selectModel(run, pl)
	pl = pl.checkOthers(run, control.plan)
	if err == nil && pl.interleaves() {
		in, shared := control.inputs.reuse(pl.model)
		if !shared {
			in = p.gather(ctx, run, pl)
		}
		var s scored
		if s, err = p.scoreOnce(ctx, run, pl, in); err == nil {
			return s
		}
	}
	if err != nil {
		pl = pl.endInterleaving(run, err)
	}
	return scored{plan: pl}
}

// draft merges the two lists by team draft (Radlinski, Kurup, Joachims: How does clickthrough data
// reflect retrieval quality, CIKM 2008). The team with fewer items picks its best item that is
// left. If both have as many, a coin decides. The coin is a hash of the request, so that a replay
// draws the same. A propensity is conditional on the positions above and their teams.
func draft(run *run, control ranking, second *ranking) ranking {
	lists := [2][]Entry{control.list.Entries, second.list.Entries}
	taken := make([]bool, len(run.req.Candidates))
	rng := rand.New(rand.NewPCG(xxhash.Sum64String(run.req.ID), run.seed))
	var counts [2]int
	merged := List{Request: run.req, State: control.list.State, Vectors: control.list.Vectors}
	var teams []uint8
	for {
		for side := range lists {
			for len(lists[side]) > 0 && taken[lists[side][0].Index] {
				lists[side] = lists[side][1:]
			}
		}
		if len(lists[0]) == 0 && len(lists[1]) == 0 {
			break
		}
		team, propensity := pickTeam(lists, counts, rng)
		e := lists[team][0]
		taken[e.Index] = true
		counts[team]++
		merged.Entries = append(merged.Entries, e)
		merged.Propensity = append(merged.Propensity, propensity)
		teams = append(teams, uint8(team))
	}
	control.list, control.second, control.teams = merged, second, teams
	return control
}

// pickTeam returns the team that picks next, and the probability that the position gets the item
// that this team picks.
func pickTeam(lists [2][]Entry, counts [2]int, rng *rand.Rand) (team int, propensity float64) {
	switch {
	case len(lists[0]) == 0:
		return 1, 1
	case len(lists[1]) == 0:
		return 0, 1
	case counts[0] < counts[1]:
		return 0, 1
	case counts[0] > counts[1]:
		return 1, 1
	}
	propensity = 0.5
	if lists[0][0].Index == lists[1][0].Index {
		propensity = 1
	}
	return rng.IntN(2), propensity
}

// team returns which side the entry at position i (from 0) comes from: 0 is this side, 1 the
// second.
func (r *ranking) team(i int) int {
	if r.second == nil {
		return 0
	}
	return int(r.teams[i])
}
