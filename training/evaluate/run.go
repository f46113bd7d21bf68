package evaluate

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"relish/features"
	"relish/internal/stats"
	"relish/ranker"
	"relish/training/replay"
)

// Row is one scorer's result over one slice of the lists.
type Row struct {
	Scorer string         `json:"scorer"`
	Slice  string         `json:"slice"`
	NDCG   stats.Interval `json:"ndcg"`
	MRR    stats.Interval `json:"mrr"`
}

// Table is a finished evaluation.
type Table struct {
	K     int   `json:"k"`
	Lists int   `json:"lists"`
	Rows  []Row `json:"rows"`
}

// The slices of a table.
const (
	AllLists   = "all"
	NewUsers   = "first list of a user"
	KnownUsers = "user seen before"
)

// Scorer scores the candidates of a case, aligned with its items. It must not look at the case's gains.
type Scorer interface {
	Name() string
	Score(ctx context.Context, c *replay.Case) ([]float64, error)
}

// Options says what to score. The zero value of K and Negatives means 10 and 19.
type Options struct {
	Last        float64            // the newest share of the lists that is scored, 0 < Last <= 1
	Prequential bool               // false: state stands still where the scored part begins
	K           int                // NDCG@K
	Gains       map[string]float64 // action -> gain; others count 1
	Negatives   int                // sampled per list where the log has no impressions
	Seed        uint64
	Progress    func(done, total int) // may be nil
}

// Run scores the newest part of the log with the baselines and the given scorers, in one walk, so that all of them see
// the same lists with the same knowledge. Each list is scored with the state just before it; lists without a gain are
// passed over, since they say nothing of an order.
func Run(ctx context.Context, src replay.Source, state *features.State, opt Options, scorers ...Scorer) (*Table, error) {
	if opt.Last <= 0 || opt.Last > 1 {
		return nil, fmt.Errorf("the share of the newest lists is %g; it must be above 0 and at most 1", opt.Last)
	}
	if opt.K == 0 {
		opt.K = 10
	}
	if opt.Negatives == 0 {
		opt.Negatives = 19
	}
	log, err := replay.Scan(ctx, src, replay.Options{State: state.Config(), Gains: opt.Gains})
	if err != nil {
		return nil, err
	}
	from, err := log.Newest(opt.Last)
	if err != nil {
		return nil, err
	}
	picks := log.Shown(from, math.MaxUint64)
	if len(log.Lists) == 0 {
		picks = log.Made(from, math.MaxUint64, replay.Negatives{Count: opt.Negatives}, 0, rand.New(rand.NewPCG(opt.Seed, 1)))
	}
	plain, follower := Baselines()
	all := append(plain, scorers...)
	acc := newAccumulator(len(all))
	rng := rand.New(rand.NewPCG(opt.Seed, 2))
	walk := replay.WalkOptions{Frozen: !opt.Prequential, Followers: []replay.Follower{follower}, Progress: opt.Progress}
	err = log.Walk(ctx, src, state, picks, walk, func(c *replay.Case) error {
		gains := make([]float64, len(c.Gains))
		for i, g := range c.Gains {
			gains[i] = float64(g)
		}
		for i, s := range all {
			scores, err := s.Score(ctx, c)
			if err != nil {
				return fmt.Errorf("%s: %w", s.Name(), err)
			}
			order, err := Order(scores, rng)
			if err != nil {
				return fmt.Errorf("%s: %w", s.Name(), err)
			}
			acc.add(i, c.NewUser, NDCG(order, gains, opt.K), MRR(order, gains))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return acc.table(all, opt)
}

type series struct{ ndcg, mrr []float64 }

type accumulator struct{ bySlice map[string][]series }

func newAccumulator(n int) *accumulator {
	a := &accumulator{bySlice: map[string][]series{}}
	for _, s := range []string{AllLists, NewUsers, KnownUsers} {
		a.bySlice[s] = make([]series, n)
	}
	return a
}

func (a *accumulator) add(scorer int, newUser bool, ndcg, mrr float64) {
	slice := KnownUsers
	if newUser {
		slice = NewUsers
	}
	for _, name := range []string{AllLists, slice} {
		s := &a.bySlice[name][scorer]
		s.ndcg, s.mrr = append(s.ndcg, ndcg), append(s.mrr, mrr)
	}
}

func (a *accumulator) table(scorers []Scorer, opt Options) (*Table, error) {
	t := &Table{K: opt.K, Lists: len(a.bySlice[AllLists][0].mrr)}
	if t.Lists == 0 {
		return nil, fmt.Errorf("no list of the scored part was clicked; score a larger part")
	}
	for _, slice := range []string{AllLists, NewUsers, KnownUsers} {
		for i, s := range scorers {
			vals := a.bySlice[slice][i]
			if len(vals.mrr) == 0 {
				continue
			}
			ndcg, err := stats.Bootstrap(vals.ndcg, opt.Seed)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.Name(), err)
			}
			mrr, err := stats.Bootstrap(vals.mrr, opt.Seed)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.Name(), err)
			}
			t.Rows = append(t.Rows, Row{Scorer: s.Name(), Slice: slice, NDCG: ndcg, MRR: mrr})
		}
	}
	return t, nil
}

// pipelineScorer scores through the whole online path.
type pipelineScorer struct {
	name string
	p    *ranker.Pipeline
}

// Pipeline returns a scorer that ranks through p, the path that serves; p must write nothing
// (its requests carry a time).
func Pipeline(name string, p *ranker.Pipeline) Scorer { return &pipelineScorer{name, p} }

// patience is the deadline of an offline ranking: long, so that nothing is left out.
const patience = time.Minute

func (s *pipelineScorer) Name() string { return s.name }

func (s *pipelineScorer) Score(ctx context.Context, c *replay.Case) ([]float64, error) {
	req := *c.Request
	req.Deadline = patience
	resp, err := s.p.Rank(ctx, &req)
	if err != nil {
		return nil, err
	}
	if len(resp.Degraded) > 0 {
		return nil, fmt.Errorf("the ranking was degraded (%v): it would not measure the model", resp.Degraded)
	}
	byID := make(map[string]float64, len(resp.Items))
	for _, it := range resp.Items {
		byID[it.ID] = it.Score
	}
	out := make([]float64, len(c.Request.Candidates))
	for i, cand := range c.Request.Candidates {
		score, ok := byID[cand.ID]
		if !ok {
			return nil, fmt.Errorf("candidate %d is missing in the answer", i)
		}
		out[i] = score
	}
	return out, nil
}
