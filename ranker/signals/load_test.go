package signals_test

import (
	"slices"
	"strings"
	"testing"

	"relish/ranker"
	"relish/ranker/signals"
)

func TestLoad(t *testing.T) {
	for _, c := range []struct {
		kind    string
		data    []byte
		columns []string
		err     string
	}{
		{"text", nil, signals.TextSimilarity{}.Columns(), ""},
		{
			"text", signals.NewTextSimilarity([]float32{0, 3}).Encode(), nil,
			"the mean of the texts is empty or too large",
		},
		{"overlap", nil, signals.TokenOverlap{}.Columns(), ""},
		{"overlap", []byte{}, nil, `signal kind "overlap" has no file`},
		{
			"palmistry", nil, nil,
			`unknown signal kind "palmistry"; this binary knows content_prior, cooccurrence, `,
		},
	} {
		s, err := new(signals.Loader).Load(c.kind, c.data)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want one that contains %q", c.kind, err, c.err)
			}
			continue
		}
		if err != nil || !slices.Equal(s.Columns(), c.columns) {
			t.Errorf("%s: signal %v, error %v, want the columns %v", c.kind, s, err, c.columns)
		}
	}
}

// Of one bundle, both signals that read the content prior have the same one, so that a request
// computes it once.
func TestLoadedSignalsShareTheContentPrior(t *testing.T) {
	w := newWorld(1, 20)
	w.contentPrior = w.residual.Prior
	for _, kinds := range [][]signals.TrainedSignal{
		{w.contentPrior, w.residual}, {w.residual, w.contentPrior},
	} {
		var loader signals.Loader
		loaded := map[string]ranker.Signal{}
		for _, s := range kinds {
			var err error
			if loaded[s.Kind()], err = loader.Load(s.Kind(), s.Encode()); err != nil {
				t.Fatal(err)
			}
		}
		residual := loaded[signals.KindResidualGP].(*signals.ResidualGP)
		if residual.Prior != loaded[signals.KindContentPrior] {
			t.Error("the signals have two content priors")
		}
	}
}
