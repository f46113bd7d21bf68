// Package evaluation measures how well a model ranks. Lists whose outcome is known go in. NDCG, MRR
// and other metrics come out, with confidence intervals, by slice, beside plain baselines.
//
// NewTestSet takes the newest part of a log. TestSet.Run replays the log (package replay) and ranks
// each list of the test set with the state as it was when the list was shown. Only then does it
// feed the list and its clicks into the state, so it measures what a live server would have done.
// All scorers rank the same lists in the same replay and can be compared list by list. Ties are
// broken at random, never by the order of a file: a constant score must measure like chance.
//
// Ablate and ColdItems train their own models on the log before the test set. EstimateOffPolicy
// estimates the gain that a ranker would have had on lists that another one explored.
package evaluation

import (
	"context"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"

	"github.com/cespare/xxhash/v2"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
	"relish/training/examination"
	"relish/training/replay"
)

// Options says what to score. A zero value means the default in brackets.
type Options struct {
	TestShare   float64 // share of the lists that is scored, the newest; above 0, at most 1
	From        uint64  // if above 0: the first sequence that is scored, instead of TestShare
	Prequential bool    // false: the state freezes where the test set begins
	K           int     // cutoff of NDCG, MAP, hit rate, coverage and diversity [10]
	FollowUp    int64   // ms after an impression in which an action counts, see replay.Options
	Negatives   int     // in a sampled list, which logs with few impressions have [19]
	Seed        uint64  // of ties, sampled lists and bootstrap intervals

	Gains map[string]float64 // gain by action; actions that are not listed count 1

	// IsHidden turns the evaluation into the cold-item experiment. Everything that happened to the
	// items it selects is removed from the log. Lists are scored among these items only, as if they
	// were new. nil is an ordinary evaluation.
	IsHidden func(id string) bool

	Base     *replay.Base          // of the log, see replay.Options
	Vectors  ranker.Vectors        // item texts, for diversity; nil: diversity uses tags and fields
	Progress func(done, total int) // records read; may be nil
}

// TestSet is the scored part of a log together with the log before it. It is read-only once built
// and safe for concurrent use.
type TestSet struct {
	Log  *replay.Log // the whole log
	From uint64      // sequence of the first record of the scored part

	src   replay.Source
	lists []replay.RankingList
	opt   Options
}

// NewTestSet reads the log and takes the newest opt.TestShare of its lists, or those from opt.From
// on. Training with a holdout of the same share leaves out exactly these lists
// (replay.Log.HoldoutStart).
//
// Lists without a gain are skipped, because no order of such a list is better than another. Lists
// are sampled in addition if the log needs them (replay.Log.NeedsSampledLists). It is
// an error if none is left, or if TestShare is out of range.
func NewTestSet(
	ctx context.Context, src replay.Source, state features.Config, opt Options,
) (*TestSet, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	log, err := replay.Scan(ctx, src, replay.Options{
		State: state, Base: opt.Base, Gains: opt.Gains, FollowUpMillis: opt.FollowUp,
	})
	if err != nil {
		return nil, err
	}
	from := opt.From
	if from == 0 {
		if from, err = log.HoldoutStart(opt.TestShare); err != nil {
			return nil, err
		}
	}
	s := &TestSet{Log: log, From: from, src: src, opt: opt}
	s.lists = log.ClickedImpressions(from, math.MaxUint64)
	if log.NeedsSampledLists() {
		negatives := replay.Negatives{Count: opt.Negatives}
		sampled := log.SampledLists(from, math.MaxUint64, negatives, 0, opt.Seed)
		s.lists = append(s.lists, sampled...)
		replay.SortLists(s.lists)
	}
	if opt.IsHidden != nil {
		s.src = withoutItems(src, opt.IsHidden)
		s.lists = keepHidden(s.lists, log.Items.IDs(), opt.IsHidden)
	}
	switch {
	case len(s.lists) > 0:
		return s, nil
	case opt.IsHidden != nil:
		return nil, fmt.Errorf("no list in the newest %g of the log has both a clicked and "+
			"an unclicked hidden item; score a larger share, or hide more items", opt.TestShare)
	}
	return nil, fmt.Errorf("no list in the newest %g of the log has a click; score a larger share",
		opt.TestShare)
}

// withDefaults fills in the defaults and checks the test share.
func (o Options) withDefaults() (Options, error) {
	if o.From == 0 && !(o.TestShare > 0 && o.TestShare <= 1) {
		return o, fmt.Errorf("the share of the lists to score is %g; "+
			"it must be above 0 and at most 1", o.TestShare)
	}
	if o.K == 0 {
		o.K = 10
	}
	if o.Negatives == 0 {
		o.Negatives = 19
	}
	return o, nil
}

// Lists returns how many lists are scored.
func (s *TestSet) Lists() int { return len(s.lists) }

// TrainingLog returns the log before the test set, without hidden items. Models that are scored on
// the test set may be trained on it.
func (s *TestSet) TrainingLog() replay.Source {
	return func() iter.Seq2[event.Record, error] {
		return func(yield func(event.Record, error) bool) {
			for rec, err := range s.src() {
				if err == nil && rec.Seq >= s.From || !yield(rec, err) {
					return
				}
			}
		}
	}
}

// Scorer scores the candidates of an example, aligned with its items. It must not look at the
// gains.
type Scorer interface {
	Name() string
	Score(ctx context.Context, ex *replay.Example) ([]float64, error)
}

// Scorers lists what TestSet.Run measures. Names are distinct.
type Scorers struct {
	// Baselines are added to the built-in ones, which need nothing but the log.
	Baselines []Scorer
	Models    []Scorer
	Pairs     []Pair // comparisons, in addition to each model against the best baseline
}

// Pair names two scorers. Its comparison says how much better Scorer is than Against.
type Pair struct{ Scorer, Against string }

// Run measures all scorers in one replay, so that each sees the same lists with the same knowledge:
// every list with the state just before it. state must be empty and must be the one that the
// scorers read; Run fills it.
func (s *TestSet) Run(ctx context.Context, state *features.State, c Scorers) (*Table, error) {
	e := newEvaluator(s, c)
	walk := replay.WalkOptions{
		FreezeState: !s.opt.Prequential,
		Observers:   []replay.Observer{e.counts},
		Progress:    s.opt.Progress,
	}
	score := func(ex *replay.Example) error { return e.scoreList(ctx, ex) }
	if err := s.Log.Walk(ctx, s.src, state, s.lists, walk, score); err != nil {
		return nil, err
	}
	return e.table()
}

// evaluator collects the results of one run.
type evaluator struct {
	testSet       *TestSet
	counts        *popularityCounts
	scorers       []Scorer // baselines first
	baselineCount int
	pairs         []Pair
	lists         []listFacts
	results       []result // by scorer

	bias    *PositionBias
	curve   *examination.Curve
	weights []float64 // by list, of position-corrected metrics
}

// result is what one scorer reached.
type result struct {
	// rng breaks the scorer's ties. Each scorer has its own, so that its metrics do not depend on
	// which other scorers are measured.
	rng    *rand.Rand
	values [metricCount][]float64 // by metric and list
	// correctedNDCG and correctedMRR are of position-corrected gains, by list, without the list's
	// weight.
	correctedNDCG, correctedMRR []float64
	overall                     overallStats
}

func newEvaluator(s *TestSet, c Scorers) *evaluator {
	counts := newPopularityCounts()
	baselines := append(s.baselines(counts), c.Baselines...)
	e := &evaluator{
		testSet:       s,
		counts:        counts,
		scorers:       append(baselines, c.Models...),
		baselineCount: len(baselines),
		pairs:         c.Pairs,
	}
	e.bias, e.curve = biasOf(s)
	e.results = make([]result, len(e.scorers))
	for i, scorer := range e.scorers {
		e.results[i].rng = rand.New(rand.NewPCG(s.opt.Seed, xxhash.Sum64String(scorer.Name())))
		e.results[i].overall.coverage = NewCoverage(s.Log.Items.IDs())
	}
	return e
}

// scoreList measures every scorer on one list.
func (e *evaluator) scoreList(ctx context.Context, ex *replay.Example) error {
	gains := make([]float64, len(ex.Gains))
	for i, g := range ex.Gains {
		gains[i] = float64(g)
	}
	for i := range ex.Request.Candidates {
		ex.Request.Candidates[i].ColdStart = e.testSet.opt.IsHidden != nil
	}
	e.lists = append(e.lists, e.counts.describe(ex))
	corrected, weight := correctedGains(ex, gains, e.curve)
	e.weights = append(e.weights, weight)
	distance := e.testSet.itemDistance(ex.Request.Candidates)
	for i, s := range e.scorers {
		if err := e.scoreWith(ctx, s, &e.results[i], ex, gains, corrected, distance); err != nil {
			return fmt.Errorf("%s: %w", s.Name(), err)
		}
	}
	return nil
}

// scoreWith adds one scorer's metrics on one list to its result.
func (e *evaluator) scoreWith(
	ctx context.Context, s Scorer, r *result,
	ex *replay.Example, gains, corrected []float64, distance Distance,
) error {
	scores, err := s.Score(ctx, ex)
	if err != nil {
		return err
	}
	order, err := Order(scores, r.rng)
	if err != nil {
		return err
	}
	auc, err := AUC(scores, gains)
	if err != nil {
		return err
	}
	k := e.testSet.opt.K
	for metric, value := range [metricCount]float64{
		metricNDCG:    NDCG(order, gains, k),
		metricMRR:     MRR(order, gains),
		metricMAP:     AveragePrecision(order, gains, k),
		metricHitRate: HitRate(order, gains, k),
		metricAUC:     auc,
	} {
		r.values[metric] = append(r.values[metric], value)
	}
	r.correctedNDCG = append(r.correctedNDCG, NDCG(order, corrected, k))
	r.correctedMRR = append(r.correctedMRR, meanReciprocalRank(order, corrected))
	r.overall.addList(ex, order, k, distance)
	r.overall.addCalibrationSample(ex.Index, len(e.testSet.lists), scores, gains)
	return nil
}
