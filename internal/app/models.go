package app

import (
	"context"
	"fmt"
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

// BundleFolder returns the folder of the bundles: the given one, or "bundles" in the data folder.
func BundleFolder(bundles, data string) string {
	if bundles != "" {
		return bundles
	}
	return filepath.Join(data, "bundles")
}

// PriorModel returns the model that ranks without training. It weighs counters, text similarity, the
// configured fields and the configured external columns by fixed weights.
func PriorModel(cfg *config.Config) (*ranker.Model, error) {
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

// checkSchema returns a check that the configured state counts everything that a schema reads.
func checkSchema(cfg *config.Config) func(*ranker.Schema) error {
	return func(s *ranker.Schema) error { return features.CheckSchema(&cfg.State, s) }
}

// openModels opens the registry of the models that a service ranks with.
func openModels(ctx context.Context, root string, e *Engine, opt Options) (*bundle.Registry, error) {
	prior, err := PriorModel(opt.Config)
	if err != nil {
		return nil, err
	}
	registry := bundle.Options{
		Root: root, Prior: prior, Open: new(signals.Loader).Load, Probe: opt.Encoder.ProbeBundle,
		EncoderDigest: e.encoderDigest(), CheckSchema: checkSchema(opt.Config), Log: opt.Log,
	}
	if e.encoder != nil {
		registry.Encoders = e.pool
		registry.Prepare = towerOnDevice(e.finetuned.Runtime, e.encoder.Device(), opt.Log)
	}
	return bundle.Open(ctx, registry)
}

// loadModel returns the model of a version and its manifest, which is nil for the prior. The version
// "" is the active one.
func loadModel(root, version, encoderDigest string, vectors *finetunedVectors, cfg *config.Config) (*ranker.Model, *bundle.Manifest, error) {
	if version == "" {
		var err error
		if version, err = bundle.Active(root); err != nil {
			return nil, nil, err
		}
	}
	if version == ranker.PriorVersion {
		m, err := PriorModel(cfg)
		return m, nil, err
	}
	dir := filepath.Join(root, version)
	b, err := bundle.Load(dir, new(signals.Loader).Load)
	if err != nil {
		return nil, nil, err
	}
	if err = b.CheckCompatible(encoderDigest, checkSchema(cfg)); err == nil {
		err = vectors.attach(dir, b)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("bundle %s: %w", version, err)
	}
	return b.Model, b.Manifest, nil
}

// Limits of the child process that probes a bundle. bundle.ProbeChild adds to the first two by the
// size of the bundle's files.
const (
	probeMemory   = 2 << 30          // bytes of address space
	probeCPUTime  = 20 * time.Second // processor time
	probeDeadline = 2 * time.Minute  // wall-clock time
)

// ProbeBundle loads the bundle in dir in a child process and checks that it reproduces its recorded
// scores. A damaged or hostile file may crash that process without harm to this one.
func (o *EncoderOptions) ProbeBundle(ctx context.Context, dir string) error {
	assets, err := o.AssetsFolder()
	if err != nil {
		return err
	}
	return bundle.ProbeInSandbox(ctx, dir, probeDeadline, "probe-bundle", "--assets", assets)
}

// ProbeBundleChild is what the child process of ProbeBundle does.
func (o *EncoderOptions) ProbeBundleChild(ctx context.Context, dir string) error {
	encoder := func(ctx context.Context, dir string) error {
		runtime, err := o.Runtime()
		if err != nil {
			return err
		}
		return finetuned.Verify(ctx, runtime, dir)
	}
	return bundle.ProbeChild(ctx, dir, new(signals.Loader).Load, encoder, probeMemory, probeCPUTime)
}
