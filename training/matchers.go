package training

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gomlx/gomlx/backends"

	"relish/ranker"
	served "relish/ranker/signals"
	"relish/training/signals"
	"relish/training/twotower"
)

// trainedSignal is one trained matcher; file is nil for a kind that learns nothing.
type trainedSignal struct {
	kind string
	ranker.Signal
	file []byte
}

// catalogueModels are what matchers learn of the catalogue alone: no user has a part in it, so it is learned once.
type catalogueModels struct {
	projection *served.Projection // nil where no kind needs it
	lexical    *served.Lexical
}

func trainCatalogueModels(c *signals.Corpus, kinds []string, seed uint64) (out catalogueModels, err error) {
	if slices.Contains(kinds, served.KindResidualGP) || slices.Contains(kinds, served.KindContentPrior) {
		if out.projection, err = signals.TrainProjection(c, seed); err != nil {
			return out, err
		}
	}
	if slices.Contains(kinds, served.KindLexical) {
		out.lexical = signals.TrainLexical(c)
	}
	return out, nil
}

// signalTrainer trains matchers of the same kinds on several corpora.
type signalTrainer struct {
	kinds     []string
	catalogue catalogueModels
	backend   backends.Backend
	config    *Config
	progress  func(stage string, done, total int)
	epochs    []twotower.Epoch // of the match model trained last
}

// train trains the kinds that the corpus can feed, in their order.
func (t *signalTrainer) train(ctx context.Context, c *signals.Corpus) ([]trainedSignal, error) {
	var out []trainedSignal
	for _, kind := range t.kinds {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := t.trainKind(ctx, kind, c)
		if err != nil {
			return nil, fmt.Errorf("matcher %s: %w", kind, err)
		}
		if m.Signal != nil {
			out = append(out, m)
		}
	}
	return out, nil
}

func (t *signalTrainer) trainKind(ctx context.Context, kind string, c *signals.Corpus) (trainedSignal, error) {
	var learned served.TrainedSignal
	switch kind {
	case served.KindText:
		if !slices.ContainsFunc(c.Vectors, func(v []float32) bool { return v != nil }) {
			return trainedSignal{}, nil
		}
		return trainedSignal{kind: kind, Signal: served.TextSimilarity{}}, nil
	case served.KindTokenOverlap:
		return trainedSignal{kind: kind, Signal: served.TokenOverlap{}}, nil
	case served.KindLexical:
		if t.catalogue.lexical != nil {
			learned = t.catalogue.lexical
		}
	case served.KindCooccurrence:
		if c.HasPairs() {
			learned = signals.TrainCooccurrence(c)
		}
	case served.KindMatrixFactorization:
		if c.HasPairs() {
			learned = signals.TrainMatrixFactorization(c, signals.FactorizationOptions{Seed: t.config.Seed})
		}
	case served.KindResidualGP:
		taste, err := signals.TrainResidualGP(c, t.catalogue.projection, t.config.Seed)
		if err != nil {
			return trainedSignal{}, err
		}
		if taste != nil {
			learned = taste
		}
	case served.KindContentPrior:
		content, err := signals.TrainContentPrior(c, t.catalogue.projection)
		if err != nil {
			return trainedSignal{}, err
		}
		if content != nil {
			learned = content
		}
	case served.KindTwoTower:
		model, err := t.trainTwoTower(ctx, c)
		if err != nil {
			return trainedSignal{}, err
		}
		if model != nil {
			learned = model
		}
	}
	if learned == nil {
		return trainedSignal{}, nil
	}
	return trainedSignal{kind, learned, learned.Encode()}, nil
}

// trainTwoTower trains the match model; nil where nothing can be learned, or nothing is there to train it with.
func (t *signalTrainer) trainTwoTower(ctx context.Context, c *signals.Corpus) (*served.TwoTower, error) {
	if t.backend == nil {
		return nil, nil
	}
	cfg := twotower.DefaultConfig()
	cfg.Layers, cfg.Epochs, cfg.Seed = *t.config.TwoTower.Layers, t.config.TwoTower.Epochs, t.config.Seed
	cfg.TimeLimit = time.Duration(t.config.TwoTower.Minutes * float64(time.Minute))
	cfg.Progress = func(e twotower.Epoch) {
		t.progress(fmt.Sprintf("match model, loss %.3f, held-out NDCG@10 %.3f, epoch", e.Loss, e.NDCG), e.Number, e.Planned)
	}
	r, err := twotower.Train(ctx, t.backend, c, cfg)
	if errors.Is(err, twotower.ErrNoSequences) || errors.Is(err, twotower.ErrTooFewItems) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t.epochs = r.Epochs
	return r.Model, nil
}

func signalColumns(ms []trainedSignal) (names []string) {
	for _, m := range ms {
		names = append(names, m.Columns()...)
	}
	return names
}

func rankerSignals(ms []trainedSignal) (out []ranker.Signal) {
	for _, m := range ms {
		out = append(out, m.Signal)
	}
	return out
}
