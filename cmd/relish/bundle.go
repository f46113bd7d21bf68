package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"relish/embeddings/finetuned"
	"relish/features"
	"relish/internal/config"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/scorer"
	"relish/ranker/signals"
)

// bundleFlags say where the bundles are.
type bundleFlags struct {
	Bundles string `help:"Folder of the trained bundles; replicas share it. Default: bundles in the data folder." type:"path" placeholder:"DIR"`
}

func (f *bundleFlags) root(data string) string {
	if f.Bundles != "" {
		return f.Bundles
	}
	return filepath.Join(data, "bundles")
}

// priorModel is the prior over the configured fields and tables.
func priorModel(cfg *config.Config) (*ranker.Model, error) {
	schema, err := scorer.PriorSchema(cfg.State.Fields, cfg.Tables)
	if err != nil {
		return nil, fmt.Errorf("prior: %w", err)
	}
	prior, err := scorer.NewPrior(schema, cfg.Tables)
	if err != nil {
		return nil, fmt.Errorf("prior: %w", err)
	}
	return &ranker.Model{
		Version: ranker.PriorVersion,
		Schema:  schema,
		Signals: []ranker.Signal{signals.TextSimilarity{}, signals.TokenOverlap{}},
		Scorer:  prior,
	}, nil
}

// counted checks that the server counts what a schema needs.
func counted(cfg *config.Config) func(*ranker.Schema) error {
	return func(s *ranker.Schema) error { return features.CheckSchema(&cfg.State, s) }
}

// openModels opens the models that a server ranks with, with the engine's encoder and those that bundles bring along.
func (f *encoderFlags) openModels(ctx context.Context, root string, e *engine, cfg *config.Config, log *slog.Logger) (*bundle.Registry, error) {
	prior, err := priorModel(cfg)
	if err != nil {
		return nil, err
	}
	opt := bundle.Options{Root: root, Prior: prior, Open: new(signals.Loader).Load, Probe: f.tryApart,
		EncoderDigest: e.encoderDigest(), CheckSchema: counted(cfg), Log: log}
	if e.encoder != nil {
		opt.Encoders, opt.Prepare = e.own, onDevice(e.ownOpt.Runtime, e.encoder.Device(), log)
	}
	return bundle.Open(ctx, opt)
}

// loadModel returns a version's model, with its manifest, which the prior has not. The version "" is the active one. texts
// may be nil.
func loadModel(root, version, encoder string, texts *ownTexts, cfg *config.Config) (*ranker.Model, *bundle.Manifest, error) {
	if version == "" {
		var err error
		if version, err = bundle.Active(root); err != nil {
			return nil, nil, err
		}
	}
	if version == ranker.PriorVersion {
		m, err := priorModel(cfg)
		return m, nil, err
	}
	dir := filepath.Join(root, version)
	b, err := bundle.Load(dir, new(signals.Loader).Load)
	if err != nil {
		return nil, nil, err
	}
	if err = b.CheckCompatible(encoder, counted(cfg)); err == nil {
		err = texts.attach(dir, b)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("bundle %s: %w", version, err)
	}
	return b.Model, b.Manifest, nil
}

// What the trial of a bundle may take, beside what Try gives it for the size of its files.
const (
	trialMemory   = 2 << 30
	trialTime     = 20 * time.Second // of the processor
	trialPatience = 2 * time.Minute
)

// tryApart tries a bundle in a process of its own.
func (f *encoderFlags) tryApart(ctx context.Context, dir string) error {
	assets, err := f.assets()
	if err != nil {
		return err
	}
	return bundle.ProbeInSandbox(ctx, dir, trialPatience, "probe-bundle", "--assets", assets)
}

// probeCmd is the process that tryApart starts.
type probeCmd struct {
	Assets string
	Dir    string `arg:""`
}

// Run tries the bundle under limits.
func (c *probeCmd) Run(ctx context.Context) error {
	encoder := func(ctx context.Context, dir string) error {
		rt, _, err := (&encoderFlags{Assets: c.Assets}).startRuntime()
		if err != nil {
			return err
		}
		return finetuned.Verify(ctx, rt, dir)
	}
	return bundle.ProbeChild(ctx, c.Dir, new(signals.Loader).Load, encoder, trialMemory, trialTime)
}

// checkBundles looks at every bundle, tries the active one, and adds what it finds.
func (f *encoderFlags) checkBundles(ctx context.Context, root string, cfg *config.Config, add func(what string, err error, format string, args ...any)) {
	versions, err := bundle.Versions(root)
	if os.IsNotExist(err) {
		add("bundles", nil, "none: the prior is served")
		return
	}
	active, activeErr := bundle.Active(root)
	if err == nil {
		err = activeErr
	}
	add("bundles", err, "%d in %s; active: %s", len(versions), root, active)
	found := active == ranker.PriorVersion
	for _, v := range versions {
		_, err := bundle.Verify(filepath.Join(root, v))
		state := "every byte is as it was written"
		if v == active {
			found = true
			if err == nil {
				err = f.tryApart(ctx, filepath.Join(root, v))
			}
			if err == nil {
				_, _, err = loadModel(root, v, "", nil, cfg)
			}
			state = "active; it gives the scores that it was made with"
		}
		add("bundle", err, "%s: %s", v, state)
	}
	if !found && activeErr == nil {
		add("bundle", fmt.Errorf("%s is active and not there: activate another one", active), "")
	}
}
