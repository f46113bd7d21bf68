package training

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gomlx/gomlx/backends"

	"relish/ranker"
	served "relish/ranker/match"
	"relish/training/match"
	"relish/training/match/neural"
)

// matcher is one trained matcher; file is nil for a kind that learns nothing.
type matcher struct {
	kind string
	ranker.Matcher
	file []byte
}

// contents are what matchers learn of the catalogue alone: no user has a part in it, so it is learned once.
type contents struct {
	space *served.Space // nil where no kind needs it
	terms *served.Terms
}

func trainContents(c *match.Corpus, kinds []string, seed uint64) (out contents, err error) {
	if slices.Contains(kinds, served.KindTaste) || slices.Contains(kinds, served.KindContent) {
		if out.space, err = match.TrainSpace(c, seed); err != nil {
			return out, err
		}
	}
	if slices.Contains(kinds, served.KindTerms) {
		out.terms = match.TrainTerms(c)
	}
	return out, nil
}

// matcherTrainer trains matchers of the same kinds on several corpora.
type matcherTrainer struct {
	kinds    []string
	known    contents
	backend  backends.Backend
	config   *Config
	progress func(stage string, done, total int)
	epochs   []neural.Epoch // of the match model trained last
}

// train trains the kinds that the corpus can feed, in their order.
func (t *matcherTrainer) train(ctx context.Context, c *match.Corpus) ([]matcher, error) {
	var out []matcher
	for _, kind := range t.kinds {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := t.one(ctx, kind, c)
		if err != nil {
			return nil, fmt.Errorf("matcher %s: %w", kind, err)
		}
		if m.Matcher != nil {
			out = append(out, m)
		}
	}
	return out, nil
}

func (t *matcherTrainer) one(ctx context.Context, kind string, c *match.Corpus) (matcher, error) {
	var learned served.Learned
	switch kind {
	case served.KindText:
		if !slices.ContainsFunc(c.Vectors, func(v []float32) bool { return v != nil }) {
			return matcher{}, nil
		}
		return matcher{kind: kind, Matcher: served.TextPoolings{}}, nil
	case served.KindWords:
		return matcher{kind: kind, Matcher: served.TokenOverlap{}}, nil
	case served.KindTerms:
		if t.known.terms != nil {
			learned = t.known.terms
		}
	case served.KindCooccurrence:
		if c.HasPairs() {
			learned = match.TrainCooccurrence(c)
		}
	case served.KindFactors:
		if c.HasPairs() {
			learned = match.TrainFactors(c, match.FactorOptions{Seed: t.config.Seed})
		}
	case served.KindTaste:
		taste, err := match.TrainTaste(c, t.known.space, t.config.Seed)
		if err != nil {
			return matcher{}, err
		}
		if taste != nil {
			learned = taste
		}
	case served.KindContent:
		content, err := match.TrainContent(c, t.known.space)
		if err != nil {
			return matcher{}, err
		}
		if content != nil {
			learned = content
		}
	case served.KindNeural:
		model, err := t.neural(ctx, c)
		if err != nil {
			return matcher{}, err
		}
		if model != nil {
			learned = model
		}
	}
	if learned == nil {
		return matcher{}, nil
	}
	return matcher{kind, learned, learned.Encode()}, nil
}

// neural trains the match model; nil where nothing can be learned, or nothing is there to train it with.
func (t *matcherTrainer) neural(ctx context.Context, c *match.Corpus) (*served.Neural, error) {
	if t.backend == nil {
		return nil, nil
	}
	cfg := neural.Default()
	cfg.Layers, cfg.Epochs, cfg.Seed = *t.config.Match.Layers, t.config.Match.Epochs, t.config.Seed
	cfg.TimeLimit = time.Duration(t.config.Match.Minutes * float64(time.Minute))
	cfg.Progress = func(e neural.Epoch) {
		t.progress(fmt.Sprintf("match model, loss %.3f, held-out NDCG@10 %.3f, epoch", e.Loss, e.NDCG), e.Number, e.Of)
	}
	r, err := neural.Train(ctx, t.backend, c, cfg)
	if errors.Is(err, neural.ErrNothing) || errors.Is(err, neural.ErrFewer) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t.epochs = r.Epochs
	return r.Model, nil
}

func columnsOf(ms []matcher) (names []string) {
	for _, m := range ms {
		names = append(names, m.Columns()...)
	}
	return names
}

func rankersOf(ms []matcher) (out []ranker.Matcher) {
	for _, m := range ms {
		out = append(out, m.Matcher)
	}
	return out
}
