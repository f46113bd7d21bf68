package training

import (
	"context"
	"fmt"
	"slices"

	"relish/ranker"
	served "relish/ranker/match"
	"relish/training/match"
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

// trainMatchers trains the kinds that the corpus can feed, in the order of kinds.
func trainMatchers(ctx context.Context, c *match.Corpus, kinds []string, known contents, seed uint64) ([]matcher, error) {
	var out []matcher
	for _, kind := range kinds {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := trainMatcher(kind, c, known, seed)
		if err != nil {
			return nil, fmt.Errorf("matcher %s: %w", kind, err)
		}
		if m.Matcher != nil {
			out = append(out, m)
		}
	}
	return out, nil
}

func trainMatcher(kind string, c *match.Corpus, known contents, seed uint64) (matcher, error) {
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
		if known.terms != nil {
			learned = known.terms
		}
	case served.KindCooccurrence:
		if c.HasPairs() {
			learned = match.TrainCooccurrence(c)
		}
	case served.KindFactors:
		if c.HasPairs() {
			learned = match.TrainFactors(c, match.FactorOptions{Seed: seed})
		}
	case served.KindTaste:
		t, err := match.TrainTaste(c, known.space, seed)
		if err != nil {
			return matcher{}, err
		}
		if t != nil {
			learned = t
		}
	case served.KindContent:
		t, err := match.TrainContent(c, known.space)
		if err != nil {
			return matcher{}, err
		}
		if t != nil {
			learned = t
		}
	}
	if learned == nil {
		return matcher{}, nil
	}
	return matcher{kind, learned, learned.Encode()}, nil
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
