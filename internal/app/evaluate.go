package app

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"

	"relish/embeddings"
	"relish/embeddings/onnx"
	"relish/evaluation"
	"relish/features"
	"relish/features/eventlog"
	"relish/features/external"
	"relish/features/ingest"
	"relish/internal/config"
	"relish/ranker"
	"relish/training/replay"
)

// EvaluatorOptions say what is measured on which part of the log. Data, Config and Log are
// required.
type EvaluatorOptions struct {
	Data    string
	Bundles string // folder of the bundles; empty: "bundles" in the data folder
	Encoder EncoderOptions
	Config  *config.Config

	// TestShare is the newest share of the lists, which is scored, 0 to 1. 0 scores the lists that
	// the bundle has not learned from, or the newest tenth in sample if these are too few.
	TestShare   float64
	Prequential bool // apply the clicks of each list after it is ranked
	K           int  // of NDCG@K, MAP@K and HR@K
	Negatives   int  // sampled negatives for each list, if the log has no impressions
	Seed        uint64

	Bundle    string   // version to measure; empty: the active one
	InSample  bool     // measure a bundle on lists that it was trained on
	HideItems float64  // share of the items to hide from training, 0 to 1; 0: none
	Ablate    []string // signals, features or feature groups to train without, one at a time
	Policy    string   // version to estimate by EstimatePolicy; empty: the active one

	// Progress is called with the number of lists that were scored.
	Progress func(done, total int)
	// TrainProgress is called with the name of a model that is trained, its stage, and how far that
	// stage is.
	TrainProgress func(model, stage string, done, total int)
	Log           *slog.Logger
}

// Evaluation is a finished evaluation. Relish evaluate --json prints it.
type Evaluation struct {
	// Model is the measured version. It is empty if the evaluation trained models.
	Model string `json:"model,omitempty"`
	// Last is the share of the lists that was scored. It is 0 if those are scored that the bundle
	// has not learned from.
	Last        float64  `json:"last"`
	Prequential bool     `json:"prequential"`
	InSample    bool     `json:"in_sample"`
	Note        string   `json:"note,omitempty"` // how the scored lists were chosen by default
	HideItems   float64  `json:"hide_items,omitempty"`
	Ablate      []string `json:"ablate,omitempty"`
	*evaluation.Table
}

// Evaluator measures ranking quality on an event log, beside a running service. It is not safe for
// concurrent use; the caller closes it.
type Evaluator struct {
	opt       EvaluatorOptions
	state     *features.State     // as of the list that is scored
	base      *replay.Base        // of the log; nil: the log has everything
	timeline  *replay.Timeline    // the log of the data folder
	workDir   string              // of the timeline and of trainings
	cleanUp   func()              // removes workDir; nil before it exists
	encoder   *onnx.Encoder       // nil without text
	vectors   *embeddings.Service // nil without text
	finetuned *finetunedVectors   // of bundles; nil without text

	model    string         // version that is measured; empty if models are trained
	tuned    ranker.Vectors // of the measured bundle's fine-tuned encoder; nil if it has none
	inSample bool           // the measured bundle was trained on scored lists
	note     string         // how the scored lists were chosen; empty if TestShare says it
}

// NewEvaluator loads the text encoder and its vectors.
func NewEvaluator(ctx context.Context, opt EvaluatorOptions) (_ *Evaluator, err error) {
	if err := evaluation.CheckRemovable(opt.Ablate, opt.Config.Train.Features); err != nil {
		return nil, Usagef("--ablate: %w", err)
	}
	opt.Config.State.Text, opt.Encoder.Data = opt.Config.Text, opt.Data
	if differs := ServerDiffers(opt.Data, opt.Config); differs != "" {
		opt.Log.Warn(differs)
	}
	e := &Evaluator{opt: opt, state: features.New(opt.Config.State)}
	e.state.OpenTable = external.Opener(opt.Data, opt.Log)
	if e.base, err = logBase(opt.Data, opt.Config.State); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			e.Close(ctx)
		}
	}()
	if e.workDir, e.cleanUp, err = newWorkFolder(opt.Data); err != nil {
		return nil, err
	}
	if e.timeline, err = replay.NewTimeline(ctx, eachRecord(opt.Data), e.workDir); err != nil {
		return nil, err
	}
	if opt.Encoder.NoText {
		return e, nil
	}
	if e.encoder, err = opt.Encoder.Load(ctx, opt.Log); err != nil {
		return nil, err
	}
	if e.vectors, err = opt.Encoder.openVectors(opt.Data, e.encoder, opt.Log); err != nil {
		return nil, err
	}
	e.finetuned, err = opt.Encoder.openFinetuned(opt.Data, e.encoder, opt.Log)
	return e, err
}

// Close releases the encoder and the vectors, and removes temporary files.
func (e *Evaluator) Close(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	if e.timeline != nil {
		_ = e.timeline.Close() // its files go with the folder
	}
	if e.cleanUp != nil {
		e.cleanUp()
	}
	e.finetuned.close(ctx)
	if e.vectors != nil {
		_ = e.vectors.Close(ctx) // read-only: there is nothing left to write
	}
	if e.encoder != nil {
		e.encoder.Close()
	}
}

// Evaluate ranks the newest lists of the log with the bundle, or with the models that the options
// ask to train, and with baselines. It compares their metrics.
func (e *Evaluator) Evaluate(ctx context.Context) (*Evaluation, error) {
	test, err := e.testSet(ctx)
	if err != nil {
		return nil, err
	}
	bytes, err := eventlog.IncompleteTail(ingest.LogDir(e.opt.Data))
	if err != nil {
		return nil, err
	}
	if bytes > 0 {
		e.opt.Log.Warn("the event log ends with an incomplete record, which is left out",
			"bytes", bytes)
	}
	scorers, err := e.scorers(ctx, test)
	if err != nil {
		return nil, err
	}
	table, err := test.Run(ctx, e.state, scorers)
	if err != nil {
		return nil, err
	}
	return &Evaluation{
		Model: e.model, Last: e.opt.TestShare, Prequential: e.opt.Prequential, InSample: e.inSample,
		HideItems: e.opt.HideItems, Ablate: e.opt.Ablate, Table: table, Note: e.note,
	}, nil
}

const (
	// defaultTestShare is the scored share of the lists if nothing says otherwise.
	defaultTestShare = 0.1
	// minUnseenLists is the number of lists below which a mean has no reliable interval.
	minUnseenLists = 30
)

// testSet chooses the lists that are scored. Without a share it takes those that the bundle has
// not learned from. A bundle that was trained on the whole log is measured in sample, and a note
// says so.
func (e *Evaluator) testSet(ctx context.Context) (*evaluation.TestSet, error) {
	opt := e.options()
	isDefault := e.opt.TestShare == 0 && !e.opt.InSample && !e.trains()
	e.opt.TestShare = opt.TestShare
	newest, err := evaluation.NewTestSet(ctx, e.timeline.Records, e.opt.Config.State, opt)
	if err != nil || !isDefault {
		return newest, err
	}
	model, manifest, err := e.loadModel(ctx, e.opt.Bundle)
	if err != nil || manifest == nil {
		return newest, err
	}
	opt.From, err = e.timeline.UnseenFrom(&manifest.Data)
	if err != nil || opt.From <= newest.From {
		return newest, err
	}
	unseen, err := evaluation.NewTestSet(ctx, e.timeline.Records, e.opt.Config.State, opt)
	if err == nil && unseen.Lists() >= minUnseenLists {
		e.opt.TestShare = 0
		e.note = fmt.Sprintf("the lists since the training of bundle %s", model.Version)
		return unseen, nil
	}
	e.opt.InSample = true
	e.note = fmt.Sprintf("bundle %s has learned from these lists, and fewer than %d are new, so "+
		"the figures are too good. Its model card has figures on lists that its measured training "+
		"did not see; with relish train --holdout %g, the newest ones stay unseen",
		model.Version, minUnseenLists, defaultTestShare)
	return newest, nil
}

// EstimatePolicy estimates the gain that the policy would have had on lists that another policy
// served. It uses the logged propensities.
func (e *Evaluator) EstimatePolicy(ctx context.Context) (*evaluation.OffPolicyEstimate, error) {
	model, _, err := e.loadModel(ctx, e.opt.Policy)
	if err != nil {
		return nil, err
	}
	policy, err := e.scorer(model.Version, model, true)
	if err != nil {
		return nil, err
	}
	return evaluation.EstimateOffPolicy(ctx, e.timeline.Records, e.state, e.options(), policy)
}

// trains reports whether the evaluation trains the models that it measures.
func (e *Evaluator) trains() bool { return e.opt.HideItems > 0 || len(e.opt.Ablate) > 0 }

func (e *Evaluator) options() evaluation.Options {
	train := &e.opt.Config.Train
	opt := evaluation.Options{
		TestShare:   cmp.Or(e.opt.TestShare, defaultTestShare),
		Prequential: e.opt.Prequential, K: e.opt.K, Gains: train.Gains,
		FollowUp: train.FollowUpMillis(), Negatives: e.opt.Negatives,
		Base: e.timeline.Base(e.base), Seed: e.opt.Seed, Vectors: RankerVectors(e.vectors),
		Progress: e.opt.Progress,
	}
	if e.opt.HideItems > 0 {
		opt.IsHidden = evaluation.SampleItems(e.opt.HideItems, e.opt.Seed)
	}
	return opt
}
