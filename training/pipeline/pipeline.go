// Package pipeline turns event logs into a bundle and decides whether the bundle may serve.
//
// Run is a chain of stages. Each stage takes values and returns a value that nobody changes later:
//
//	loadBundles  the active bundle, and the parent of a warm start
//	scanLogs     where the logs end, what is new, the vectors of all item texts
//	checkParity  whether replay reproduces the matrices that were served
//	newPlan      the held-out share; full training or warm start
//	tuneEncoder  the text encoder, fine-tuned on the log
//	train        signals and scorer (package training)
//	measure      the held-out lists, ranked by the new model, the active one and baselines
//	decide       the gate: whether the new model is good enough
//	train        once more, on all lists, if plan.retrain says so
//	write        a bundle with its model card
//	activate     the bundle, after a child process has verified it
//
// If a warm start has too little new data (training.TooFewNewLists), Run ends after train and
// writes no bundle.
//
// A training runs beside a live server. It reads the logs up to the last whole record at its start.
// A training that dies leaves nothing but its working folder, which the next training reuses. A
// bundle appears complete, and a rename activates it.
package pipeline

import (
	"context"
	"crypto/ed25519"
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
	"relish/ranker/signals"
	"relish/training"
	"relish/training/gbdt"
	"relish/training/modelcard"
	"relish/training/replay"
)

// Options of Run. Logs, State, Config, LightGBM, Root, Prior, LoadSignal, CheckCompatible and
// Verify are required.
type Options struct {
	Logs  []string // folders of event logs, one for each replica
	State features.Config
	// Base is the state that the log adds to, nil if it has everything; see replay.Options. It is
	// for a single log.
	Base *replay.Base
	// OpenTable opens a version of an external table, see features.State.OpenTable.
	OpenTable func(name, digest string) *features.ExternalTable
	Config    training.Config // complete and valid
	LightGBM  *gbdt.Library
	Backend   backends.Backend // trains the two-tower model; nil trains none
	// Vectors has the item texts' vectors. The training encodes missing ones and keeps them in
	// memory. nil trains without text.
	Vectors ranker.Vectors
	Encoder bundle.Encoder // the encoder behind Vectors, for the manifest
	// Pairs are questions and answers that fine-tuning learns from besides those of the log, if its
	// objective is finetune.Pairs.
	Pairs []training.QuestionAnswer
	// EncoderTuner fine-tunes the text encoder; nil leaves the encoder as it is.
	EncoderTuner *EncoderTuner

	Root string // the folder of bundles
	// SigningKey signs the bundle; nil: the bundle is not signed.
	SigningKey ed25519.PrivateKey
	Prior      *ranker.Model
	LoadSignal bundle.SignalLoader
	// CheckCompatible returns why a bundle cannot rank with this configuration.
	CheckCompatible func(*bundle.Bundle) error
	// AttachEncoder sets the vectors of a bundle with a fine-tuned encoder, which lies in dir. It
	// is nil if Vectors is nil.
	AttachEncoder func(ctx context.Context, dir string, b *bundle.Bundle) error
	// ServerRefuses returns why the server that runs beside the training cannot rank with a bundle,
	// which has no more than a model and the manifest's encoder. nil if no server can run.
	ServerRefuses func(*bundle.Bundle) error
	// Verify returns why the bundle in dir must not serve.
	Verify func(ctx context.Context, dir string) error

	// Holdout is the share of the newest lists that is held out of the bundle, 0 to 1. With 0 the
	// pipeline chooses a share to measure on, and then trains the bundle on all lists.
	Holdout float64
	// Until ignores records that happened at this time or later, Unix ms; 0 = no limit. A live
	// record happened when it arrived, an imported one at its event time.
	Until int64
	// WarmStartFrom is the version of the parent bundle, or Previous; "" trains from scratch.
	WarmStartFrom string
	// ForceReason activates the bundle even if the gate refuses it; "" lets the gate decide.
	ForceReason string

	Revision string // of the source code
	Command  string // that started the training
	// Progress reports a stage; total is 0 if it is unknown. May be nil.
	Progress func(stage string, done, total int)
}

// Previous names the active bundle in Options.WarmStartFrom.
const Previous = "previous"

// Outcome is the result of a training.
type Outcome struct {
	Version   string `json:"version"` // "" if too little is new, so that no bundle was written
	Activated bool   `json:"activated"`
	Reason    string `json:"reason"`            // why it was activated or not
	Encoder   string `json:"encoder,omitempty"` // whether the text encoder was fine-tuned, and why
	// Report is the data of the model card, nil if no bundle was written.
	Report *modelcard.Data `json:"-"`
}

// Run trains a bundle and activates it if the gate allows. Only one training at a time may run in
// a folder of bundles; a second one returns an error that names the first one's process.
func Run(ctx context.Context, opt Options) (_ *Outcome, err error) {
	run, err := startRun(&opt)
	if err != nil {
		return nil, err
	}
	defer run.finish()

	bundles, err := loadBundles(ctx, run.opt)
	if err != nil {
		return nil, err
	}
	base := initialEncoder(run.opt, bundles)
	scan, err := scanLogs(ctx, run, bundles, base)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, scan.source.close()) }()
	parity, err := checkParity(ctx, run, bundles, scan, base)
	if err != nil {
		return nil, err
	}
	plan, err := newPlan(run.opt, bundles, scan)
	if err != nil {
		return nil, err
	}
	tuning, err := tuneEncoder(ctx, run, plan, base)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tuning.close(ctx)) }()

	newModel, err := train(ctx, run, run.inputs(plan, tuning.encoder))
	if few := new(training.TooFewNewLists); errors.As(err, few) {
		return &Outcome{Reason: few.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	measured, err := measure(ctx, run, plan, tuning, newModel)
	if err != nil {
		return nil, err
	}
	decision, err := decide(measured, bundles.active, run.opt.ForceReason)
	if err != nil {
		return nil, err
	}
	final, err := trainFinal(ctx, run, plan, tuning.encoder, newModel)
	if err != nil {
		return nil, err
	}
	decision = askServer(run.opt, decision, final, tuning.encoder)
	results := &results{plan, tuning, newModel, final, measured, decision, parity}
	written, err := write(ctx, run, results)
	if err != nil {
		return nil, err
	}
	return activate(ctx, run, results, written)
}

// results are the values of all stages of a finished training.
type results struct {
	plan     *plan
	tuning   *tuning
	newModel *training.Trained // the measured model; it does not know the held-out lists
	final    *training.Trained // the model of the bundle; the new model if plan.retrain is false
	measured *measurement
	gate     *modelcard.Gate
	parity   *parity
}

// run collects what the stages of one training report. opt is not changed after startRun.
type run struct {
	opt     *Options
	workDir string // the lock, the dataset, and the vectors of a fine-tuned encoder
	created time.Time
	stages  []modelcard.Stage // finished stages, in order
	unlock  func()
}

// workFolder is the working folder's name in the folder of bundles.
const workFolder = ".training"

// startRun checks the required options and locks the folder of bundles.
func startRun(opt *Options) (*run, error) {
	if len(opt.Logs) == 0 || opt.LightGBM == nil || opt.Root == "" || opt.Prior == nil ||
		opt.LoadSignal == nil || opt.CheckCompatible == nil || opt.Verify == nil {
		return nil, errors.New("pipeline.Run: Logs, LightGBM, Root, Prior, LoadSignal, " +
			"CheckCompatible and Verify must be set")
	}
	if opt.Progress == nil {
		opt.Progress = func(string, int, int) {}
	}
	r := &run{
		opt: opt, workDir: filepath.Join(opt.Root, workFolder),
		created: time.Now().UTC().Truncate(time.Millisecond),
	}
	var err error
	r.unlock, err = ingest.Lock(r.workDir)
	if errors.Is(err, ingest.ErrLocked) {
		return nil, fmt.Errorf("another training is running: %w; wait until it has ended", err)
	}
	if err != nil {
		return nil, fmt.Errorf("the folder of bundles: %w", err)
	}
	return r, nil
}

// finish removes the dataset and the vectors, and unlocks the folder of bundles.
func (r *run) finish() {
	os.Remove(filepath.Join(r.workDir, training.DatasetFile))
	removeVectors(r.workDir)
	r.unlock()
}

// stage runs one stage and records its time and memory.
func (r *run) stage(name string, f func() error) error {
	start := time.Now()
	r.opt.Progress(name, 0, 0)
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.stages = append(r.stages, modelcard.Stage{
		Name: name, Seconds: time.Since(start).Seconds(), PeakBytes: training.PeakMemory(),
	})
	return nil
}

// inputs returns the inputs of the training that the gate measures.
func (r *run) inputs(p *plan, encoder *textEncoder) training.Inputs {
	in := training.Inputs{
		Source: p.scan.source.Records, Log: p.scan.log, State: r.opt.State,
		Base:      p.scan.source.timeline.Base(r.opt.Base),
		OpenTable: r.opt.OpenTable,
		TextSpec:  r.opt.State.Text, ExternalColumns: p.scan.externalColumns,
		LightGBM: r.opt.LightGBM, Backend: r.opt.Backend, WorkDir: r.workDir, Config: r.opt.Config,
		Holdout: p.holdout, Parent: p.warmStart, Progress: r.opt.Progress,
	}
	if encoder.vectors != nil {
		in.Vectors, in.PairsEncoder = encoder.vectors, encoder.manifest.Pairs
	}
	return in
}

// finalInputs returns the inputs of the training on all lists. It keeps the tree size that the
// new model's validation selected, and has a two-tower model only if the new model kept its own.
func (r *run) finalInputs(
	p *plan,
	encoder *textEncoder,
	newModel *training.Trained,
) training.Inputs {
	in := r.inputs(p, encoder)
	in.Holdout, in.Config.Scorer.Leaves = 0, []int{newModel.Leaves}
	if in.KeepTwoTower = !newModel.LeavesOutTwoTower(); !in.KeepTwoTower {
		in.Exclude = append(in.Exclude, signals.KindTwoTower)
	}
	return in
}

// trainFinal returns the model of the bundle: a training on all lists, or the measured one.
func trainFinal(
	ctx context.Context, run *run, p *plan, encoder *textEncoder, newModel *training.Trained,
) (*training.Trained, error) {
	if !p.retrain {
		return newModel, nil
	}
	return train(ctx, run, run.finalInputs(p, encoder, newModel))
}

// train trains one model and records the time of its stages.
func train(ctx context.Context, run *run, in training.Inputs) (*training.Trained, error) {
	trained, err := training.Train(ctx, in)
	if err != nil {
		return nil, err
	}
	lists := "on all lists"
	if in.Holdout > 0 {
		lists = "without the newest lists"
	}
	for _, s := range trained.Stages {
		run.stages = append(run.stages, modelcard.Stage{
			Name: s.Name + ", " + lists, Seconds: s.Duration.Seconds(), PeakBytes: s.PeakBytes,
		})
	}
	return trained, nil
}
