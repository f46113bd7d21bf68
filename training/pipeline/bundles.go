package pipeline

import (
	"context"
	"fmt"
	"path/filepath"

	"relish/ranker"
	"relish/ranker/bundle"
	"relish/training/modelcard"
)

// bundles are the existing bundles that a training refers to.
type bundles struct {
	active *activeModel
	parent *bundle.Bundle // the bundle that a warm start continues, nil for a full training
}

// activeModel is the model that ranks now. The new model is compared with it.
type activeModel struct {
	model  *ranker.Model
	bundle *bundle.Bundle  // nil if the prior is active
	card   *modelcard.Data // of the bundle, nil if it has none
	// loadError says why the active bundle cannot be loaded. The prior is used in its place.
	loadError error
}

// version returns the name of the active model.
func (a *activeModel) version() string {
	if a.bundle == nil {
		return ranker.PriorVersion
	}
	return a.model.Version
}

// loadBundles loads the active bundle and the parent of a warm start.
func loadBundles(ctx context.Context, opt *Options) (*bundles, error) {
	version, err := bundle.Active(opt.Root)
	if err != nil {
		return nil, err
	}
	active := &activeModel{model: opt.Prior}
	if version != ranker.PriorVersion {
		b, err := loadBundle(ctx, opt, version)
		if err != nil {
			active.loadError = err
		} else {
			card := readCard(filepath.Join(opt.Root, version))
			active = &activeModel{model: b.Model, bundle: b, card: card}
		}
	}
	out := &bundles{active: active}
	switch {
	case opt.WarmStartFrom == "", opt.WarmStartFrom == Previous && version == ranker.PriorVersion:
		return out, nil
	case opt.WarmStartFrom == Previous:
		out.parent, err = active.bundle, active.loadError
	default:
		version = opt.WarmStartFrom
		out.parent, err = loadBundle(ctx, opt, version)
	}
	if err != nil {
		return nil, fmt.Errorf(
			"cannot warm-start from bundle %.60s: %w; omit --from for a full training",
			version,
			err,
		)
	}
	return out, nil
}

// loadBundle loads a bundle and checks that it can rank here.
func loadBundle(
	ctx context.Context, opt *Options, version string,
) (*bundle.Bundle, error) {
	if !bundle.IsVersion(version) {
		return nil, fmt.Errorf("%.60q is not a bundle version", version)
	}
	dir := filepath.Join(opt.Root, version)
	b, err := bundle.Load(dir, opt.LoadSignal)
	if err != nil {
		return nil, err
	}
	if err := opt.CheckCompatible(b); err != nil {
		return nil, err
	}
	if b.Manifest.Encoder.FineTuned && opt.AttachEncoder != nil {
		if err := opt.AttachEncoder(ctx, dir, b); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// textEncoder is the text encoder of one training, with the vectors of all texts in the log.
type textEncoder struct {
	vectors  *textVectors   // nil trains without text
	manifest bundle.Encoder // its entry in the manifest
	// storedIn is the version of the bundle that holds the files of this fine-tuned encoder, "" if
	// the encoder is not fine-tuned or was fine-tuned by this training.
	storedIn string
	// baseVectors are for models without a fine-tuned encoder; nil means vectors.
	baseVectors ranker.Vectors
	// activeModel is the active model with the vectors that it was trained on.
	activeModel *ranker.Model
}

// initialEncoder returns the encoder before any fine-tuning: that of the parent in a warm start,
// else the configured one.
func initialEncoder(opt *Options, b *bundles) *textEncoder {
	e := &textEncoder{manifest: opt.Encoder, activeModel: b.active.model}
	vectors := opt.Vectors
	if b.parent != nil && b.parent.Model.Vectors != nil {
		e.fixOthers(opt.Vectors)
		vectors = b.parent.Model.Vectors
		e.manifest, e.storedIn = b.parent.Manifest.Encoder, b.parent.Model.Version
	}
	if vectors != nil {
		e.vectors = newTextVectors(vectors)
	}
	return e
}

// replacedBy returns the encoder that reads texts with other vectors from now on. All other models
// keep the vectors of e.
func (e *textEncoder) replacedBy(
	vectors ranker.Vectors,
	manifest bundle.Encoder,
	storedIn string,
) *textEncoder {
	next := *e
	next.fixOthers(e.vectors)
	next.vectors, next.manifest, next.storedIn = newTextVectors(vectors), manifest, storedIn
	return &next
}

// fixOthers binds all other models to the vectors that they were trained on.
func (e *textEncoder) fixOthers(vectors ranker.Vectors) {
	if e.baseVectors == nil {
		e.baseVectors = vectors
	}
	if e.activeModel.Vectors == nil {
		e.activeModel = e.activeModel.WithVectors(vectors)
	}
}
