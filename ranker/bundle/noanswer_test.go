package bundle_test

import (
	"path/filepath"
	"strings"
	"testing"

	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/signals"
)

// The model of a bundle has the estimate of the manifest. One that cannot be used is refused.
func TestNoAnswerIsKept(t *testing.T) {
	root := t.TempDir()
	want := ranker.NoAnswer{Column: "text.query", Slope: 3, Offset: -1, Threshold: 0.4}
	version := write(t, root, 2, func(m *bundle.Manifest, _ map[string][]byte) {
		m.NoAnswer = &want
	})
	b, err := bundle.Load(filepath.Join(root, version), new(signals.Loader).Load)
	if err != nil || b.Model.NoAnswer == nil || *b.Model.NoAnswer != want {
		t.Errorf("loaded with the estimate %v: %v", b.Model.NoAnswer, err)
	}
	m, files := parts(2)
	m.NoAnswer = &ranker.NoAnswer{Threshold: 2}
	if _, err := bundle.Write(root, m, files); err == nil ||
		!strings.Contains(err.Error(), "threshold from 0 to 1") {
		t.Errorf("a threshold of 2 gives %v", err)
	}
}
