package signals_test

import (
	"slices"
	"strings"
	"testing"

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
