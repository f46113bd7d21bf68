package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"relish/embeddings/finetuned"
	"relish/embeddings/onnx"
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

// PriorModel returns the model that ranks without training. It weighs counters, text similarity,
// the configured fields and the configured external columns by fixed weights. encoder is the text
// encoder, nil without one.
func PriorModel(cfg *config.Config, encoder *onnx.Encoder) (*ranker.Model, error) {
	schema, err := scorer.PriorSchema(cfg.State.Fields, cfg.Tables)
	if err != nil {
		return nil, fmt.Errorf("prior: %w", err)
	}
	prior, err := scorer.NewPrior(schema, cfg.Tables)
	if err != nil {
		return nil, fmt.Errorf("prior: %w", err)
	}
	// The prior knows no catalogue, so a mean over common words stands for that of the catalogue.
	var similarity signals.TextSimilarity
	if encoder != nil {
		if common := encoder.CommonText(); common != nil {
			similarity = signals.NewTextSimilarity(common)
		}
	}
	return &ranker.Model{
		Version: ranker.PriorVersion,
		Schema:  schema,
		Signals: []ranker.Signal{similarity, signals.TokenOverlap{}},
		Scorer:  prior,
	}, nil
}

// checkSchema returns a check that the configured state counts everything that a schema reads.
func checkSchema(cfg *config.Config) func(*ranker.Schema) error {
	return func(s *ranker.Schema) error { return features.CheckSchema(&cfg.State, s) }
}

// openModels opens the registry of the models that a service ranks with.
func openModels(
	ctx context.Context, root string, e *Engine, opt Options,
) (*bundle.Registry, error) {
	prior, err := PriorModel(opt.Config, e.encoder)
	if err != nil {
		return nil, err
	}
	registry := bundle.Options{
		Root: root, Prior: prior, LoadSignal: new(signals.Loader).Load,
		Probe: func(ctx context.Context, dir string) error {
			return opt.Encoder.ProbeBundle(ctx, dir, e.finetuned.FP32)
		},
		EncoderDigest: encoderDigest(e.encoder), CheckSchema: checkSchema(opt.Config), Log: opt.Log,
	}
	if opt.BundleKeys != "" {
		if registry.Keys, err = bundle.ReadPublicKeys(opt.BundleKeys); err != nil {
			return nil, fmt.Errorf("--bundle-keys: %w", err)
		}
	}
	if e.encoder != nil {
		registry.Encoders = e.pool
		registry.Prepare = towerOnDevice(e.finetuned.Runtime, e.encoder.Device(), opt.Log)
	}
	return bundle.Open(ctx, registry)
}

// loadModel returns the model of a version and its manifest, which is nil for the prior. The
// version "" is the active one. encoder is the text encoder, nil without one.
func loadModel(
	ctx context.Context, root, version string, encoder *onnx.Encoder, vectors *finetunedVectors,
	cfg *config.Config,
) (*ranker.Model, *bundle.Manifest, error) {
	if version == "" {
		var err error
		if version, err = bundle.Active(root); err != nil {
			return nil, nil, err
		}
	}
	if version == ranker.PriorVersion {
		m, err := PriorModel(cfg, encoder)
		return m, nil, err
	}
	dir := filepath.Join(root, version)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, noBundle(root, version)
	}
	b, err := bundle.Load(dir, new(signals.Loader).Load)
	if err != nil {
		return nil, nil, err
	}
	if err = b.CheckCompatible(encoderDigest(encoder), checkSchema(cfg)); err == nil {
		err = vectors.attach(ctx, dir, b)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("bundle %s: %w", version, err)
	}
	return b.Model, b.Manifest, nil
}

// noBundle is the error of a version that is not in the folder of bundles.
func noBundle(root, version string) error {
	versions, _ := bundle.Versions(root)
	if len(versions) == 0 {
		return fmt.Errorf("there is no bundle %s: the folder %s has none; relish train writes one",
			version, root)
	}
	return fmt.Errorf("there is no bundle %s in %s; there are %s, %s", version, root,
		ranker.PriorVersion, strings.Join(versions, ", "))
}

// Limits of the child process that probes a bundle. bundle.ProbeChild adds to the first two by the
// size of the bundle's files.
const (
	probeMemory   = 2 << 30          // bytes of address space
	probeCPUTime  = 20 * time.Second // processor time
	probeDeadline = 2 * time.Minute  // wall-clock time
)

// ProbeBundle loads the bundle in dir in a child process and checks that it reproduces its recorded
// scores and vectors. With gpu, the child also checks what a server loads onto a GPU: the
// fine-tuned encoder with 32-bit weights and the graph of the user tower. The child itself uses the
// CPU only. A damaged or hostile file may crash that process without harm to this one.
func (o *EncoderOptions) ProbeBundle(ctx context.Context, dir string, gpu bool) error {
	assets, err := o.AssetsFolder()
	if err != nil {
		return err
	}
	args := []string{"probe-bundle", "--assets", assets}
	if gpu {
		args = append(args, "--gpu")
	}
	return bundle.ProbeInSandbox(ctx, dir, probeDeadline, args...)
}

// ProbeBundleChild is what the child process of ProbeBundle does.
func (o *EncoderOptions) ProbeBundleChild(ctx context.Context, dir string, gpu bool) error {
	native := func(ctx context.Context, dir string, b *bundle.Bundle) error {
		return o.verifyNative(ctx, dir, b, gpu)
	}
	limits := bundle.ProbeLimits{Memory: probeMemory, CPU: probeCPUTime}
	return bundle.ProbeChild(ctx, dir, new(signals.Loader).Load, limits, native)
}

// verifyNative checks the parts of a bundle that run on ONNX Runtime. It starts the runtime only if
// there are any.
func (o *EncoderOptions) verifyNative(
	ctx context.Context, dir string, b *bundle.Bundle, gpu bool,
) error {
	if !gpu && !b.Manifest.Encoder.FineTuned {
		return nil
	}
	runtime, err := o.Runtime()
	if err != nil {
		return err
	}
	if b.Manifest.Encoder.FineTuned {
		if err := finetuned.Verify(ctx, runtime, dir, false); err != nil {
			return fmt.Errorf("%s: %w", bundle.EncoderInt8File, err)
		}
		if gpu {
			if err := finetuned.Verify(ctx, runtime, dir, true); err != nil {
				return fmt.Errorf("%s: %w", bundle.EncoderFP32File, err)
			}
		}
	}
	if gpu {
		return verifyTower(ctx, runtime, dir, b)
	}
	return nil
}
