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

// Names of scorers in tables.
const (
	thisBundle   = "this bundle"
	withoutStart = "without "
)

// results are what the lists that nobody trained on say.
type results struct {
	table    *evaluation.Table
	parts    *evaluation.TestSet
	sample   *sample
	running  string // the running model's scorer
	seen     bool   // see plan
	matchers []string
}

// metric is the first one, by which the gate decides.
const metricK = 10

// measure ranks the left-out part of the log by the new model, by the running one, and by the plain baselines: each list
// with the state just before it, as a live server would have done.
func (r *run) measure(ctx context.Context, t *training.Trained, p *plan) (*results, error) {
	in := p.measured
	part, err := evaluation.NewTestSet(ctx, in.Source, in.State, evaluation.Options{TestShare: in.Holdout, Prequential: true, K: metricK, Gains: in.Config.Gains,
		FollowUp: int64(in.Config.FollowUpHours * 60 * 60 * 1000), Negatives: in.Config.Negatives.Count, Seed: in.Config.Seed, Vectors: in.Vectors,
		Progress: func(done, total int) { r.Progress("measure", done, total) }})
	if err != nil {
		return nil, err
	}
	state := features.New(in.State)
	state.OpenTable = in.OpenTable
	pipeline, err := ranker.New(ranker.Options{Features: training.ReplayedState{State: state}, Vectors: in.Vectors, Models: scorer.SingleModel(&ranker.Model{}), TextSpec: in.TextSpec})
	if err != nil {
		return nil, err
	}
	this := &modelScorer{name: thisBundle, model: t.Model, pipeline: pipeline, sample: newSample(t.Model.Schema, part.Lists())}
	out := &results{parts: part, sample: this.sample, running: "running: " + r.version(), seen: p.seen, matchers: t.SignalKinds()}
	contest := evaluation.Scorers{Models: []evaluation.Scorer{this, &modelScorer{name: out.running, model: r.running.model, pipeline: pipeline}},
		Pairs: []evaluation.Pair{{Scorer: thisBundle, Against: out.running}}}
	if in.Vectors != nil {
		text, err := evaluation.TextOnlyModel()
		if err != nil {
			return nil, err
		}
		contest.Baselines = append(contest.Baselines, &modelScorer{name: text.Version, model: text, pipeline: pipeline})
		if r.tuned.texts != nil { // what tuning was worth
			contest.Baselines = append(contest.Baselines, &modelScorer{name: text.Version + ", encoder as before", model: text.WithVectors(r.running.model.Vectors), pipeline: pipeline})
		}
	}
	for i, kind := range out.matchers {
		contest.Models = append(contest.Models, &masked{name: withoutStart + kind, of: this, columns: columnsOf(t.Model, i)})
		contest.Pairs = append(contest.Pairs, evaluation.Pair{Scorer: thisBundle, Against: withoutStart + kind})
	}
	out.table, err = part.Run(ctx, state, contest)
	return out, err
}

// version names what ranks now.
func (r *run) version() string {
	if r.running.bundle == nil {
		return ranker.PriorVersion
	}
	return r.running.model.Version
}

// modelScorer scores by a model.
type modelScorer struct {
	name     string
	model    *ranker.Model
	pipeline *ranker.Pipeline
	sample   *sample        // nil: nothing is kept
	last     *ranker.Matrix // of the list that was scored last
}

// Name implements evaluate.Scorer.
func (s *modelScorer) Name() string { return s.name }

// Score implements evaluate.Scorer.
func (s *modelScorer) Score(ctx context.Context, c *replay.Example) ([]float64, error) {
	req := *c.Request
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
		return out, s.sample.take(s.model, m)
	}
	return out, nil
}

// masked scores the matrix that another scorer made last, with some columns missing.
type masked struct {
	name    string
	of      *modelScorer
	columns []int
}

// columnsOf are the matrix columns that a model's matcher fills.
func columnsOf(m *ranker.Model, matcher int) (columns []int) {
	names := m.Signals[matcher].Columns()
	for i, f := range m.Schema.Features() {
		if f.Kind == ranker.KindSignal && slices.Contains(names, f.Column) {
			columns = append(columns, m.Schema.FirstColumn(i))
		}
	}
	return columns
}

// Name implements evaluate.Scorer.
func (s *masked) Name() string { return s.name }

// Score implements evaluate.Scorer.
func (s *masked) Score(context.Context, *replay.Example) ([]float64, error) {
	m := &ranker.Matrix{N: s.of.last.N, Columns: s.of.last.Columns, Data: slices.Clone(s.of.last.Data)}
	for i := range m.N {
		for _, c := range s.columns {
			m.Row(i)[c] = float32(math.NaN())
		}
	}
	out := make([]float64, m.N)
	return out, s.of.model.Scorer.Score(m, out)
}

// sample is what is kept of the matrices of a model: which cells are missing, and what moves the scores.
type sample struct {
	every, lists  int // every so-manieth list is explained
	rows          int
	missing       []int // by feature
	contributions []float64
	points        []point
}

// point is one explained row.
type point struct {
	values []float32
	parts  []float64
}

const explainedRows = 400

func newSample(schema *ranker.Schema, lists int) *sample {
	return &sample{every: max(1, lists*rowsPerList/explainedRows), missing: make([]int, len(schema.Features())), contributions: make([]float64, len(schema.Columns()))}
}

// rowsPerList are explained: the first ones, which are in the order that was shown.
const rowsPerList = 4

func (s *sample) take(m *ranker.Model, x *ranker.Matrix) error {
	for i := range x.N {
		row := x.Row(i)
		for f := range s.missing {
			if c := row[m.Schema.FirstColumn(f)]; c != c {
				s.missing[f]++
			}
		}
	}
	s.rows += x.N
	if s.lists++; (s.lists-1)%s.every != 0 {
		return nil
	}
	for i := range min(x.N, rowsPerList) {
		p := point{values: slices.Clone(x.Row(i)), parts: make([]float64, len(s.contributions))}
		if _, err := m.Scorer.Explain(x, i, p.parts); err != nil {
			return err
		}
		for c, part := range p.parts {
			s.contributions[c] += math.Abs(part)
		}
		s.points = append(s.points, p)
	}
	return nil
}
