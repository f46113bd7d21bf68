package pipeline

import (
	"context"
	"math"
	"slices"

	"relish/evaluation"
	"relish/features"
	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training"
	"relish/training/replay"
)

const (
	// newModelName is the scorer of the newly trained model in tables.
	newModelName = "this bundle"
	// activePrefix precedes the version of the active model.
	activePrefix = "active: "
	// withoutPrefix precedes the kind of a signal whose columns are masked.
	withoutPrefix = "without "

	// metricK is the K of NDCG@K. The gate decides by this metric.
	metricK = 10
)

// measurement is the quality of the new model on the held-out lists.
type measurement struct {
	table       *evaluation.Table
	sample      *sample // of the new model's feature matrices
	answers     *noAnswerSample
	activeName  string // the active model's scorer
	signalKinds []string
	baselines   []string        // the plain ones that the new model must not be worse than
	noAnswer    *noAnswerResult // nil if the lists do not tell
	// activeSawHoldout reports that the active bundle was trained on some of the lists.
	activeSawHoldout bool
}

// measure ranks the held-out lists by the new model, by the active model and by the baselines. Each
// list is ranked with the state just before it was shown, like a live server does.
func measure(
	ctx context.Context,
	run *run,
	p *plan,
	t *tuning,
	newModel *training.Trained,
) (out *measurement, err error) {
	err = run.stage("measure", func() error {
		out, err = compare(ctx, run, p, t, newModel)
		return err
	})
	return out, err
}

func compare(
	ctx context.Context,
	run *run,
	p *plan,
	t *tuning,
	newModel *training.Trained,
) (*measurement, error) {
	in := run.inputs(p, t.encoder)
	test, err := evaluation.NewTestSet(ctx, in.Source, in.State, evaluation.Options{
		Base:      in.Base,
		TestShare: in.Holdout, Prequential: true, K: metricK, Gains: in.Config.Gains,
		FollowUp:  in.Config.FollowUpMillis(),
		Negatives: in.Config.Negatives.Count, Seed: in.Config.Seed, Vectors: in.Vectors,
		Progress: func(done, total int) { run.opt.Progress("measure", done, total) },
	})
	if err != nil {
		return nil, err
	}
	state := features.New(in.State)
	state.OpenTable = in.OpenTable
	pipeline, err := ranker.New(ranker.Options{
		Features: training.ReplayedState{State: state}, Vectors: in.Vectors,
		Models: scorer.SingleModel(&ranker.Model{}), TextSpec: in.TextSpec,
	})
	if err != nil {
		return nil, err
	}
	out := &measurement{
		sample:     newSample(newModel.Model.Schema, test.Lists()),
		answers:    &noAnswerSample{},
		activeName: activePrefix + p.bundles.active.version(), signalKinds: newModel.SignalKinds(),
		activeSawHoldout: p.bundles.active.bundle != nil && test.From < p.scan.sinceActive.from,
		baselines:        test.PlainBaselines(),
	}
	scorers := evaluation.Scorers{
		Models: out.models(newModel.Model, t.encoder.activeModel, pipeline),
	}
	if scorers.Baselines, err = modelBaselines(run.opt.Prior, p, t, pipeline); err != nil {
		return nil, err
	}
	if p.bundles.active.version() != ranker.PriorVersion {
		out.baselines = append(out.baselines, ranker.PriorVersion)
	}
	against := append([]string{out.activeName}, out.baselines...)
	for _, kind := range out.signalKinds {
		against = append(against, withoutPrefix+kind)
	}
	for _, name := range against {
		scorers.Pairs = append(scorers.Pairs,
			evaluation.Pair{Scorer: newModelName, Against: name})
	}
	if out.table, err = test.Run(ctx, state, scorers); err != nil {
		return nil, err
	}
	out.noAnswer = out.answers.fit()
	return out, nil
}

// models returns the new model, the active one, and the new model without each of its signals.
func (m *measurement) models(
	newModel, active *ranker.Model, pipeline *ranker.Pipeline,
) []evaluation.Scorer {
	this := &modelScorer{
		name: newModelName, model: newModel, pipeline: pipeline, sample: m.sample,
		answers: m.answers,
	}
	out := []evaluation.Scorer{
		this, &modelScorer{name: m.activeName, model: active, pipeline: pipeline},
	}
	for i, kind := range m.signalKinds {
		out = append(out, &maskedScorer{
			name: withoutPrefix + kind, of: this, columns: signalColumns(newModel, i),
		})
	}
	return out
}

// modelBaselines returns the prior, unless it is the active model, and ranking by text alone. With
// a fine-tuned encoder, ranking by the texts of the previous one shows what fine-tuning gains.
func modelBaselines(
	prior *ranker.Model, p *plan, t *tuning, pipeline *ranker.Pipeline,
) (out []evaluation.Scorer, err error) {
	add := func(name string, model *ranker.Model) {
		out = append(out, &modelScorer{name: name, model: model, pipeline: pipeline})
	}
	if p.bundles.active.version() != ranker.PriorVersion {
		if t.encoder.baseVectors != nil {
			prior = prior.WithVectors(t.encoder.baseVectors)
		}
		add(ranker.PriorVersion, prior)
	}
	if t.encoder.vectors == nil {
		return out, nil
	}
	text, err := evaluation.TextOnlyModel()
	if err != nil {
		return nil, err
	}
	add(text.Version, text)
	if t.vectors != nil {
		add(text.Version+", previous encoder", text.WithVectors(t.encoder.activeModel.Vectors))
	}
	return out, nil
}

// modelScorer scores lists by a model.
type modelScorer struct {
	name     string
	model    *ranker.Model
	pipeline *ranker.Pipeline
	sample   *sample         // collects from each list; may be nil
	answers  *noAnswerSample // collects from each list with a search text; may be nil
	last     *ranker.Matrix  // of the latest list
}

// Name implements evaluation.Scorer.
func (s *modelScorer) Name() string { return s.name }

// Score implements evaluation.Scorer.
func (s *modelScorer) Score(ctx context.Context, example *replay.Example) ([]float64, error) {
	req := *example.Request
	req.Deadline = replay.OfflineDeadline
	m, _, err := s.pipeline.Matrix(ctx, s.model, &req)
	if err != nil {
		return nil, err
	}
	s.last = m
	out := make([]float64, m.N)
	if err := s.model.Scorer.Score(m, out); err != nil {
		return nil, err
	}
	if s.sample != nil {
		if err := s.sample.add(s.model, m); err != nil {
			return nil, err
		}
	}
	if s.answers != nil {
		return out, s.answers.add(ctx, s, example, m, out)
	}
	return out, nil
}

// maskedScorer scores another scorer's latest matrix with some columns missing.
type maskedScorer struct {
	name    string
	of      *modelScorer
	columns []int
}

// signalColumns returns the matrix columns that a model's i-th signal fills.
func signalColumns(m *ranker.Model, i int) (columns []int) {
	names := m.Signals[i].Columns()
	for k, f := range m.Schema.Features() {
		if f.Kind == ranker.KindSignal && slices.Contains(names, f.Column) {
			columns = append(columns, m.Schema.FirstColumn(k))
		}
	}
	return columns
}

// Name implements evaluation.Scorer.
func (s *maskedScorer) Name() string { return s.name }

// Score implements evaluation.Scorer.
func (s *maskedScorer) Score(context.Context, *replay.Example) ([]float64, error) {
	last := s.of.last
	m := &ranker.Matrix{N: last.N, Columns: last.Columns, Data: slices.Clone(last.Data)}
	for i := range m.N {
		for _, c := range s.columns {
			m.Row(i)[c] = float32(math.NaN())
		}
	}
	out := make([]float64, m.N)
	return out, s.of.model.Scorer.Score(m, out)
}
