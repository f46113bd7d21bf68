package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"relish/embeddings"
	"relish/embeddings/classifier"
	"relish/embeddings/finetuned"
	"relish/embeddings/onnx"
	"relish/ranker/bundle"
	training "relish/training/classifier"
)

// keptClassifiers is how many versions of a classifier a training leaves, besides the active one
// and the one before.
const keptClassifiers = 5

// ClassifierOptions say which classifier of a data folder is trained or measured, beside a running
// service. All fields but Progress are required.
type ClassifierOptions struct {
	Data    string
	Name    string
	Encoder EncoderOptions
	// Progress is called with the stage of the work and how far that stage is. It may be nil.
	Progress func(stage string, done, total int)
	Log      *slog.Logger
}

// ClassifierOutcome is what a training of a classifier did. Relish classifier train prints it.
type ClassifierOutcome struct {
	Version   string             `json:"version"`
	Activated bool               `json:"activated"`
	Reason    string             `json:"reason"` // why it was activated or not
	Metrics   map[string]float64 `json:"metrics"`
	Method    string             `json:"method"`
	Card      string             `json:"card"` // path of the report for people
	Warnings  []string           `json:"warnings,omitempty"`
}

// TrainClassifier trains a classifier, writes a version of it, and activates that version unless it
// knows no more than which label is most frequent.
func TrainClassifier(
	ctx context.Context, opt ClassifierOptions, examples []training.Example,
) (_ *ClassifierOutcome, err error) {
	if err := classifier.CheckName(opt.Name); err != nil {
		return nil, UsageError{err}
	}
	opt.Encoder.Data = opt.Data
	encoder, vectors, done, err := opt.loadVectors(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	dir, err := opt.Encoder.Folder()
	if err != nil {
		return nil, err
	}
	pool, err := catalogueTexts(ctx, opt.Data, maxPoolItems)
	if err != nil {
		return nil, err
	}
	result, err := training.Train(ctx, training.Input{
		Name: opt.Name, Examples: examples, Encode: vectors.Texts, Pool: pool,
		Encoder:  bundle.Encoder{ID: filepath.Base(dir), Digest: encoder.Digest()},
		Revision: Revision(), Progress: opt.Progress,
	})
	if err != nil {
		return nil, err
	}
	return opt.activate(ctx, result)
}

// activate writes the trained version, tries it in a child process and activates it.
func (o *ClassifierOptions) activate(
	ctx context.Context, r *training.Result,
) (*ClassifierOutcome, error) {
	root := classifier.Folder(o.Data)
	version, err := classifier.Write(root, r.Manifest, r.Head, r.ProbeVector, r.Files)
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(root, o.Name)
	dir := filepath.Join(folder, version)
	out := &ClassifierOutcome{
		Version: version, Metrics: r.Manifest.Metrics, Method: r.Manifest.Method,
		Card: filepath.Join(dir, classifier.CardFile), Warnings: r.Warnings,
	}
	figures := fmt.Sprintf("cross-validated accuracy %.1f %%, macro-F1 %.3f on %d examples; "+
		"always answering the most frequent label has %.1f %% and %.3f", 100*r.Metrics.Accuracy,
		r.Metrics.MacroF1, r.Metrics.N, 100*r.Baseline.Accuracy, r.Baseline.MacroF1)
	if !r.BetterThanBaseline() {
		out.Reason = "not better than always answering the most frequent label: " + figures
		return out, nil
	}
	if err := o.Encoder.probeClassifier(ctx, dir); err != nil {
		return nil, fmt.Errorf("the trained version %s is refused: %w", version, err)
	}
	out.Reason = figures
	if err := bundle.Activate(folder, version, "relish classifier train", figures); err != nil {
		return nil, err
	}
	out.Activated = true
	removed, err := bundle.Prune(folder, keptClassifiers)
	if len(removed) > 0 {
		o.Log.Info("removed old versions of the classifier", "versions", removed)
	}
	return out, err
}

// EvaluateClassifier measures the active version of a classifier on labelled texts.
func EvaluateClassifier(
	ctx context.Context, opt ClassifierOptions, examples []training.Example,
) (_ *training.Metrics, err error) {
	if opt.Progress == nil {
		opt.Progress = func(string, int, int) {}
	}
	registry, done, err := opt.openRegistry(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	var truth, predicted []string
	for from := 0; from < len(examples); from += evaluateBatch {
		part := examples[from:min(from+evaluateBatch, len(examples))]
		texts := make([]string, len(part))
		for i, e := range part {
			texts[i] = e.Text
			truth = append(truth, e.Label)
		}
		opt.Progress("label texts", from, len(examples))
		_, labels, err := registry.Classify(ctx, opt.Name, texts)
		if err != nil {
			return nil, err
		}
		for _, l := range labels {
			predicted = append(predicted, l.Label)
		}
	}
	m := training.Measure(truth, predicted)
	return &m, nil
}

// evaluateBatch is how many texts are labelled between two reports of progress.
const evaluateBatch = 256

// openRegistry opens a registry that serves the named classifier as a service would. The caller
// calls done.
func (o *ClassifierOptions) openRegistry(
	ctx context.Context,
) (_ *classifier.Registry, done func() error, err error) {
	if _, err := classifier.LoadActive(classifier.Folder(o.Data), o.Name); err != nil {
		return nil, nil, err
	}
	o.Encoder.Data = o.Data
	encoder, vectors, closeVectors, err := o.loadVectors(ctx)
	if err != nil {
		return nil, nil, err
	}
	finetuned, err := o.Encoder.finetunedOptions(encoder, embeddings.Options{Log: o.Log}, o.Log)
	if err != nil {
		return nil, nil, errors.Join(err, closeVectors())
	}
	registry := newClassifiers(o.Data, &o.Encoder, vectors, encoder.Digest(), finetuned, o.Log)
	// Other classifiers may be refused; Classify says why this one is.
	_ = registry.Sync(ctx)
	return registry, func() error {
		registry.Close()
		return closeVectors()
	}, nil
}

// loadVectors loads the text encoder and opens its vectors of the data folder. The caller calls
// done, which closes both.
func (o *ClassifierOptions) loadVectors(
	ctx context.Context,
) (_ *onnx.Encoder, _ *embeddings.Service, done func() error, err error) {
	encoder, err := o.Encoder.Load(ctx, o.Log)
	if err != nil {
		return nil, nil, nil, err
	}
	vectors, err := o.Encoder.openVectors(o.Data, encoder, o.Log)
	if err != nil {
		encoder.Close()
		return nil, nil, nil, err
	}
	return encoder, vectors, func() error {
		defer encoder.Close()
		return vectors.Close(context.WithoutCancel(ctx))
	}, nil
}

// classifierCacheBytes bounds the vectors in memory of each classifier with its own encoder.
const classifierCacheBytes = 32 << 20

// newClassifiers returns a registry of the classifiers of a data folder. base is nil without a text
// encoder. The caller syncs and closes it.
func newClassifiers(
	data string, encoder *EncoderOptions, base *embeddings.Service, digest string,
	opt finetuned.Options, log *slog.Logger,
) *classifier.Registry {
	o := classifier.Options{
		Root: classifier.Folder(data), BaseDigest: digest, Log: log, Probe: encoder.probeClassifier,
	}
	if base != nil {
		o.Base, o.BaseDim = base, base.Dim()
		o.OpenEncoder = func(
			ctx context.Context, dir string, m *classifier.Manifest,
		) (classifier.Encoder, func(), error) {
			return openClassifierEncoder(ctx, dir, m, opt)
		}
	}
	return classifier.NewRegistry(o)
}

// openClassifierEncoder opens the fine-tuned encoder of a classifier, without a vector table: the
// texts of requests are not stored.
func openClassifierEncoder(
	ctx context.Context, dir string, m *classifier.Manifest, opt finetuned.Options,
) (classifier.Encoder, func(), error) {
	opt.Vectors.Dir, opt.Vectors.CacheBytes = "", classifierCacheBytes
	opt.Shared, opt.Vectors.Shared = nil, nil
	v, err := finetuned.Open(ctx, dir, m.Encoder, opt)
	if err != nil {
		return nil, nil, err
	}
	return v, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		_ = v.Close(ctx) // it stores nothing
	}, nil
}

// probeClassifier tries a version of a classifier in a child process, and returns why it must not
// be used.
func (o *EncoderOptions) probeClassifier(ctx context.Context, dir string) error {
	assets, err := o.AssetsFolder()
	if err != nil {
		return err
	}
	return bundle.ProbeInSandbox(ctx, dir, probeDeadline, "probe-classifier", "--assets", assets)
}

// ProbeClassifierChild is what the child process of probeClassifier does.
func (o *EncoderOptions) ProbeClassifierChild(ctx context.Context, dir string) error {
	limits := bundle.ProbeLimits{Memory: probeMemory, CPU: probeCPUTime}
	return classifier.ProbeChild(ctx, dir, limits,
		func(ctx context.Context, dir string) (classifier.Encoder, func(), error) {
			runtime, err := o.Runtime()
			if err != nil {
				return nil, nil, err
			}
			m, err := classifier.ReadManifest(dir)
			if err != nil {
				return nil, nil, err
			}
			return openClassifierEncoder(ctx, dir, m, finetuned.Options{
				Runtime: runtime,
				Encoder: onnx.EncoderOptions{
					Device: "cpu", Sessions: 1, RunTimeout: probeRunTimeout,
				},
			})
		})
}
