package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"relish/features"
	"relish/internal/config"
	"relish/ranker"
	"relish/ranker/blend"
	"relish/ranker/bundle"
	"relish/ranker/match"
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
	schema, err := blend.PriorSchema(cfg.State.Fields, cfg.Tables)
	if err != nil {
		return nil, fmt.Errorf("prior: %w", err)
	}
	prior, err := blend.NewPrior(schema, cfg.Tables)
	if err != nil {
		return nil, fmt.Errorf("prior: %w", err)
	}
	return &ranker.Model{
		Version:  ranker.PriorVersion,
		Schema:   schema,
		Matchers: []ranker.Matcher{match.TextPoolings{}, match.TokenOverlap{}},
		Blend:    prior,
	}, nil
}

// counted checks that the server counts what a schema needs.
func counted(cfg *config.Config) func(*ranker.Schema) error {
	return func(s *ranker.Schema) error { return features.CheckSchema(&cfg.State, s) }
}

// openModels opens the models that a server ranks with. encoder is the digest of its text encoder, "" without one.
func openModels(ctx context.Context, root, encoder string, cfg *config.Config, log *slog.Logger) (*bundle.Registry, error) {
	prior, err := priorModel(cfg)
	if err != nil {
		return nil, err
	}
	return bundle.Open(ctx, bundle.Options{Root: root, Prior: prior, Open: new(match.Opener).Open, Try: tryApart,
		Encoder: encoder, Check: counted(cfg), Log: log})
}

// loadModel returns a version's model, with its manifest, which the prior has not. The version "" is the active one.
func loadModel(root, version, encoder string, cfg *config.Config) (*ranker.Model, *bundle.Manifest, error) {
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
	b, err := bundle.Load(filepath.Join(root, version), new(match.Opener).Open)
	if err != nil {
		return nil, nil, err
	}
	if err := b.Fits(encoder, counted(cfg)); err != nil {
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
func tryApart(ctx context.Context, dir string) error {
	return bundle.TryApart(ctx, dir, trialPatience, "probe-bundle")
}

// probeCmd is the process that tryApart starts.
type probeCmd struct {
	Dir string `arg:""`
}

// Run tries the bundle under limits.
func (c *probeCmd) Run(ctx context.Context) error {
	return bundle.Try(ctx, c.Dir, new(match.Opener).Open, trialMemory, trialTime)
}

// checkBundles looks at every bundle, tries the active one, and adds what it finds.
func checkBundles(ctx context.Context, root string, cfg *config.Config, add func(what string, err error, format string, args ...any)) {
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
				err = tryApart(ctx, filepath.Join(root, v))
			}
			if err == nil {
				_, _, err = loadModel(root, v, "", cfg)
			}
			state = "active; it gives the scores that it was made with"
		}
		add("bundle", err, "%s: %s", v, state)
	}
	if !found && activeErr == nil {
		add("bundle", fmt.Errorf("%s is active and not there: activate another one", active), "")
	}
}
