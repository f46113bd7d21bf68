package evaluation

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
	Score(ctx context.Context, c *replay.Example) ([]float64, error)
}

// Scorers is who is scored. Names are distinct.
type Scorers struct {
	// Baselines are further baselines, beside those that need nothing but the log: chance, the logged order, popularity and
	// the live click rate, as far as the log has what they need.
	Baselines []Scorer
	Models    []Scorer
	Pairs     []Pair // to be compared, beside each model with the best plain baseline
}

// Pair names two scorers; what is told of them is how much better the first is.
type Pair struct{ Scorer, Against string }

// Run chooses the newest part of the log and scores it, see Choose and Part.Run.
func Run(ctx context.Context, src replay.Source, state *features.State, opt Options, models ...Scorer) (*Table, error) {
	p, err := NewTestSet(ctx, src, state.Config(), opt)
	if err != nil {
		return nil, err
	}
	return p.Run(ctx, state, Scorers{Models: models})
}

// Run scores the part in one walk, so that all scorers see the same lists with the same knowledge: each list with the
// state just before it. state is empty and what the scorers read; it is filled on the way.
func (p *TestSet) Run(ctx context.Context, state *features.State, c Scorers) (*Table, error) {
	known := newPopularityCounts()
	plain := append(p.baselines(known), c.Baselines...)
	run := &evaluator{testSet: p, counts: known, scorers: append(plain, c.Models...), baselineCount: len(plain), pairs: c.Pairs}
	run.begin()
	walk := replay.WalkOptions{FreezeState: !p.opt.Prequential, Observers: []replay.Observer{known}, Progress: p.opt.Progress}
	if err := p.Log.Walk(ctx, p.src, state, p.lists, walk, func(c *replay.Example) error { return run.scoreList(ctx, c) }); err != nil {
		return nil, err
	}
	return run.table()
}

// evaluator is one evaluation at work.
type evaluator struct {
	testSet       *TestSet
	counts        *popularityCounts
	scorers       []Scorer
	baselineCount int // how many of them
	pairs         []Pair
	lists         []listFacts
	results       []result // by scorer
	itemDistance  func(candidates []ranker.Candidate) Distance
}

// result is what one scorer reached, by list, and what is told of it over all lists.
type result struct {
	rng     *rand.Rand // of its ties: of its own, so that its figures do not hang on who else is measured
	values  [metricCount][]float64
	overall overallStats
}

func (r *evaluator) begin() {
	r.results = make([]result, len(r.scorers))
	for i, s := range r.scorers {
		r.results[i].rng = rand.New(rand.NewPCG(r.testSet.opt.Seed, xxhash.Sum64String(s.Name())))
		r.results[i].overall.coverage = NewCoverage(r.testSet.Log.Items.IDs())
	}
	r.itemDistance = r.testSet.itemDistance()
}

func (r *evaluator) scoreList(ctx context.Context, c *replay.Example) error {
	gains := make([]float64, len(c.Gains))
	for i, g := range c.Gains {
		gains[i] = float64(g)
	}
	for i := range c.Request.Candidates {
		c.Request.Candidates[i].ColdStart = r.testSet.opt.IsHidden != nil
	}
	r.lists = append(r.lists, r.counts.describe(c))
	distance := r.itemDistance(c.Request.Candidates)
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
		k, v := r.testSet.opt.K, &r.results[i].values
		v[metricNDCG] = append(v[metricNDCG], NDCG(order, gains, k))
		v[metricMRR] = append(v[metricMRR], MRR(order, gains))
		v[metricMAP] = append(v[metricMAP], AveragePrecision(order, gains, k))
		v[metricHitRate] = append(v[metricHitRate], HitRate(order, gains, k))
		v[metricAUC] = append(v[metricAUC], auc)
		r.results[i].overall.addList(c, order, k, distance)
		r.results[i].overall.addCalibrationSample(c.Index, len(r.testSet.lists), scores, gains)
	}
	return nil
}
