package signals_test

import (
	"slices"
	"strings"
	"testing"

	"relish/ranker/signals"
)

func TestOpen(t *testing.T) {
	for _, c := range []struct {
		kind    string
		data    []byte
		columns []string
		err     string
	}{
		{"text", nil, signals.TextSimilarity{}.Columns(), ""},
		{"overlap", nil, signals.TokenOverlap{}.Columns(), ""},
		{"overlap", []byte{}, nil, "has no file"},
		{"palmistry", nil, nil, `"palmistry" is unknown`},
	} {
		m, err := new(signals.Loader).Load(c.kind, c.data)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want %q", c.kind, err, c.err)
			}
			continue
		}
		if err != nil || !slices.Equal(m.Columns(), c.columns) {
			t.Errorf("%s: %v", c.kind, err)
		}
	}
}
