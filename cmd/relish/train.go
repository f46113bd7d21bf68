package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"relish/embeddings"
	"relish/embeddings/onnx"
	"relish/experiment"
	"relish/features"
	"relish/features/external"
	"relish/features/ingest"
	"relish/internal/config"
	"relish/ranker/bundle"
	"relish/ranker/signals"
	"relish/training/gbdt"
	"relish/training/modelcard"
	"relish/training/pipeline"
)

type trainCmd struct {
	dataFlags
	bundleFlags
	encoderFlags
	logFlags
	Log     []string `help:"Further data folders whose logs are learned from: those of the other replicas." type:"path" placeholder:"DIR"`
	Holdout float64  `help:"The newest share of the lists (of the interactions where there are no lists) that the bundle does not learn from and is measured on. Without it the newest part is left out of a first training, which is measured, and the bundle is trained again on everything." placeholder:"SHARE"`
	Until   string   `help:"Leave out what arrived from this time on: RFC 3339 or Unix ms." placeholder:"TIME"`
	From    string   `help:"Train on from this bundle, or from the active one (previous): the new part of the log and a sample of the old one. Where no bundle is active, previous trains anew." placeholder:"previous|VERSION"`
	// TuneEncoder is nil for what the configuration says.
	TuneEncoder *bool         `help:"Whether the text encoder itself is trained on what users did next, and kept if it is better on items that took no part: the largest gain for new and rare items. Without it, when the log has enough to learn from (5,000 steps beside what the blend learns from); --tune-encoder=false never does." placeholder:"true|false"`
	Objective   string        `help:"What the encoder is tuned for: next-item, what a user does next; or title-text, which title goes with which text, which needs no clicks. Default: train.encoder.objective, which is next-item." placeholder:"NAME"`
	MaxMinutes  float64       `help:"How long the encoder may be tuned. Most of the gain comes in the first 5 minutes, and it still rises slowly after 15. Default: train.encoder.minutes, which is 10." placeholder:"MINUTES"`
	Force       string        `help:"Activate the bundle even if it is worse than the running one, for this reason, which is written down." placeholder:"REASON"`
	Every       time.Duration `help:"Train again and again, with so much time from one start to the next; a turn is left out while nothing has come. Ends on SIGTERM." placeholder:"DURATION"`
	Keep        int           `help:"Bundles that are kept in the folder, the newest. The active one, the one before it and those that experiments name stay in any case." default:"30"`
	// Experiments has the name that serve gives it, so that one setting is for both.
	Experiments string `help:"File of experiments, whose bundles are kept." type:"path" placeholder:"FILE"`
	JSON        bool   `help:"Print nothing but the line of JSON, without scores and warnings on standard error."`
}

// Run trains once, or until the context ends.
func (c *trainCmd) Run(ctx context.Context, cfg *config.Config) error {
	if err := c.configure(&cfg.Train); err != nil {
		return err
	}
	opt, err := c.options(cfg)
	if err != nil {
		return err
	}
	var encoder *onnx.Encoder
	if !c.NoText {
		if encoder, err = c.loadEncoder(c.logger()); err != nil {
			return err
		}
		defer encoder.Close()
		opt.Encoder = bundle.Encoder{ID: filepath.Base(c.encoderDir(c.Assets)), Digest: encoder.Digest()}
		if opt.EncoderTuner, err = c.tuner(encoder); err != nil {
			return err
		}
	}
	if opt.Backend, err = c.openBackend(); err != nil {
		return err
	}
	defer opt.Backend.Finalize()
	digest := opt.Encoder.Digest
	opt.CheckCompatible = func(b *bundle.Bundle) error { return b.CheckCompatible(digest, counted(cfg)) }
	if c.Every > 0 {
		return c.again(ctx, opt, encoder)
	}
	return c.once(ctx, *opt, encoder)
}

// options are what does not change from one training to the next.
func (c *trainCmd) options(cfg *config.Config) (*pipeline.Options, error) {
	if c.Holdout < 0 || c.Holdout >= 1 {
		return nil, fmt.Errorf("%w: --holdout %g: it is a share above 0 and below 1", errUsage, c.Holdout)
	}
	if c.Every < 0 || c.Every > 0 && c.Until != "" {
		return nil, fmt.Errorf("%w: --every takes a positive time, and no --until", errUsage)
	}
	if c.Keep < 1 {
		return nil, fmt.Errorf("%w: --keep %d: it is at least 1", errUsage, c.Keep)
	}
	until, err := parseTime(c.Until)
	if err != nil {
		return nil, fmt.Errorf("%w: --until: %v", errUsage, err)
	}
	cfg.State.Text = cfg.Text
	prior, err := priorModel(cfg)
	if err != nil {
		return nil, err
	}
	assets, err := c.assets()
	if err != nil {
		return nil, err
	}
	library, err := gbdt.Open(filepath.Join(assets, "lightgbm", "lib_lightgbm.so"))
	if err != nil {
		return nil, err
	}
	opt := &pipeline.Options{State: cfg.State, Config: cfg.Train, Library: library, Root: c.root(c.Data), Prior: prior, Open: new(signals.Loader).Load,
		Verify: c.tryApart, Holdout: c.Holdout, Until: until, WarmStartFrom: c.From, ForceReason: c.Force, Revision: version, Command: c.command()}
	folders := append([]string{c.Data}, c.Log...)
	for _, dir := range folders {
		opt.Logs = append(opt.Logs, ingest.LogDir(dir))
	}
	opt.OpenTable = openTables(folders, c.logger())
	return opt, nil
}

// command is the command line that trains the same again, without the names of folders.
func (c *trainCmd) command() string {
	line := "relish train --data D" + strings.Repeat(" --log DIR", len(c.Log))
	for name, value := range map[string]string{"--until": c.Until, "--from": c.From} {
		if value != "" {
			line += " " + name + " " + value
		}
	}
	if c.Holdout > 0 {
		line += fmt.Sprintf(" --holdout %g", c.Holdout)
	}
	if c.NoText {
		line += " --no-text"
	}
	if c.TuneEncoder != nil {
		line += fmt.Sprintf(" --tune-encoder=%v", *c.TuneEncoder)
	}
	if c.Objective != "" {
		line += " --objective " + c.Objective
	}
	if c.MaxMinutes != 0 {
		line += fmt.Sprintf(" --max-minutes %g", c.MaxMinutes)
	}
	return line
}

// openTables opens a version of an imported table from whichever folder has it.
func openTables(folders []string, log *slog.Logger) func(name, digest string) *features.ExternalTable {
	return func(name, digest string) *features.ExternalTable {
		at := folders[0]
		for _, dir := range folders {
			if _, err := os.Stat(external.Path(dir, digest)); err == nil {
				at = dir
				break
			}
		}
		return external.Opener(at, log)(name, digest)
	}
}

// once trains, and prints what became of it.
func (c *trainCmd) once(ctx context.Context, opt pipeline.Options, encoder *onnx.Encoder) (err error) {
	if encoder != nil {
		vectors, err := embeddings.New(encoder, embeddings.Options{Dir: filepath.Join(c.Data, "vectors"), ReadOnly: true, CacheBytes: c.CacheBytes, Log: c.logger()})
		if err != nil {
			return err
		}
		defer vectors.Close(ctx)
		opt.Vectors = vectors
		own, err := c.openOwnTexts(c.Data, encoder)
		if err != nil {
			return err
		}
		defer own.close()
		opt.AttachEncoder = own.attach
	}
	stages := stageProgress{what: "train"}
	opt.Progress = stages.set
	out, err := pipeline.Run(ctx, opt)
	stages.end()
	if err != nil {
		return err
	}
	if !c.JSON && out.Report != nil {
		c.tell(out.Report)
	}
	return errors.Join(printJSON(out), c.prune(opt.Root))
}

// prune removes the oldest bundles, so that trainings do not fill the disk.
func (c *trainCmd) prune(root string) error {
	var named []string
	if c.Experiments != "" {
		set, err := experiment.Load(c.Experiments)
		if err != nil {
			return fmt.Errorf("old bundles are kept, since nobody knows which ones experiments name: %w", err)
		}
		named = set.Bundles(time.Now())
	}
	removed, err := bundle.Prune(root, c.Keep, named...)
	if len(removed) > 0 {
		c.logger().Info("old bundles were removed", "versions", removed)
	}
	return err
}

// tell prints the scores and what to look at.
func (c *trainCmd) tell(d *modelcard.Data) {
	metric := ""
	for _, s := range d.Scores {
		if metric == "" {
			metric = s.Metric
			fmt.Fprintf(os.Stderr, "%s on %d lists that were left out:\n", metric, s.Value.N)
		}
		if s.Metric == metric && s.Slice == d.Scores[0].Slice {
			fmt.Fprintf(os.Stderr, "  %-40s %s\n", s.Scorer, s.Value)
		}
	}
	if d.Log.ParityChecked > 0 {
		fmt.Fprintf(os.Stderr, "served matrices that differ from the replay's: %d of %d\n", d.Log.ParityDiffering, d.Log.ParityChecked)
	}
	for _, w := range modelcard.Check(d) {
		fmt.Fprintln(os.Stderr, "look:", w.Text)
	}
}

// again trains whenever the time has come and something new is in the logs. What fails is logged and tried again: a log may
// have nothing to learn from yet.
func (c *trainCmd) again(ctx context.Context, opt *pipeline.Options, encoder *onnx.Encoder) error {
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	for before := int64(-1); ; {
		size, err := logBytes(opt.Logs)
		switch {
		case err == nil && size == before:
			c.logger().Info("nothing new in the log")
		case err == nil:
			if err = c.once(ctx, *opt, encoder); err == nil {
				before = size
			}
		}
		if err != nil && ctx.Err() == nil {
			c.logger().Error("no bundle this time; the running one stays", "reason", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// logBytes is how large the logs are.
func logBytes(dirs []string) (size int64, err error) {
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			return 0, err
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil { // else retention dropped it just now
				size += info.Size()
			}
		}
	}
	return size, nil
}

// parseTime reads RFC 3339 or Unix ms as Unix ms, 0 for the empty string.
func parseTime(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		return ms, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, fmt.Errorf("%q is neither RFC 3339 nor Unix ms", s)
	}
	return t.UnixMilli(), nil
}
