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
	"relish/ranker/blend"
	"relish/training/match/neural"
	"relish/training/replay"
	"relish/training/trees"
)

// Inputs of a training. Source, Library and Dir are required.
type Inputs struct {
	Source    replay.Source
	State     features.Config
	OpenTable func(name, digest string) *features.Columns // see features.State.OpenTable
	Vectors   ranker.Vectors                              // with all texts at hand; nil: train without text
	Text      ranker.TextSpec
	Tables    []string // imported columns that may be used, "TABLE.COLUMN"
	Library   *trees.Library
	Backend   backends.Backend // trains the match model; nil: there is none
	Dir       string           // for the dataset, which is left there
	Config    Config           // complete and valid
	Holdout   float64
	Until     int64 // arrival, Unix ms; 0 = all
	// Without leaves out matchers, features or groups of features, by name.
	Without  []string
	Parent   *Parent                             // that is trained on; nil: from nothing
	Progress func(stage string, done, total int) // may be nil
}

// Scan reads the log as the training does.
func (in *Inputs) Scan(ctx context.Context) (*replay.Log, error) {
	return replay.Scan(ctx, in.Source, replay.Options{State: in.State, Gains: in.Config.Gains, Until: in.Until, Window: in.Config.windowMS()})
}

// Trained is a finished training.
type Trained struct {
	Model    *ranker.Model // without a version
	Reasons  []Reason      // why a feature is in the schema; empty where it was given
	Matchers []matcher
	Trees    *trees.Result
	Leaves   int // that the validation part chose
	Log      *replay.Log
	Cut      uint64 // sequences from here on were left out
	Lists    int    // that the blend learned from
	Valid    float64
	Stages   []Stage
	Probes   []*ranker.MatchInput // a few of the lists, as they were read
	Old      []OldList            // in a training from a parent
	Epochs   []neural.Epoch       // of the match model, as it is served
}

// Stage is how long one part of the training took.
type Stage struct {
	Name string
	Took time.Duration
	Peak uint64 // memory of the process so far, see PeakMemory
}

// trainer is one training at work.
type trainer struct {
	Inputs
	rng    *rand.Rand
	log    *replay.Log
	cut    uint64
	picks  []replay.Pick
	corpus *corpora
	out    Trained
	schema *ranker.Schema
	final  []matcher
	byFold map[int]*ranker.Model

	oldFold int            // whose users' old lists are learned from again, in a training from a parent
	oldPart map[uint64]int // of those lists, by sequence, see oldParts
}

// rngOfLists tells the random numbers of the lists from others with the same seed.
const rngOfLists = 0x7ea1

// Train trains. It stops soon after ctx ends.
func Train(ctx context.Context, in Inputs) (*Trained, error) {
	t := &trainer{Inputs: in, rng: rand.New(rand.NewPCG(in.Config.Seed, rngOfLists)), cut: math.MaxUint64, byFold: map[int]*ranker.Model{}}
	for _, stage := range []struct {
		name string
		run  func(context.Context) error
	}{{"read", t.read}, {"matchers", t.matchers}, {"replay", t.replay}, {"blend", t.blend}} {
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

// read finds the lists that the blend learns from.
func (t *trainer) read(ctx context.Context) (err error) {
	if t.log, err = t.Scan(ctx); err != nil {
		return err
	}
	if t.Holdout > 0 {
		if t.cut, err = t.log.Newest(t.Holdout); err != nil {
			return err
		}
	}
	if t.Parent != nil {
		return t.readOn()
	}
	t.picks = choose(t.log, t.cut, &t.Config, t.rng)
	if len(t.picks) < minLists {
		return fmt.Errorf("the log has %d lists that say what users like better; training needs %d at least: let the service run on, or import more events", len(t.picks), minLists)
	}
	t.out.Log, t.out.Cut, t.out.Lists = t.log, t.cut, len(t.picks)
	return nil
}

// minLists is below which nothing can be learned that would hold.
const minLists = 50

// matchers trains them for every fold, and for serving.
func (t *trainer) matchers(ctx context.Context) (err error) {
	t.corpus = newCorpora(t.log, t.picks, t.Vectors, t.cut)
	if t.Parent == nil {
		t.corpus.unite()
	}
	var kinds []string
	for _, k := range t.Config.Matchers {
		if !t.without(k) {
			kinds = append(kinds, k)
		}
	}
	everyone := t.corpus.without(all)
	known, err := trainContents(everyone, kinds, t.Config.Seed)
	if err != nil {
		return err
	}
	m := &matcherTrainer{kinds: kinds, known: known, backend: t.Backend, config: &t.Config, progress: t.progress}
	if t.final, err = m.train(ctx, everyone); err != nil {
		return err
	}
	t.out.Epochs = m.epochs
	if err := t.makeSchema(); err != nil {
		return err
	}
	if t.out.Matchers = t.final; t.Parent != nil {
		return t.matchersOn(ctx, m)
	}
	need := map[int]bool{}
	for _, p := range t.picks {
		need[t.corpus.fold[p.User]] = true
	}
	done := 1
	for fold := range folds {
		if !need[fold] {
			continue
		}
		t.progress("matchers", done, len(need)+1)
		ms, err := m.train(ctx, t.corpus.without(fold))
		if err != nil {
			return err
		}
		t.byFold[fold] = &ranker.Model{Schema: t.schema, Matchers: rankersOf(ms)}
		done++
	}
	return nil
}

func (t *trainer) makeSchema() error {
	list := t.Config.Features
	if len(list) == 0 {
		list, t.out.Reasons = WriteSchema(t.log, t.cut, t.State, columnsOf(t.final), t.Tables)
	}
	var kept []ranker.Feature
	for _, f := range list {
		if !t.without(f.Name) && !t.without(ranker.GroupOf(&f)) {
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

func (t *trainer) without(name string) bool { return slices.Contains(t.Without, name) }

// DatasetFile is the name of the dataset in Inputs.Dir.
const DatasetFile = "dataset.arrow"

// Replayed reads a state that a walk has replayed so far; it implements ranker.Features.
type Replayed struct{ State *features.State }

// Read implements ranker.Features.
func (r Replayed) Read(_ context.Context, q *ranker.Query) (*ranker.State, error) {
	return r.State.Read(q)
}

// replay writes the dataset.
func (t *trainer) replay(ctx context.Context) (err error) {
	if err := os.MkdirAll(t.Dir, 0o755); err != nil {
		return err
	}
	w, err := replay.CreateDataset(filepath.Join(t.Dir, DatasetFile), t.schema.Columns())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	state := features.New(t.State)
	state.OpenTable = t.OpenTable
	reads := &rawColumns{Features: Replayed{state}}
	p, err := ranker.New(ranker.Options{Features: reads, Vectors: t.Vectors, Models: blend.Models(&ranker.Model{}), TextSpec: t.Text})
	if err != nil {
		return err
	}
	walk := replay.WalkOptions{Progress: func(done, total int) { t.progress("replay", done, total) }}
	return t.log.Walk(ctx, t.Source, state, t.picks, walk, func(c *replay.Case) error {
		positions := t.shuffle(c)
		t.hide(c)
		c.Request.Deadline = replay.Patience
		m, in, err := p.Matrix(ctx, t.byFold[t.corpus.fold[c.User]], c.Request)
		if err != nil {
			return err
		}
		t.out.keepProbe(in, reads.columns)
		return w.Add(c, positions, m)
	})
}

// shuffle puts the case's items in random order, since a trainer may favour the first among ties, and returns where they
// were shown.
func (t *trainer) shuffle(c *replay.Case) []int32 {
	positions := make([]int32, len(c.Items))
	pick := *c.Pick
	c.Pick = &pick
	c.Items, c.Gains = slices.Clone(c.Items), slices.Clone(c.Gains)
	for i := range positions {
		if positions[i] = int32(i); !c.Shown {
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

// hide takes behaviour away at random, so that the blend learns what to do without.
func (t *trainer) hide(c *replay.Case) {
	x := t.rng.Float64() / max(1e-9, *t.Config.Dropout)
	for i := range c.Request.Candidates {
		cand := &c.Request.Candidates[i]
		cand.New = x < 0.5 && t.rng.Float64() < 0.5
	}
	if x >= 0.5 && x < 1 {
		c.Request.User = nobody
	}
}

// nobody is a user whom no log can name: ids have no control characters.
const nobody = "\x00"
