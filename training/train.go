// Package training turns the event log into a model that ranks better: from the log to lists with labels and features
// (package replay), to the matchers' learned tables (package match), to the blend (package trees).
//
// The lists that the blend learns from are replayed through the code that serves. Each list's matchers were
// trained without its user, so that no label comes back as a feature; for serving the matchers are trained
// again on everyone, with the blend left as it is.
package training

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gomlx/gomlx/backends"

	"relish/features"
	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training/gbdt"
	"relish/training/replay"
	"relish/training/twotower"
)

// Inputs of a training. Source, Library and Dir are required.
type Inputs struct {
	Source          replay.Source
	State           features.Config
	OpenTable       func(name, digest string) *features.ExternalTable // see features.State.OpenTable
	Vectors         ranker.Vectors                                    // with all texts at hand; nil: train without text
	TextSpec        ranker.TextSpec
	ExternalColumns []string // imported columns that may be used, "TABLE.COLUMN"
	Library         *gbdt.Library
	Backend         backends.Backend // trains the match model; nil: there is none
	WorkDir         string           // for the dataset, which is left there
	Config          Config           // complete and valid
	Holdout         float64
	Until           int64 // arrival, Unix ms; 0 = all
	// Exclude leaves out matchers, features or groups of features, by name.
	Exclude  []string
	Parent   *Parent                             // that is trained on; nil: from nothing
	Progress func(stage string, done, total int) // may be nil
}

// Scan reads the log as the training does.
func (in *Inputs) Scan(ctx context.Context) (*replay.Log, error) {
	return replay.Scan(ctx, in.Source, replay.Options{State: in.State, Gains: in.Config.Gains, Until: in.Until, FollowUpMillis: in.Config.followUpMillis()})
}

// Trained is a finished training.
type Trained struct {
	Model           *ranker.Model // without a version
	Reasons         []Reason      // why a feature is in the schema; empty where it was given
	Signals         []trainedSignal
	Trees           *gbdt.Result
	Leaves          int // that the validation part chose
	Log             *replay.Log
	HoldoutStart    uint64 // sequences from here on were left out
	Lists           int    // that the blend learned from
	ValidationScore float64
	Stages          []Stage
	Probes          []*ranker.SignalInput // a few of the lists, as they were read
	RetentionLists  []RetentionList       // in a training from a parent
	TwoTowerEpochs  []twotower.Epoch      // of the match model, as it is served
}

// Stage is how long one part of the training took.
type Stage struct {
	Name      string
	Duration  time.Duration
	PeakBytes uint64 // memory of the process so far, see PeakMemory
}

// trainer is one training at work.
type trainer struct {
	Inputs
	rng          *rand.Rand
	log          *replay.Log
	holdoutStart uint64
	lists        []replay.RankingList
	corpus       *corpora
	out          Trained
	schema       *ranker.Schema
	final        []trainedSignal
	byFold       map[int]*ranker.Model

	oldFold int            // whose users' old lists are learned from again, in a training from a parent
	oldPart map[uint64]int // of those lists, by sequence, see oldParts
}

// listStream tells the random numbers of the lists from others with the same seed.
const listStream = 0x7ea1

// Train trains. It stops soon after ctx ends.
func Train(ctx context.Context, in Inputs) (*Trained, error) {
	t := &trainer{Inputs: in, rng: rand.New(rand.NewPCG(in.Config.Seed, listStream)), holdoutStart: math.MaxUint64, byFold: map[int]*ranker.Model{}}
	for _, stage := range []struct {
		name string
		run  func(context.Context) error
	}{{"read", t.selectLists}, {"signals", t.trainSignals}, {"replay", t.writeDataset}, {"scorer", t.trainScorer}} {
		start := time.Now()
		if err := stage.run(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", stage.name, err)
		}
		t.out.Stages = append(t.out.Stages, Stage{stage.name, time.Since(start), PeakMemory()})
	}
	return &t.out, nil
}

func (t *trainer) progress(stage string, done, total int) {
	if t.Progress != nil {
		t.Progress(stage, done, total)
	}
}

// selectLists finds the lists that the blend learns from.
func (t *trainer) selectLists(ctx context.Context) (err error) {
	if t.log, err = t.Scan(ctx); err != nil {
		return err
	}
	if t.Holdout > 0 {
		if t.holdoutStart, err = t.log.HoldoutStart(t.Holdout); err != nil {
			return err
		}
	}
	if t.Parent != nil {
		return t.selectWarmStartLists()
	}
	t.lists = selectLists(t.log, t.holdoutStart, &t.Config, t.rng)
	if len(t.lists) < minTrainingLists {
		return fmt.Errorf("the log has %d lists that say what users like better; training needs %d at least: let the service run on, or import more events", len(t.lists), minTrainingLists)
	}
	t.out.Log, t.out.HoldoutStart, t.out.Lists = t.log, t.holdoutStart, len(t.lists)
	return nil
}

// minTrainingLists is below which nothing can be learned that would hold.
const minTrainingLists = 50

// trainSignals trains them for every fold, and for serving.
func (t *trainer) trainSignals(ctx context.Context) (err error) {
	t.corpus = newCorpora(t.log, t.lists, t.Vectors, t.holdoutStart)
	if t.Parent == nil {
		t.corpus.unite()
	}
	var kinds []string
	for _, k := range t.Config.Signals {
		if !t.excluded(k) {
			kinds = append(kinds, k)
		}
	}
	everyone := t.corpus.without(all)
	known, err := trainCatalogueModels(everyone, kinds, t.Config.Seed)
	if err != nil {
		return err
	}
	m := &signalTrainer{kinds: kinds, catalogue: known, backend: t.Backend, config: &t.Config, progress: t.progress}
	if t.final, err = m.train(ctx, everyone); err != nil {
		return err
	}
	t.out.TwoTowerEpochs = m.epochs
	if err := t.buildSchema(); err != nil {
		return err
	}
	if t.out.Signals = t.final; t.Parent != nil {
		return t.trainWarmStartSignals(ctx, m)
	}
	need := map[int]bool{}
	for _, p := range t.lists {
		need[t.corpus.fold[p.User]] = true
	}
	done := 1
	for fold := range folds {
		if !need[fold] {
			continue
		}
		t.progress("signals", done, len(need)+1)
		ms, err := m.train(ctx, t.corpus.without(fold))
		if err != nil {
			return err
		}
		t.byFold[fold] = &ranker.Model{Schema: t.schema, Signals: rankerSignals(ms)}
		done++
	}
	return nil
}

func (t *trainer) buildSchema() error {
	list := t.Config.Features
	if len(list) == 0 {
		list, t.out.Reasons = InferSchema(t.log, t.holdoutStart, t.State, signalColumns(t.final), t.ExternalColumns)
	}
	var kept []ranker.Feature
	for _, f := range list {
		if !t.excluded(f.Name) && !t.excluded(ranker.GroupOf(&f)) {
			kept = append(kept, f)
		}
	}
	if err := t.Config.checkMonotone(list); err != nil {
		return err
	}
	var err error
	if t.schema, err = ranker.NewSchema(kept); err != nil {
		return err
	}
	return features.CheckSchema(&t.State, t.schema)
}

func (t *trainer) excluded(name string) bool { return slices.Contains(t.Exclude, name) }

// DatasetFile is the name of the dataset in Inputs.Dir.
const DatasetFile = "dataset.arrow"

// ReplayedState reads a state that a walk has replayed so far; it implements ranker.Features.
type ReplayedState struct{ State *features.State }

// Read implements ranker.Features.
func (r ReplayedState) Read(_ context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
	return r.State.Read(q)
}

// writeDataset writes the dataset.
func (t *trainer) writeDataset(ctx context.Context) (err error) {
	if err := os.MkdirAll(t.WorkDir, 0o755); err != nil {
		return err
	}
	w, err := replay.CreateDataset(filepath.Join(t.WorkDir, DatasetFile), t.schema.Columns())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	state := features.New(t.State)
	state.OpenTable = t.OpenTable
	reads := &columnRecorder{Features: ReplayedState{state}}
	p, err := ranker.New(ranker.Options{Features: reads, Vectors: t.Vectors, Models: scorer.SingleModel(&ranker.Model{}), TextSpec: t.TextSpec})
	if err != nil {
		return err
	}
	walk := replay.WalkOptions{Progress: func(done, total int) { t.progress("replay", done, total) }}
	return t.log.Walk(ctx, t.Source, state, t.lists, walk, func(c *replay.Example) error {
		positions := t.shuffleItems(c)
		t.maskBehaviour(c)
		c.Request.Deadline = replay.OfflineDeadline
		m, in, err := p.Matrix(ctx, t.byFold[t.corpus.fold[c.User]], c.Request)
		if err != nil {
			return err
		}
		t.out.addProbe(in, reads.columns)
		return w.Add(c, positions, m)
	})
}

// shuffleItems puts the case's items in random order, since a trainer may favour the first among ties, and returns where they
// were shown.
func (t *trainer) shuffleItems(c *replay.Example) []int32 {
	positions := make([]int32, len(c.Items))
	pick := *c.RankingList
	c.RankingList = &pick
	c.Items, c.Gains = slices.Clone(c.Items), slices.Clone(c.Gains)
	for i := range positions {
		if positions[i] = int32(i); !c.Logged {
			positions[i] = -1
		}
	}
	t.rng.Shuffle(len(positions), func(i, j int) {
		positions[i], positions[j] = positions[j], positions[i]
		c.Items[i], c.Items[j] = c.Items[j], c.Items[i]
		c.Gains[i], c.Gains[j] = c.Gains[j], c.Gains[i]
		cand := c.Request.Candidates
		cand[i], cand[j] = cand[j], cand[i]
	})
	return positions
}

// maskBehaviour takes behaviour away at random, so that the blend learns what to do without.
func (t *trainer) maskBehaviour(c *replay.Example) {
	x := t.rng.Float64() / max(1e-9, *t.Config.Dropout)
	for i := range c.Request.Candidates {
		cand := &c.Request.Candidates[i]
		cand.ColdStart = x < 0.5 && t.rng.Float64() < 0.5
	}
	if x >= 0.5 && x < 1 {
		c.Request.User = unknownUser
	}
}

// unknownUser is a user whom no log can name: ids have no control characters.
const unknownUser = "\x00"
