package classifier_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"relish/embeddings/classifier"
	"relish/ranker"
	"relish/ranker/bundle"
)

// encoder gives "bread" and "money" their vectors, and no vector for the empty text.
type encoder struct {
	queued *[]*ranker.ItemInfo // receives what is encoded in the background
}

func (e encoder) Texts(_ context.Context, texts []string) ([][]float32, error) {
	out := make([][]float32, len(texts))
	for i, text := range texts {
		switch {
		case strings.Contains(text, "money"):
			out[i] = []float32{0, 1}
		case text != "":
			out[i] = []float32{1, 0}
		}
	}
	return out, nil
}

func (e encoder) Lookup(items []*ranker.ItemInfo, out [][]float32) (missing int) {
	for i, it := range items {
		vectors, _ := e.Texts(context.Background(), []string{it.Body()})
		if out[i] = vectors[0]; strings.Contains(it.Body(), "later") {
			out[i] = nil
			missing++
			continue
		}
	}
	return missing
}

func (e encoder) Enqueue(items []*ranker.ItemInfo) int {
	if e.queued != nil {
		*e.queued = append(*e.queued, items...)
	}
	return 0
}

func (e encoder) HasText(it *ranker.ItemInfo) bool { return it.TextKey != 0 }

// write writes a version of a classifier whose first label is called first.
func write(t *testing.T, root, name, first string, change func(*classifier.Manifest)) string {
	t.Helper()
	h := newHead(true)
	h.Labels[0] = first
	m := classifier.Manifest{Name: name, Encoder: bundle.Encoder{ID: "e", Digest: "digest"}}
	if change != nil {
		change(&m)
	}
	files := map[string][]byte{classifier.CardFile: []byte("<p>card")}
	version, err := classifier.Write(root, m, h, []float32{1, 0}, files)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func activate(t *testing.T, root, name, version string) {
	t.Helper()
	if err := bundle.Activate(filepath.Join(root, name), version, "test", "test"); err != nil {
		t.Fatal(err)
	}
}

// open returns a registry that tries versions in this process.
func open(t *testing.T, root string) *classifier.Registry {
	return openWith(t, root, encoder{})
}

func openWith(t *testing.T, root string, e encoder) *classifier.Registry {
	r := classifier.NewRegistry(classifier.Options{
		Root: root, Base: e, BaseDigest: "digest", BaseDim: 2,
		Log: slog.New(slog.DiscardHandler),
		Probe: func(ctx context.Context, dir string) error {
			m, err := classifier.Load(dir)
			if err != nil {
				return err
			}
			return m.Verify(ctx, nil)
		},
	})
	t.Cleanup(r.Close)
	return r
}

func TestRegistryFollowsTheActiveVersion(t *testing.T) {
	ctx, root := t.Context(), t.TempDir()
	r := open(t, root)
	classify := func() (version string, labels []classifier.Label) {
		t.Helper()
		if err := r.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		version, labels, err := r.Classify(ctx, "topic", []string{"loaf", "money", ""})
		if err != nil {
			t.Fatal(err)
		}
		return version, labels
	}
	_, _, err := r.Classify(ctx, "topic", []string{"a"})
	if !errors.Is(err, classifier.ErrUnknown) {
		t.Errorf("without a classifier: %v", err)
	}
	first := write(t, root, "topic", "bread", nil)
	activate(t, root, "topic", first)
	version, labels := classify()
	if version != first || labels[0].Label != "bread" || labels[1].Label != "money" ||
		labels[2] != (classifier.Label{}) || labels[0].Probability < 0.5 {
		t.Errorf("%s %v", version, labels)
	}
	second := write(t, root, "topic", "loaves", nil)
	if version, _ := classify(); version != first {
		t.Errorf("a version that is not active serves: %s", version)
	}
	activate(t, root, "topic", second)
	if version, labels := classify(); version != second || labels[0].Label != "loaves" {
		t.Errorf("%s %v", version, labels)
	}
	_, _, err = r.Classify(ctx, "tpic", []string{"a"})
	if !errors.Is(err, classifier.ErrUnknown) || !strings.Contains(err.Error(), "topic") {
		t.Errorf("unknown name: %v", err)
	}
	if s := r.Stats(); s.Served != 1 || s.Texts != 9 {
		t.Errorf("%+v", s)
	}
}

// A version that cannot be used changes nothing, and the error says why.
func TestRegistryRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*classifier.Manifest)
		spoil  func(t *testing.T, dir string)
		want   string
	}{
		"another encoder": {
			change: func(m *classifier.Manifest) { m.Encoder.Digest = "other" },
			want:   "was trained with the encoder",
		},
		"a changed head": {
			spoil: func(t *testing.T, dir string) {
				path := filepath.Join(dir, classifier.HeadFile)
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				data[len(data)-1] ^= 1
				if err := os.WriteFile(path, data, 0o644); err != nil {
					t.Fatal(err)
				}
			},
			want: "digest differs",
		},
		"a further file": {
			spoil: func(t *testing.T, dir string) {
				if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			},
			want: "not in the manifest",
		},
		"a missing file": {
			spoil: func(t *testing.T, dir string) {
				if err := os.Remove(filepath.Join(dir, classifier.ProbeFile)); err != nil {
					t.Fatal(err)
				}
			},
			want: "missing",
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, root := t.Context(), t.TempDir()
			good := write(t, root, "topic", "bread", nil)
			activate(t, root, "topic", good)
			r := open(t, root)
			if err := r.Sync(ctx); err != nil {
				t.Fatal(err)
			}
			bad := write(t, root, "topic", "loaves", c.change)
			if c.spoil != nil {
				c.spoil(t, filepath.Join(root, "topic", bad))
			}
			activate(t, root, "topic", bad)
			for range 2 {
				err := r.Sync(ctx)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
			}
			version, _, err := r.Classify(ctx, "topic", []string{"a"})
			if version != good || err != nil {
				t.Errorf("%s serves, want %s: %v", version, good, err)
			}
			if s := r.Stats(); s.Refused != 1 || s.Served != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A head of vectors of another length would end the process that labels with it.
func TestRegistryRefusesAnotherLength(t *testing.T) {
	root := t.TempDir()
	h := &classifier.Head{
		Labels: []string{"a", "b"}, Dim: 3, Temperature: 1,
		Weights: make([]float32, 6), Bias: make([]float32, 2),
	}
	m := classifier.Manifest{Name: "topic", Encoder: bundle.Encoder{ID: "e", Digest: "digest"}}
	version, err := classifier.Write(root, m, h, []float32{1, 0, 0}, nil)
	if err != nil {
		t.Fatal(err)
	}
	activate(t, root, "topic", version)
	r := open(t, root)
	if err := r.Sync(t.Context()); err == nil || !strings.Contains(err.Error(), "length 3") {
		t.Error(err)
	}
	if _, _, err := r.Classify(t.Context(), "topic", []string{"a"}); err == nil {
		t.Error("the version serves")
	}
}

// A refused version counts until its folder is removed.
func TestRemovedClassifierIsNotRefused(t *testing.T) {
	root := t.TempDir()
	r := open(t, root)
	version := write(t, root, "topic", "bread", func(m *classifier.Manifest) {
		m.Encoder.Digest = "other"
	})
	activate(t, root, "topic", version)
	if err := r.Sync(t.Context()); err == nil || r.Stats().Refused != 1 {
		t.Error(err, r.Stats())
	}
	if err := os.RemoveAll(filepath.Join(root, "topic")); err != nil {
		t.Fatal(err)
	}
	if err := r.Sync(t.Context()); err != nil || r.Stats().Refused != 0 {
		t.Error(err, r.Stats())
	}
}

func TestFolderOfAnotherName(t *testing.T) {
	root := t.TempDir()
	version := write(t, root, "topic", "bread", nil)
	if err := os.Rename(filepath.Join(root, "topic"), filepath.Join(root, "mood")); err != nil {
		t.Fatal(err)
	}
	_, err := classifier.Load(filepath.Join(root, "mood", version))
	if err == nil || !strings.Contains(err.Error(), `of the classifier "topic"`) {
		t.Error(err)
	}
}

// Items are labelled by the vectors at hand. Those of the others are computed in the background.
func TestClassifyItems(t *testing.T) {
	root := t.TempDir()
	version := write(t, root, "topic", "bread", nil)
	activate(t, root, "topic", version)
	var queued []*ranker.ItemInfo
	r := openWith(t, root, encoder{&queued})
	if err := r.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	var items []*ranker.ItemInfo
	for _, title := range []string{"money", "", "later"} {
		items = append(items, ranker.NewItemInfo(ranker.Item{ID: title, Title: title}, nil))
	}
	labels, waiting, err := r.ClassifyItems("topic", items)
	if err != nil || labels[0].Label != "money" ||
		labels[1] != (classifier.Label{}) || labels[2] != (classifier.Label{}) {
		t.Errorf("%v %v", labels, err)
	}
	if len(queued) != 1 || queued[0] != items[2] || !slices.Equal(waiting, queued) {
		t.Errorf("waiting %v, in the background %v", waiting, queued)
	}
	if s := r.Stats(); s.Texts != 1 {
		t.Errorf("%+v", s)
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"topic": true, "a1_b": true, "": false, "1a": false, "Topic": false, "../x": false,
		"a-b": false, "tags": false, "text": false, "title": false,
		"topic_probability": false, strings.Repeat("a", 41): false,
	} {
		if err := classifier.CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}
