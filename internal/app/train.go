package app

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/gomlx/gomlx/backends"

	"relish/embeddings/onnx"
	"relish/experiment"
	"relish/features"
	"relish/features/embedded"
	"relish/features/external"
	"relish/features/ingest"
	"relish/internal/config"
	"relish/ranker/bundle"
	"relish/ranker/signals"
	"relish/training"
	"relish/training/pipeline"
	"relish/training/replay"
)

// TrainerOptions say what a Trainer learns from and what it does with the bundles. Data, Config and
// Log are required.
type TrainerOptions struct {
	Data    string   // data folder
	Logs    []string // data folders of the other replicas
	Bundles string   // folder of the bundles; empty: "bundles" in the data folder
	Encoder EncoderOptions
	Config  *config.Config

	// Pairs are questions and answers to fine-tune on, see pipeline.Options.Pairs.
	Pairs []training.QuestionAnswer

	Holdout     float64 // newest share of the lists to measure on, 0 to 1; 0: the default plan
	Until       int64   // leave out what happened from this time on, Unix ms; 0: leave out nothing
	From        string  // warm start from this bundle, or from "previous"; empty: a full training
	ForceReason string  // activate even a worse bundle, for this reason
	Command     string  // the command line that trains the same again, for the model card
	SigningKey  string  // file of the private key that signs bundles; empty: nothing does
	Keep        int     // how many of the newest bundles Prune keeps, 1 or more
	// Experiments is the experiments file. Prune keeps the bundles that it names.
	Experiments string
	Log         *slog.Logger
}

// Trainer trains bundles on the event log, beside a running service. It is not safe for concurrent
// use; the caller closes it.
type Trainer struct {
	opt      TrainerOptions
	pipeline pipeline.Options
	encoder  *onnx.Encoder // nil without text
	backend  backends.Backend
}

// NewTrainer loads the libraries and the text encoder.
func NewTrainer(ctx context.Context, opt TrainerOptions) (_ *Trainer, err error) {
	opt.Encoder.Data = opt.Data
	t := &Trainer{opt: opt}
	defer func() {
		if err != nil {
			t.Close()
		}
	}()
	if err := t.configure(); err != nil {
		return nil, err
	}
	if !opt.Encoder.NoText {
		if err := t.openEncoder(ctx); err != nil {
			return nil, err
		}
	}
	if t.pipeline.Prior, err = PriorModel(opt.Config, t.encoder); err != nil {
		return nil, err
	}
	if t.backend, err = opt.Encoder.openBackend(); err != nil {
		return nil, err
	}
	t.pipeline.Backend = t.backend
	digest := t.pipeline.Encoder.Digest
	t.pipeline.CheckCompatible = func(b *bundle.Bundle) error {
		return b.CheckCompatible(digest, checkSchema(opt.Config))
	}
	return t, nil
}

// configure sets what needs neither encoder nor backend.
func (t *Trainer) configure() error {
	opt, cfg := &t.opt, t.opt.Config
	cfg.State.Text = cfg.Text
	if differs := ServerDiffers(opt.Data, cfg); differs != "" {
		opt.Log.Warn(differs)
	}
	var key ed25519.PrivateKey
	var err error
	if opt.SigningKey != "" {
		if key, err = bundle.ReadSigningKey(opt.SigningKey); err != nil {
			return fmt.Errorf("--signing-key: %w", err)
		}
	}
	library, err := opt.Encoder.openLightGBM()
	if err != nil {
		return err
	}
	folders := append([]string{opt.Data}, opt.Logs...)
	t.pipeline = pipeline.Options{
		State: cfg.State, Config: cfg.Train, LightGBM: library,
		Root:       BundleFolder(opt.Bundles, opt.Data),
		LoadSignal: new(signals.Loader).Load, Verify: t.verifyBundle,
		SigningKey: key,
		Holdout:    opt.Holdout, Until: opt.Until, WarmStartFrom: opt.From,
		ForceReason: opt.ForceReason, Pairs: opt.Pairs,
		Revision: Revision(), Command: opt.Command,
		OpenTable: tableOpener(folders, opt.Log),
		ServerRefuses: func(b *bundle.Bundle) error {
			return serverRefuses(opt.Data, cfg.State, b)
		},
	}
	if len(opt.Logs) == 0 {
		if t.pipeline.Base, err = logBase(opt.Data, cfg.State); err != nil {
			return err
		}
	}
	for _, dir := range folders {
		t.pipeline.Logs = append(t.pipeline.Logs, ingest.LogDir(dir))
	}
	return nil
}

// logBase returns the states that the log of a data folder adds to, nil if the log has everything.
func logBase(data string, cfg features.Config) (*replay.Base, error) {
	bases, err := embedded.Bases(data)
	if err != nil {
		return nil, err
	}
	var first *replay.Base
	for _, b := range slices.Backward(bases) {
		load := func() (*features.State, error) { return b.Load(cfg) }
		first = &replay.Base{Seq: b.Seq, Load: load, Later: first}
	}
	return first, nil
}

// verifyBundle tries a new bundle in a child process, with everything that a server with or without
// a GPU would load.
func (t *Trainer) verifyBundle(ctx context.Context, dir string) error {
	return t.opt.Encoder.ProbeBundle(ctx, dir, true)
}

// Close releases the encoder and the backend.
func (t *Trainer) Close() {
	if t.backend != nil {
		t.backend.Finalize()
	}
	if t.encoder != nil {
		t.encoder.Close()
	}
}

// Train trains one bundle, and activates it unless it ranks worse than the active one. progress is
// called with the stage of the training and how far that stage is; it may be nil.
func (t *Trainer) Train(
	ctx context.Context, progress func(stage string, done, total int),
) (*pipeline.Outcome, error) {
	opt := t.pipeline
	opt.Progress = progress
	if t.encoder != nil {
		vectors, err := t.opt.Encoder.openVectors(t.opt.Data, t.encoder, t.opt.Log)
		if err != nil {
			return nil, err
		}
		defer vectors.Close(ctx)
		opt.Vectors = vectors
		finetuned, err := t.opt.Encoder.openFinetuned(t.opt.Data, t.encoder, t.opt.Log)
		if err != nil {
			return nil, err
		}
		defer finetuned.close(ctx)
		opt.AttachEncoder = finetuned.attach
	}
	return pipeline.Run(ctx, opt)
}

// Prune removes the oldest bundles, so that repeated trainings do not fill the disk. It keeps the
// newest ones, the active one, the one before it, and those that experiments name.
func (t *Trainer) Prune() error {
	var named []string
	if t.opt.Experiments != "" {
		set, err := experiment.Load(t.opt.Experiments)
		if err != nil {
			return fmt.Errorf("old bundles are kept, because the experiments file does not say "+
				"which ones it needs: %w", err)
		}
		named = set.Bundles(time.Now())
	}
	removed, err := bundle.Prune(t.pipeline.Root, t.opt.Keep, named...)
	if len(removed) > 0 {
		t.opt.Log.Info("removed old bundles", "versions", removed)
	}
	return err
}

// TrainEvery trains at every interval until ctx ends, by calling train. It skips an interval in
// which nothing was added to the logs. A failure is logged and tried again at the next interval:
// the log may not have enough to learn from yet.
func (t *Trainer) TrainEvery(
	ctx context.Context, interval time.Duration, train func(context.Context) error,
) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	trained := int64(-1) // size of the logs that the last bundle was trained on
	for {
		size, err := logSize(t.pipeline.Logs)
		switch {
		case err == nil && size == trained:
			t.opt.Log.Info("no training: nothing new in the log")
		case err == nil:
			if err = train(ctx); err == nil {
				trained = size
			}
		}
		if err != nil && ctx.Err() == nil {
			t.opt.Log.Error("training failed; the active bundle stays", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// logSize returns the size of event logs in bytes.
func logSize(dirs []string) (size int64, err error) {
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			return 0, err
		}
		for _, entry := range entries {
			if info, err := entry.Info(); err == nil { // else retention has just removed it
				size += info.Size()
			}
		}
	}
	return size, nil
}

// tableOpener returns a function that opens a version of an external table from the first data
// folder that has it.
func tableOpener(
	folders []string, log *slog.Logger,
) func(name, digest string) *features.ExternalTable {
	return func(name, digest string) *features.ExternalTable {
		from := folders[0]
		for _, dir := range folders {
			if _, err := os.Stat(external.Path(dir, digest)); err == nil {
				from = dir
				break
			}
		}
		return external.Opener(from, log)(name, digest)
	}
}
