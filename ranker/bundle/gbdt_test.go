package bundle_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/scorer"
	"relish/ranker/signals"
)

// gbdtText returns a model of one split, on the last column.
func gbdtText(columns int) []byte {
	return fmt.Appendf(nil, `tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=%d
objective=lambdarank
tree_sizes=300

Tree=0
num_leaves=2
num_cat=0
split_feature=%d
split_gain=1
threshold=0.4
decision_type=10
left_child=-1
right_child=-2
leaf_value=-0.5 1.25
leaf_weight=1 1
leaf_count=3 2
internal_value=0
internal_weight=0
internal_count=5
is_linear=0
shrinkage=1

end of trees
`, columns-1, columns-1)
}

// A bundle with a gbdt scorer gives the scores recorded at training. It is refused with a schema of
// another width.
func TestGBDTBundle(t *testing.T) {
	s := schema()
	trees, err := scorer.ParseLightGBM(gbdtText(len(s.Columns())), len(s.Columns()))
	if err != nil {
		t.Fatal(err)
	}
	model := &ranker.Model{
		Schema:  s,
		Scorer:  trees,
		Signals: []ranker.Signal{signals.TextSimilarity{}, signals.TokenOverlap{}},
	}
	c, err := bundle.RecordProbe(t.Context(), model, input())
	if err != nil {
		t.Fatal(err)
	}
	if want := "[1.25 1.25 -0.5 -0.5 -0.5]"; fmt.Sprint(c.Scores) != want {
		t.Errorf("recorded %v, want %s", c.Scores, want)
	}
	columns := len(s.Columns())
	for width, want := range map[int]string{columns: "", columns + 1: "the schema has"} {
		root := t.TempDir()
		v := write(t, root, 1, func(m *bundle.Manifest, files map[string][]byte) {
			m.Scorer = bundle.ScorerFile{Kind: bundle.ScorerGBDT, File: "gbdt.txt"}
			files["gbdt.txt"] = gbdtText(width)
			files[bundle.ProbeFile], err = bundle.EncodeProbe(nil, []bundle.ProbeCase{c})
			if err != nil {
				t.Fatal(err)
			}
		})
		err := inProcess(t.Context(), filepath.Join(root, v))
		if want == "" && err != nil ||
			want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d columns: %v, want %q", width, err, want)
		}
	}
	// Trees that give other scores than recorded are refused.
	root := t.TempDir()
	v := write(t, root, 1, func(m *bundle.Manifest, files map[string][]byte) {
		m.Scorer = bundle.ScorerFile{Kind: bundle.ScorerGBDT, File: "gbdt.txt"}
		text := string(gbdtText(len(s.Columns())))
		files["gbdt.txt"] = []byte(strings.Replace(text, "threshold=0.4", "threshold=0.6", 1))
		files[bundle.ProbeFile], _ = bundle.EncodeProbe(nil, []bundle.ProbeCase{c})
	})
	if err := inProcess(t.Context(), filepath.Join(root, v)); err == nil ||
		!strings.Contains(err.Error(), "candidate 1 has the score -0.5, recorded was 1.25") {
		t.Errorf("with another threshold: %v", err)
	}
}

// A learned signal is loaded from its file and writes the column that the trees read.
func TestLearnedSignalBundle(t *testing.T) {
	s, err := ranker.NewSchema([]ranker.Feature{
		{Name: "with", Kind: ranker.KindSignal, Column: "cooccurrence.with"},
	})
	if err != nil {
		t.Fatal(err)
	}
	learned := &signals.Cooccurrence{
		Items:       ranker.NewItemTable([]string{"i0", "i2", "i9"}),
		Counts:      []float32{4, 4, 4},
		First:       []int32{0, 0, 0, 2},
		Neighbors:   []int32{0, 1},
		NextCounts:  []float32{0.1, 3},
		JointCounts: []float32{0.1, 300},
	}
	trees, err := scorer.ParseLightGBM(gbdtText(1), 1)
	if err != nil {
		t.Fatal(err)
	}
	in := input()
	// There is one column, which is missing until the signal writes it.
	in.State.Columns = in.State.Columns[:candidates]
	c, err := bundle.RecordProbe(t.Context(),
		&ranker.Model{Schema: s, Scorer: trees, Signals: []ranker.Signal{learned}}, in)
	if err != nil {
		t.Fatal(err)
	}
	if want := "[-0.5 -0.5 1.25 -0.5 -0.5]"; fmt.Sprint(c.Scores) != want {
		t.Errorf("recorded %v, want %s", c.Scores, want)
	}
	root := t.TempDir()
	v := write(t, root, 1, func(m *bundle.Manifest, files map[string][]byte) {
		m.Scorer = bundle.ScorerFile{Kind: bundle.ScorerGBDT, File: "gbdt.txt"}
		m.Signals = []bundle.SignalFile{{Kind: learned.Kind(), File: "cooccurrence.bin"}}
		files["gbdt.txt"], files["cooccurrence.bin"] = gbdtText(1), learned.Encode()
		if files[bundle.SchemaFile], err = bundle.FormatSchema(s); err != nil {
			t.Fatal(err)
		}
		files[bundle.ProbeFile], err = bundle.EncodeProbe(nil, []bundle.ProbeCase{c})
		if err != nil {
			t.Fatal(err)
		}
	})
	if err := inProcess(t.Context(), filepath.Join(root, v)); err != nil {
		t.Error(err)
	}
}
