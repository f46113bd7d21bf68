package app

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"relish/ranker"
	"relish/ranker/scorer"
)

// Every stage has its own time series.
func TestPipelineMetrics(t *testing.T) {
	p, err := ranker.New(ranker.Options{
		Features: struct{ ranker.StateReader }{},
		Models:   scorer.SingleModel(&ranker.Model{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registerPipeline(registry, p)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != 4 {
		t.Fatalf("%d metrics, want 4", len(families))
	}
	for _, f := range families {
		if f.GetName() == "relish_rankings_not_shown_total" {
			continue // of all stages together
		}
		for i, want := range []string{"features", "scorer", "vectors"} {
			if got := f.Metric[i].Label[0].GetValue(); got != want || len(f.Metric) != 3 {
				t.Errorf("%s: stage %d of %d is %q, want %q", f.GetName(), i, len(f.Metric), got,
					want)
			}
		}
	}
}
