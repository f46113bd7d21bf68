// Package training trains a ranking model on the event log.
//
// Train is a chain of stages, each of which returns a value that the next ones read:
//
//	readLists      scan the log (package replay) and choose the lists that the scorer learns from
//	trainSignals   train the user-item signals, for the scorer's lists and for serving
//	writeDataset   replay the lists through the code that serves, into a feature matrix
//	trainScorer    train the gradient-boosted trees (package gbdt) on the dataset
//
// The signals that score a list were trained without the list's user, so that no label comes back
// as a feature (see signals.CrossFit). For serving, the signals are trained again on all users; the
// scorer stays as it is.
package training

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/gomlx/gomlx/backends"

	"relish/features"
	"relish/ranker"
	"relish/training/gbdt"
	"relish/training/replay"
	"relish/training/twotower"
)

// Inputs of a training. Source, LightGBM, WorkDir and Config are required.
type Inputs struct {
	Source replay.Source
	// Log is what Scan returns, if the caller has it already; nil: Train scans.
	Log   *replay.Log
	State features.Config
	Base  *replay.Base // of the log, see replay.Options
	// OpenTable opens a version of an external table, see features.State.OpenTable.
	OpenTable func(name, digest string) *features.ExternalTable
	// Vectors has the vectors of all item texts of the log; nil trains without text.
	Vectors ranker.Vectors
	// PairsEncoder says that the encoder of Vectors was fine-tuned on questions of this log and
	// what was chosen for them, see EncoderPairs. The scorer then learns from other questions.
	PairsEncoder    bool
	TextSpec        ranker.TextSpec
	ExternalColumns []string // external columns that may become features, "TABLE.COLUMN"
	LightGBM        *gbdt.Library
	Backend         backends.Backend // trains the two-tower model; nil trains none
	WorkDir         string           // the dataset is written here and stays
	Config          Config           // complete and valid
	Holdout         float64          // share of the newest lists that is held out, 0 to 1
	// Until ignores events that arrived at this time or later, Unix ms; 0 = no limit.
	Until   int64
	Exclude []string // names of signals, features and feature groups to leave out
	Parent  *Parent  // of a warm start; nil for a full training
	// KeepTwoTower keeps the two-tower model even if it ranks no better than item popularity.
	KeepTwoTower bool
	// Progress reports a stage; may be nil.
	Progress func(stage string, done, total int)
}

// Scan reads the log as the training does.
func (in *Inputs) Scan(ctx context.Context) (*replay.Log, error) {
	return in.ScanBefore(ctx, 0)
}

// ScanBefore reads the log before a sequence, 0 for all of it.
func (in *Inputs) ScanBefore(ctx context.Context, seq uint64) (*replay.Log, error) {
	return replay.Scan(ctx, in.Source, replay.Options{
		Before: seq,
		State:  in.State, Base: in.Base, Gains: in.Config.Gains, Until: in.Until,
		FollowUpMillis: in.Config.FollowUpMillis(),
	})
}

func (in *Inputs) isExcluded(name string) bool { return slices.Contains(in.Exclude, name) }

func (in *Inputs) progress(stage string, done, total int) {
	if in.Progress != nil {
		in.Progress(stage, done, total)
	}
}

// Trained is a finished training.
type Trained struct {
	Model           *ranker.Model // without a version
	Reasons         []Reason      // why each feature is in the schema; empty if configured
	Signals         []trainedSignal
	Trees           *gbdt.Result
	Leaves          int // of a tree at most; the validation lists chose it
	ValidationScore float64
	Log             *replay.Log
	HoldoutStart    uint64 // the held-out events begin at this sequence
	Lists           int    // lists that the scorer was trained on
	Stages          []Stage
	Probes          []*ranker.SignalInput // for the bundle's probe, see dataset.probes
	RetentionLists  []RetentionList       // of a warm start
	TwoTowerEpochs  []twotower.Epoch      // of the final two-tower model
	// TwoTower compares the final two-tower model with item popularity; nil if none was trained.
	// If it is not better, Signals lacks it, see LeavesOutTwoTower.
	TwoTower *twotower.Validation
	// TwoTowerTimeLimited reports that train.two_tower.minutes shortened the training of a
	// two-tower model, of the final one or of one that scored lists.
	TwoTowerTimeLimited bool
}

// Stage is the cost of one stage.
type Stage struct {
	Name      string
	Duration  time.Duration
	PeakBytes uint64 // peak memory of the process so far, see PeakMemory
}

// listStream separates the random numbers of the lists from others with the same seed.
const listStream = 0x7ea1

// stageRead is the name of the first stage.
const stageRead = "read"

// Train trains a model. It returns soon after ctx is cancelled.
func Train(ctx context.Context, in Inputs) (*Trained, error) {
	if p := in.Parent; p != nil {
		in.Config.Features, in.Config.Signals = p.Features, p.SignalKinds
	}
	var stages []Stage
	lists, err := timed(&stages, stageRead, func() (*trainingLists, error) {
		return readLists(ctx, &in)
	})
	if err != nil {
		return nil, err
	}
	fitted, err := timed(&stages, "signals", func() (*fittedSignals, error) {
		return trainSignals(ctx, &in, lists)
	})
	if err != nil {
		return nil, err
	}
	data, err := timed(&stages, "replay", func() (*dataset, error) {
		return writeDataset(ctx, &in, lists, fitted)
	})
	if err != nil {
		return nil, err
	}
	trees, err := timed(&stages, "scorer", func() (*trainedScorer, error) {
		return trainScorer(ctx, &in, lists, fitted, data)
	})
	if err != nil {
		return nil, err
	}
	return &Trained{
		Model: trees.model, Reasons: fitted.reasons, Signals: fitted.final, Trees: trees.result,
		Leaves: trees.leaves, ValidationScore: trees.validationScore, Log: lists.wholeLog,
		HoldoutStart: lists.holdoutStart, Lists: len(lists.lists), Stages: stages,
		Probes: data.probes(), RetentionLists: trees.retention,
		TwoTowerEpochs: fitted.epochs, TwoTower: fitted.twoTower,
		TwoTowerTimeLimited: fitted.timeLimited,
	}, nil
}

// timed runs one stage and adds its cost to stages.
func timed[T any](stages *[]Stage, name string, run func() (T, error)) (T, error) {
	start := time.Now()
	out, err := run()
	if err != nil && name == stageRead {
		return out, err // it says itself what the log lacks
	}
	if err != nil {
		return out, fmt.Errorf("%s: %w", name, err)
	}
	*stages = append(*stages, Stage{name, time.Since(start), PeakMemory()})
	return out, nil
}

// PeakMemory returns the peak memory of this process in bytes, 0 if the system does not report it.
func PeakMemory() uint64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, found := bytes.Cut(status, []byte("VmHWM:"))
	fields := bytes.Fields(rest)
	if !found || len(fields) == 0 {
		return 0
	}
	kilobytes, err := strconv.ParseUint(string(fields[0]), 10, 64)
	if err != nil {
		return 0
	}
	return kilobytes << 10
}
