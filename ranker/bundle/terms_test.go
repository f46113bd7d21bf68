package bundle_test

import (
	"path/filepath"
	"testing"

	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/signals"
)

// A recorded case with a Chinese text is left out if the bundle is older than the present terms:
// its scores were computed from other terms.
func TestProbeLeavesOutOlderTerms(t *testing.T) {
	root := t.TempDir()
	load := func(version string) *bundle.Bundle {
		b, err := bundle.Load(filepath.Join(root, version), new(signals.Loader).Load)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	model := load(write(t, root, 1, nil)).Model
	b := load(write(t, root, 2, func(_ *bundle.Manifest, files map[string][]byte) {
		in := input()
		in.Query = ranker.NewItemInfo(ranker.Item{Title: "黑猫警长"}, ranker.TextSpec{"title"})
		c, err := bundle.RecordProbe(t.Context(), model, in)
		if err != nil {
			t.Fatal(err)
		}
		c.Scores[0]++
		files[bundle.ProbeFile], err = bundle.EncodeProbe(nil, []bundle.ProbeCase{c})
		if err != nil {
			t.Fatal(err)
		}
	}))
	if err := b.Probe(t.Context()); err == nil {
		t.Error("a wrong score is accepted")
	}
	b.Manifest.Terms = 0
	if err := b.Probe(t.Context()); err != nil {
		t.Errorf("a bundle of older terms: %v", err)
	}
}
