package finetuned_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/viterin/vek/vek32"

	"relish/embeddings"
	"relish/embeddings/finetuned"
	"relish/embeddings/onnx"
	"relish/embeddings/vectortable"
	"relish/internal/onnxtest"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/scorer"
	"relish/ranker/signals"
)

// catalogue is the items that a pool encodes. The first failures walks over it fail.
type catalogue struct {
	mu       sync.Mutex
	items    []*ranker.ItemInfo
	failures int
}

func (c *catalogue) all(context.Context) iter.Seq2[*ranker.ItemInfo, error] {
	return func(yield func(*ranker.ItemInfo, error) bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.failures > 0 {
			c.failures--
			yield(nil, errors.New("the disk is gone"))
			return
		}
		for _, it := range c.items {
			if !yield(it, nil) {
				return
			}
		}
	}
}

func item(i int) *ranker.ItemInfo {
	title := fmt.Sprint("a puzzle about number ", i)
	return ranker.NewItemInfo(ranker.Item{ID: fmt.Sprint("i", i), Title: title}, nil)
}

func items(n int) (out []*ranker.ItemInfo) {
	for i := range n {
		out = append(out, item(i))
	}
	return out
}

// eventually waits until ok returns true; the test fails after two minutes.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen within two minutes: %s", what)
		}
	}
}

// newPool returns a pool whose fine-tuned encoders have their vectors in dir. The server's own
// encoder keeps its vectors in memory.
func newPool(t testing.TB, c *catalogue, dir string) *finetuned.EncoderPool {
	t.Helper()
	opt := finetuned.Options{
		Runtime: onnxtest.Start(t),
		Encoder: onnx.EncoderOptions{Device: "cpu", Sessions: 1},
		Vectors: embeddings.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)},
	}
	inMemory := opt
	inMemory.Vectors.Dir = ""
	base, err := finetuned.New(t.Context(), encoderFiles(t, "int8", ""), inMemory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = base.Close(context.Background()) })
	return finetuned.NewEncoderPool(opt, base.Service, c.all)
}

// An open encoder encodes the catalogue, and later new items. Bundles with the same encoder share
// it.
func TestEncoderPool(t *testing.T) {
	dir, m := writeEncoder(t, "a game: ")
	c := &catalogue{items: items(40), failures: 1}
	pool := newPool(t, c, t.TempDir())
	v, err := pool.Acquire(t.Context(), dir, m)
	if err != nil {
		t.Fatal(err)
	}
	again, err := pool.Acquire(t.Context(), dir, m)
	if err != nil || len(pool.Digests()) != 1 {
		t.Fatalf("digests %v, %v", pool.Digests(), err)
	}
	<-pool.Changed()
	if w := v.Waiting() + again.Waiting(); w != "" {
		t.Errorf("waiting: %s", w)
	}
	out := make([][]float32, 40)
	if missing := v.Lookup(c.items, out); missing != 0 {
		t.Errorf("%d vectors are missing", missing)
	}
	base := onnxtest.EncodeTexts(t, encoderFiles(t, "int8", ""), c.items[0].Body())[0]
	if vek32.Dot(base, out[0]) > 0.9999 {
		t.Error("the vector is the base encoder's")
	}
	added := []*ranker.ItemInfo{item(1000)}
	pool.Enqueue(added)
	eventually(t, "a new item has a vector", func() bool {
		return again.Lookup(added, make([][]float32, 1)) == 0
	})
	if err := pool.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := pool.Acquire(t.Context(), dir, m); !errors.Is(err, embeddings.ErrClosed) {
		t.Errorf("acquired after Close: %v", err)
	}
}

// An encoder is closed after its last user has released it. Acquired again, it has its vectors.
func TestEncoderIsClosedAfterTheLastRelease(t *testing.T) {
	dir, m := writeEncoder(t, "")
	c, tables := &catalogue{items: items(20)}, t.TempDir()
	pool := newPool(t, c, tables)
	sessions := onnxtest.Start(t).OpenSessions()
	first, err := pool.Acquire(t.Context(), dir, m)
	if err != nil {
		t.Fatal(err)
	}
	second, err := pool.Acquire(t.Context(), dir, m)
	if err != nil {
		t.Fatal(err)
	}
	<-pool.Changed()
	first.Release()
	if second.Lookup(c.items, make([][]float32, 20)) != 0 || len(pool.Digests()) != 1 {
		t.Error("the encoder was closed while a user holds it")
	}
	before := pool.Stats()
	second.Release()
	if n := len(pool.Digests()); n != 0 {
		t.Errorf("%d encoders are open", n)
	}
	eventually(t, "the encoder is closed", func() bool {
		return pool.Stats().CacheLimit == 0 && onnxtest.Start(t).OpenSessions() == sessions
	})
	if after := pool.Stats(); before.Encodes != 20 || after.Encodes != 20 ||
		after.Hits < before.Hits {
		t.Errorf("counters fell from %+v to %+v", before, after)
	}
	if err := pool.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	pool = newPool(t, c, tables)
	defer pool.Close(t.Context())
	again, err := pool.Acquire(t.Context(), dir, m)
	if err != nil {
		t.Fatal(err)
	}
	if missing := again.Lookup(c.items, make([][]float32, 20)); missing != 0 {
		t.Errorf("%d vectors have to be encoded again", missing)
	}
}

// A bundle brings the vectors of its encoder: the pool has nothing to encode. Another bundle of the
// same encoder adds its own.
func TestBundleBringsItsVectors(t *testing.T) {
	dir, m := writeEncoder(t, "a game: ")
	all := items(300)
	train := func(dir string, items []*ranker.ItemInfo) {
		t.Helper()
		v, err := finetuned.New(t.Context(), encoderFiles(t, "int8", "a game: "), finetuned.Options{
			Runtime: onnxtest.Start(t),
			Encoder: onnx.EncoderOptions{Device: "cpu", Sessions: 1},
			Vectors: embeddings.Options{Dir: dir},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := v.EncodeAll(t.Context(), func(yield func(*ranker.ItemInfo, error) bool) {
			for _, it := range items {
				if !yield(it, nil) {
					return
				}
			}
		}, nil); err != nil {
			t.Fatal(err)
		}
		if err := v.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	train(dir, all[:200])
	c := &catalogue{items: all[:200]}
	pool := newPool(t, c, t.TempDir())
	defer pool.Close(t.Context())
	v, err := pool.Acquire(t.Context(), dir, m)
	if err != nil {
		t.Fatal(err)
	}
	if w := v.Waiting(); w != "" {
		t.Errorf("a bundle with all vectors waits for %s", w)
	}
	<-pool.Changed() // every text has been looked at
	next, m := writeEncoder(t, "a game: ")
	train(next, all)
	again, err := pool.Acquire(t.Context(), next, m)
	if err != nil {
		t.Fatal(err)
	}
	if missing := again.Lookup(all, make([][]float32, 300)); missing != 0 {
		t.Errorf("%d vectors of the second bundle are missing", missing)
	}
	if n := pool.Stats().Encodes; n != 0 {
		t.Errorf("%d texts were encoded again", n)
	}
}

// Vectors that cannot be read cost time, and no bundle.
func TestDamagedVectorsAreEncodedAgain(t *testing.T) {
	dir, m := writeEncoder(t, "")
	path := vectortable.Path(dir, m.Encoder.Digest)
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	pool := newPool(t, &catalogue{items: items(20)}, t.TempDir())
	defer pool.Close(t.Context())
	v, err := pool.Acquire(t.Context(), dir, m)
	if err != nil {
		t.Fatal(err)
	}
	<-pool.Changed()
	if w := v.Waiting(); w != "" || pool.Stats().Encodes != 20 {
		t.Errorf("waiting for %q, %d texts encoded, want 20", w, pool.Stats().Encodes)
	}
}

// The server's own encoder is waited for as well.
func TestEncodeBase(t *testing.T) {
	pool := newPool(t, &catalogue{items: items(40)}, t.TempDir())
	defer pool.Close(t.Context())
	if pool.BaseWaiting() == "" {
		t.Error("nothing is waited for before the texts are counted")
	}
	pool.EncodeBase(t.Context())
	<-pool.Changed()
	if w := pool.BaseWaiting(); w != "" {
		t.Errorf("waiting for %s", w)
	}
}

// Close ends an encoding that is under way.
func TestCloseEndsEncoding(t *testing.T) {
	dir, m := writeEncoder(t, "")
	pool := newPool(t, &catalogue{items: items(5000)}, t.TempDir())
	v, err := pool.Acquire(t.Context(), dir, m)
	if err != nil {
		t.Fatal(err)
	}
	if v.Waiting() == "" {
		t.Error("5,000 texts are encoded at once")
	}
	if err := pool.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// features gives every candidate the item of its id and no counters.
type features struct{ items map[string]*ranker.ItemInfo }

func (f features) Read(_ context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
	s := &ranker.RequestState{
		ItemsRead: len(q.Candidates),
		Columns:   make([]float32, len(q.Candidates)*len(q.Schema.Columns())),
	}
	for _, c := range q.Candidates {
		s.Items = append(s.Items, f.items[c.ID])
	}
	return s, nil
}

// Models are activated one after another while requests rank with them. No request fails, and in
// the end every native session that was opened is closed.
func TestNoSessionLeaks(t *testing.T) {
	rt := onnxtest.Start(t)
	root, c := t.TempDir(), &catalogue{items: items(10)}
	pool := newPool(t, c, t.TempDir())
	before := rt.OpenSessions()
	schema, err := scorer.PriorSchema(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	priorScorer, err := scorer.NewPrior(schema, nil)
	if err != nil {
		t.Fatal(err)
	}
	prior := &ranker.Model{
		Version: ranker.PriorVersion, Schema: schema, Scorer: priorScorer,
		Signals: []ranker.Signal{signals.TextSimilarity{}, signals.TokenOverlap{}},
	}
	var versions []string
	for i := range 3 { // more than stay loaded, so that each activation opens an encoder
		versions = append(versions, writeBundle(t, root, prior, fmt.Sprintf("%d: ", i)))
	}
	registry, err := bundle.Open(t.Context(), bundle.Options{
		Root: root, Prior: prior, LoadSignal: new(signals.Loader).Load, Encoders: pool,
		Probe: func(context.Context, string) error { return nil },
		Log:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]*ranker.ItemInfo{}
	for _, it := range c.items {
		byID[it.ID] = it
	}
	pipeline, err := ranker.New(ranker.Options{Features: features{byID}, Models: registry})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var background sync.WaitGroup
	background.Go(func() { registry.Run(ctx) })
	var requests atomic.Int64
	for range 2 {
		background.Go(func() {
			for ctx.Err() == nil {
				// Short deadlines leave calls behind that still use a model when it is retired.
				req := &ranker.Request{
					User:     "u",
					Deadline: time.Duration(1+requests.Load()%20) * time.Millisecond,
				}
				for id := range byID {
					req.Candidates = append(req.Candidates, ranker.Candidate{ID: id})
				}
				if _, err := pipeline.Rank(context.Background(), req); err != nil {
					t.Error(err)
				}
				requests.Add(1)
			}
		})
	}
	for i := range 5 {
		version := versions[i%len(versions)]
		if err := registry.Activate(t.Context(), version, "test", ""); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the activated bundle is served",
			func() bool { return registry.Stats().Active == version })
		served := requests.Load()
		eventually(t, "requests go on", func() bool { return requests.Load() > served+4 })
	}
	eventually(t, "retired models are closed", func() bool { return registry.Stats().Open <= 2 })
	stop()
	background.Wait()
	if err := errors.Join(pipeline.Close(t.Context()), registry.Close(t.Context()),
		pool.Close(t.Context())); err != nil {
		t.Error(err)
	}
	if n := rt.OpenSessions(); n != before {
		t.Errorf("%d sessions are open, %d were before", n, before)
	}
	if n := registry.Stats().Open; n != 0 {
		t.Errorf("%d bundles are open", n)
	}
}

// writeBundle writes a bundle of the prior with a fine-tuned encoder of its own.
func writeBundle(t *testing.T, root string, prior *ranker.Model, prompt string) (version string) {
	t.Helper()
	files, encoder := bundleFiles(t, prompt)
	in := &ranker.SignalInput{
		Request: &ranker.Request{User: "u", Candidates: []ranker.Candidate{{ID: "i0"}}},
		State: &ranker.RequestState{
			Items:   items(1),
			Columns: make([]float32, len(prior.Schema.Columns())),
		},
		ItemVectors: [][]float32{nil},
	}
	c, err := bundle.RecordProbe(t.Context(), prior, in)
	if err != nil {
		t.Fatal(err)
	}
	if files[bundle.SchemaFile], err = bundle.FormatSchema(prior.Schema); err != nil {
		t.Fatal(err)
	}
	if files[bundle.ProbeFile], err = bundle.EncodeProbe(nil, []bundle.ProbeCase{c}); err != nil {
		t.Fatal(err)
	}
	files["prior.json"] = []byte(`{"tables":[]}`)
	version, err = bundle.Write(root, bundle.Manifest{
		Encoder: encoder,
		Signals: []bundle.SignalFile{{Kind: signals.KindText}, {Kind: signals.KindTokenOverlap}},
		Scorer:  bundle.ScorerFile{Kind: bundle.ScorerPrior, File: "prior.json"},
	}, files)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Verify(filepath.Join(root, version)); err != nil {
		t.Fatal(err)
	}
	return version
}
