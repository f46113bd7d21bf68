// Package release makes a bundle of a log and says whether it may serve: it trains (package training), measures on lists
// that the training did not see, next to the running bundle and the plain baselines, lets the gate decide, writes the
// bundle with its report, has it tried in a process of its own, and activates it.
//
// Everything reads beside a running server, up to the log's last whole record as of the start. A training that dies, at
// whatever point, leaves nothing but its working folder, which the next one takes over: a bundle appears whole, and
// only then becomes active, by a rename.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gomlx/gomlx/backends"

	"relish/features"
	"relish/features/ingest"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/training"
	"relish/training/gbdt"
	"relish/training/modelcard"
)

// Options of Run. Logs, State, Config, Library, Root, Prior, Open, Fits and Try are required.
type Options struct {
	Logs         []string // folders of event logs, one per replica
	State        features.Config
	OpenTable    func(name, digest string) *features.ExternalTable // see features.State.OpenTable
	Config       training.Config                                   // complete and valid
	Library      *gbdt.Library
	Backend      backends.Backend // trains the match model; nil: there is none
	Vectors      ranker.Vectors   // what lacks a vector is encoded and kept in memory; nil: train without text
	Encoder      bundle.Encoder
	EncoderTuner *EncoderTuner // nil: the text encoder is not tuned, as without Vectors

	Root            string // the folder of bundles
	Prior           *ranker.Model
	Open            bundle.SignalOpener
	CheckCompatible func(*bundle.Bundle) error // why a bundle cannot rank here
	// AttachEncoder gives a bundle with a text encoder of its own, in dir, that encoder's vectors; nil without Vectors.
	AttachEncoder func(dir string, b *bundle.Bundle) error
	Verify        func(ctx context.Context, dir string) error // why a bundle must not be served

	Holdout       float64 // the newest share of the lists that is left out
	Until         int64   // records that arrived from here on take no part, Unix ms; 0 = all do
	WarmStartFrom string  // the version that is trained on, Previous for the active one; "" = from nothing
	ForceReason   string  // why the bundle is activated whatever the gate says; "" = it is not

	Revision string // of the source
	Command  string // that the training was started with
	Progress func(stage string, done, total int)
}

// Previous is the active bundle as Options.From names it.
const Previous = "previous"

// Outcome is what became of a training.
type Outcome struct {
	Version   string `json:"version"` // "" where nothing was written, since nothing is new
	Activated bool   `json:"activated"`
	Reason    string `json:"reason"`
	Encoder   string `json:"encoder,omitempty"` // what became of the tuning of the text encoder
	// Report is what the bundle's report shows, nil without one.
	Report *modelcard.Data `json:"-"`
}

// workFolder lies in the folder of bundles; it holds the lock and what a training works on.
const workFolder = ".training"

// Run trains, measures, decides, writes and activates. One training of a folder of bundles runs at a time; another one
// is an error that names its process.
func Run(ctx context.Context, opt Options) (*Outcome, error) {
	if opt.Progress == nil {
		opt.Progress = func(string, int, int) {}
	}
	r := &run{Options: opt, work: filepath.Join(opt.Root, workFolder), created: time.Now().UTC().Truncate(time.Millisecond)}
	unlock, err := ingest.Lock(r.work)
	if err != nil {
		return nil, fmt.Errorf("another training is at work: %w", err)
	}
	defer unlock()
	defer os.Remove(filepath.Join(r.work, training.DatasetFile))
	return r.do(ctx)
}

// run is one training at work.
type run struct {
	Options
	work    string
	created time.Time
	source  *source
	found   *found
	vectors *vectors // that is trained on
	tuned   *tuned
	// base are the vectors of models without an encoder of their own, where those that are trained on are others.
	base ranker.Vectors
	// encoderOf is the bundle whose own encoder is read, "" for the process's or the tuned one.
	encoderOf string
	parent    *bundle.Bundle // that is trained on from, nil for none
	running   *running
	stages    []modelcard.Stage
}

// running is what ranks now.
type running struct {
	model   *ranker.Model
	bundle  *bundle.Bundle  // nil: the prior
	report  *modelcard.Data // of the bundle, nil without one
	unknown error           // why the active bundle could not be had, and the prior stands in
}

func (r *run) do(ctx context.Context) (_ *Outcome, err error) {
	if err := r.find(); err != nil {
		return nil, err
	}
	r.readAsParent()
	if err := r.stage("survey", func() error { return r.survey(ctx) }); err != nil {
		return nil, err
	}
	plan, err := r.plan()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.closeTuned()) }()
	if err := r.stage("tune the text encoder", func() error { return r.tune(ctx, plan) }); err != nil {
		return nil, err
	}
	measured, err := r.train(ctx, plan.measured)
	if nothing := new(training.TooFewNewLists); errors.As(err, nothing) {
		return &Outcome{Reason: nothing.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	var result *results
	if err := r.stage("measure", func() (err error) { result, err = r.measure(ctx, measured, plan); return err }); err != nil {
		return nil, err
	}
	decision, err := r.decide(result)
	if err != nil {
		return nil, err
	}
	final := measured
	if plan.again {
		in := plan.measured
		in.Holdout, in.Config.Scorer.Leaves = 0, []int{measured.Leaves}
		if final, err = r.train(ctx, in); err != nil {
			return nil, err
		}
	}
	var parity *parity
	if err := r.stage("parity", func() (err error) { parity, err = r.checkParity(ctx); return err }); err != nil {
		return nil, err
	}
	return r.release(ctx, &story{plan: plan, measured: measured, final: final, results: result, gate: decision, parity: parity})
}

// find looks for what ranks now, and what is trained on from.
func (r *run) find() error {
	version, err := bundle.Active(r.Root)
	if err != nil {
		return err
	}
	r.running = &running{model: r.Prior}
	if version != ranker.PriorVersion {
		b, err := r.load(version)
		if err != nil {
			r.running.unknown = err
		} else {
			r.running = &running{model: b.Model, bundle: b, report: readReport(filepath.Join(r.Root, version))}
		}
	}
	switch {
	case r.WarmStartFrom == "" || r.WarmStartFrom == Previous && version == ranker.PriorVersion:
		return nil
	case r.WarmStartFrom == Previous:
		r.parent, err = r.running.bundle, r.running.unknown
	default:
		r.parent, err = r.load(r.WarmStartFrom)
	}
	if err != nil {
		return fmt.Errorf("it cannot be trained on from: %w; leave out --from to train anew", err)
	}
	return nil
}

func (r *run) load(version string) (*bundle.Bundle, error) {
	if !bundle.IsVersion(version) {
		return nil, fmt.Errorf("%.60q is no version", version)
	}
	b, err := bundle.Load(filepath.Join(r.Root, version), r.Open)
	if err != nil {
		return nil, err
	}
	if err := r.CheckCompatible(b); err != nil {
		return nil, fmt.Errorf("bundle %s: %w", version, err)
	}
	if b.Manifest.Encoder.FineTuned && r.AttachEncoder != nil {
		if err := r.AttachEncoder(filepath.Join(r.Root, version), b); err != nil {
			return nil, fmt.Errorf("bundle %s: %w", version, err)
		}
	}
	return b, nil
}

// readAsParent has a training from a bundle read texts by the encoder that it brings along.
func (r *run) readAsParent() {
	if r.parent == nil || r.parent.Model.Vectors == nil {
		return
	}
	r.pin(r.Vectors)
	r.Vectors, r.Encoder, r.encoderOf = r.parent.Model.Vectors, r.parent.Manifest.Encoder, r.parent.Model.Version
}

// pin leaves what ranks now with the vectors that it was trained on, whatever is trained on from here on.
func (r *run) pin(vectors ranker.Vectors) {
	if r.base == nil {
		r.base = vectors
	}
	if r.running.model.Vectors == nil {
		r.running.model = r.running.model.WithVectors(vectors)
	}
}

// train runs one training and takes over its stages.
func (r *run) train(ctx context.Context, in training.Inputs) (*training.Trained, error) {
	t, err := training.Train(ctx, in)
	if err != nil {
		return nil, err
	}
	part := "on all lists"
	if in.Holdout > 0 {
		part = "without the newest"
	}
	for _, s := range t.Stages {
		r.stages = append(r.stages, modelcard.Stage{Name: s.Name + ", " + part, Seconds: s.Duration.Seconds(), PeakBytes: s.PeakBytes})
	}
	return t, nil
}

// stage runs one part of the work and notes what it took.
func (r *run) stage(name string, f func() error) error {
	start := time.Now()
	r.Progress(name, 0, 0)
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.stages = append(r.stages, modelcard.Stage{Name: name, Seconds: time.Since(start).Seconds(), PeakBytes: training.PeakMemory()})
	return nil
}

// release writes the bundle, tries it, and activates it where the gate lets it.
func (r *run) release(ctx context.Context, s *story) (*Outcome, error) {
	version, d, err := r.write(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := r.Verify(ctx, filepath.Join(r.Root, version)); err != nil {
		return nil, fmt.Errorf("bundle %s does not give the scores that it was made with, and is not activated: %w", version, err)
	}
	out := &Outcome{Version: version, Activated: s.gate.Activated, Reason: s.gate.Reason, Encoder: r.tuned.note(), Report: d}
	if !out.Activated {
		return out, nil
	}
	return out, errors.Join(ctx.Err(), bundle.Activate(r.Root, version, "train", out.Reason))
}
