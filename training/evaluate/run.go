package evaluate

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/cespare/xxhash/v2"

	"relish/features"
	"relish/ranker"
	"relish/training/replay"
)

// Scorer scores the candidates of a case, aligned with its items. It must not look at the case's gains.
type Scorer interface {
	Name() string
	Score(ctx context.Context, c *replay.Case) ([]float64, error)
}

// Contest is who is scored. Names are distinct.
type Contest struct {
	// Plain are further baselines, beside those that need nothing but the log: chance, the logged order, popularity and
	// the live click rate, as far as the log has what they need.
	Plain  []Scorer
	Models []Scorer
	Pairs  []Pair // to be compared, beside each model with the best plain baseline
}

// Pair names two scorers; what is told of them is how much better the first is.
type Pair struct{ Scorer, Against string }

// Run chooses the newest part of the log and scores it, see Choose and Part.Run.
func Run(ctx context.Context, src replay.Source, state *features.State, opt Options, models ...Scorer) (*Table, error) {
	p, err := Choose(ctx, src, state.Config(), opt)
	if err != nil {
		return nil, err
	}
	return p.Run(ctx, state, Contest{Models: models})
}

// Run scores the part in one walk, so that all scorers see the same lists with the same knowledge: each list with the
// state just before it. state is empty and what the scorers read; it is filled on the way.
func (p *Part) Run(ctx context.Context, state *features.State, c Contest) (*Table, error) {
	known := newCounts()
	plain := append(p.baselines(known), c.Plain...)
	run := &run{part: p, known: known, scorers: append(plain, c.Models...), plain: len(plain), pairs: c.Pairs}
	run.begin()
	walk := replay.WalkOptions{Frozen: !p.opt.Prequential, Followers: []replay.Follower{known}, Progress: p.opt.Progress}
	if err := p.Log.Walk(ctx, p.src, state, p.picks, walk, func(c *replay.Case) error { return run.score(ctx, c) }); err != nil {
		return nil, err
	}
	return run.table()
}

// run is one evaluation at work.
type run struct {
	part    *Part
	known   *counts
	scorers []Scorer
	plain   int // how many of them
	pairs   []Pair
	lists   []facts
	results []result // by scorer
	distant func(candidates []ranker.Candidate) Distance
}

// result is what one scorer reached, by list, and what is told of it over all lists.
type result struct {
	rng    *rand.Rand // of its ties: of its own, so that its figures do not hang on who else is measured
	values [metrics][]float64
	spread spread
}

func (r *run) begin() {
	r.results = make([]result, len(r.scorers))
	for i, s := range r.scorers {
		r.results[i].rng = rand.New(rand.NewPCG(r.part.opt.Seed, xxhash.Sum64String(s.Name())))
		r.results[i].spread.coverage = NewCoverage(r.part.Log.Items.IDs())
	}
	r.distant = r.part.distances()
}

func (r *run) score(ctx context.Context, c *replay.Case) error {
	gains := make([]float64, len(c.Gains))
	for i, g := range c.Gains {
		gains[i] = float64(g)
	}
	for i := range c.Request.Candidates {
		c.Request.Candidates[i].New = r.part.opt.Hide != nil
	}
	r.lists = append(r.lists, r.known.facts(c))
	distance := r.distant(c.Request.Candidates)
	for i, s := range r.scorers {
		scores, err := s.Score(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name(), err)
		}
		order, err := Order(scores, r.results[i].rng)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name(), err)
		}
		auc, err := AUC(scores, gains)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name(), err)
		}
		k, v := r.part.opt.K, &r.results[i].values
		v[byNDCG] = append(v[byNDCG], NDCG(order, gains, k))
		v[byMRR] = append(v[byMRR], MRR(order, gains))
		v[byMAP] = append(v[byMAP], AveragePrecision(order, gains, k))
		v[byHits] = append(v[byHits], HitRate(order, gains, k))
		v[byAUC] = append(v[byAUC], auc)
		r.results[i].spread.add(c, order, k, distance)
		r.results[i].spread.sample(c.Index, len(r.part.picks), scores, gains)
	}
	return nil
}
