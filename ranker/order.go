package ranker

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"relish/internal/parallel"
)

// ranking is the scored candidates in their final order.
type ranking struct {
	scored
	plan plan // scored's, less the arms whose rules failed
	list List
	// exposed is the parts that took effect in this request, or would have under another arm.
	exposed RankingPart
	// second is the other side of an interleaved ranking, nil without one. teams is then aligned
	// with list.Entries: 0 for this side, 1 for the second.
	second *ranking
	teams  []uint8
}

// order sorts the candidates by score and applies the rules of the plan.
func (p *Pipeline) order(ctx context.Context, run *run, s scored) ranking {
	sorted := List{
		Request: run.req,
		State:   s.inputs.signals.State,
		Vectors: s.inputs.signals.ItemVectors,
		Entries: make([]Entry, len(s.scores)),
	}
	for position, i := range sortByScore(run, s.scores) {
		sorted.Entries[position] = Entry{Index: i, Score: s.scores[i]}
	}
	list, pl := applyRules(ctx, run, s.plan, sorted)
	return ranking{scored: s, plan: pl, list: list, exposed: exposedParts(run.req, s)}
}

// sortByScore returns the candidates' indices by descending score. Equal scores are ordered by a
// hash of item and seed, so that neither the order of the request nor the id itself decides.
func sortByScore(run *run, scores []float64) []int {
	type key struct {
		score float64
		tie   uint64
		index int
	}
	candidates := run.req.Candidates
	keys := make([]key, len(scores))
	for i, s := range scores {
		keys[i] = key{s, tieBreak(candidates[i].ID, run.seed), i}
	}
	slices.SortFunc(keys, func(a, b key) int {
		if c := cmp.Compare(b.score, a.score); c != 0 {
			return c
		}
		if c := cmp.Compare(a.tie, b.tie); c != 0 {
			return c
		}
		return cmp.Compare(candidates[a.index].ID, candidates[b.index].ID)
	})
	out := make([]int, len(keys))
	for i, k := range keys {
		out[i] = k.index
	}
	return out
}

func tieBreak(id string, seed uint64) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(seed)
	_, _ = d.WriteString(id)
	return d.Sum64()
}

// applyRules applies the plan's rules in their order. A rule that fails leaves the list as it was,
// and the arm that set it falls back, along with its later rules.
func applyRules(ctx context.Context, run *run, pl plan, list List) (List, plan) {
	if pl.arm.Rules == (RuleSet{}) {
		return list, pl
	}
	defer run.timing(StageRules, time.Now())
	for kind := range ruleKinds {
		rule := pl.arm.Rules[kind]
		if rule == nil {
			continue
		}
		changed := list
		changed.Entries = slices.Clone(list.Entries)
		if err := parallel.Catch(func() error { return rule.Apply(ctx, &changed) }); err != nil {
			run.fail("rule "+rule.Name(), err)
			pl, _ = pl.fallBack(run, kind.Part(), err)
			continue
		}
		list = changed
	}
	return list, pl
}

// exposedParts returns the parts of the ranking that an arm could have changed in this request.
func exposedParts(req *Request, s scored) (parts RankingPart) {
	if req.Deadline == 0 {
		parts |= PartDeadline
	}
	if s.model != nil && req.Model == "" {
		parts |= PartModel | PartScorer
	}
	hasText := func(it *ItemInfo) bool { return it != nil && it.TextKey != 0 }
	if s.model != nil && slices.ContainsFunc(s.inputs.signals.State.Items, hasText) {
		parts |= PartText
	}
	if n := len(s.scores); n > 0 {
		parts |= PartFilter | PartBoost | PartPin
		if n > 1 {
			parts |= PartDiversity
		}
		if n > 1 && !s.plan.interleaves() {
			parts |= PartExploration
		}
	}
	return parts
}
