package ranker_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relish/ranker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBroken = errors.New("broken")

// The dependencies are functions, so that each test states only what differs in it.
type (
	readFunc    func(context.Context, *ranker.FeatureQuery) (*ranker.RequestState, error)
	vectorsFunc func(context.Context, []*ranker.ItemInfo, [][]float32)
	recordFunc  func(*ranker.Event)
	ruleFunc    func(*ranker.List) error
)

func (f readFunc) Read(
	ctx context.Context, q *ranker.FeatureQuery,
) (*ranker.RequestState, error) {
	return f(ctx, q)
}

func (f vectorsFunc) Fetch(ctx context.Context, items []*ranker.ItemInfo, out [][]float32) {
	f(ctx, items, out)
}

// Lookup finds nothing, so that every vector has to be fetched.
func (f vectorsFunc) Lookup(items []*ranker.ItemInfo, out [][]float32) (missing int) {
	for i, it := range items {
		out[i] = nil
		if it != nil && it.TextKey != 0 {
			missing++
		}
	}
	return missing
}

// HasText implements ranker.Vectors.
func (vectorsFunc) HasText(it *ranker.ItemInfo) bool { return it != nil && it.TextKey != 0 }

func (f recordFunc) Record(e *ranker.Event) { f(e) }

func (ruleFunc) Name() string { return "test rule" }

func (f ruleFunc) Apply(_ context.Context, l *ranker.List) error { return f(l) }

// reverse is a rule that reverses the list.
var reverse = ruleFunc(func(l *ranker.List) error {
	slices.Reverse(l.Entries)
	return nil
})

// keepIndex returns a rule that keeps the entries whose index passes keep.
func keepIndex(keep func(index int) bool) ruleFunc {
	return func(l *ranker.List) error {
		drop := func(e ranker.Entry) bool { return !keep(e.Index) }
		l.Entries = slices.DeleteFunc(l.Entries, drop)
		return nil
	}
}

// textSignal writes one column, "text": the first component of the item's vector.
type textSignal struct {
	before func(context.Context) error // called first, if not nil
}

func (textSignal) Columns() []string { return []string{"text"} }

func (s textSignal) Compute(ctx context.Context, in *ranker.SignalInput, out []float32) error {
	if s.before != nil {
		if err := s.before(ctx); err != nil {
			return err
		}
	}
	for i, v := range in.ItemVectors {
		out[i] = float32(math.NaN())
		if v != nil {
			out[i] = v[0]
		}
	}
	return nil
}

// sum is a scorer: base plus the sum of a row's cells, where a missing cell counts 0.
type sum struct {
	before func() error // called first, if not nil
	base   float64
}

// failing is a scorer that returns an error.
var failing = sum{before: func() error { return errBroken }}

func (s sum) Score(m *ranker.Matrix, out []float64) error {
	if s.before != nil {
		if err := s.before(); err != nil {
			return err
		}
	}
	for i := range m.N {
		contributions := make([]float64, len(m.Columns))
		score, _ := s.Explain(m, i, contributions)
		for _, c := range contributions {
			score += c
		}
		out[i] = score
	}
	return nil
}

func (s sum) Explain(m *ranker.Matrix, row int, out []float64) (float64, error) {
	for c, x := range m.Row(row) {
		if x == x {
			out[c] = float64(x)
		}
	}
	return s.base, nil
}

// tunable is the sum times a parameter.
type tunable struct {
	sum
	times float64
}

func (s tunable) Tune(params map[string]float64) (ranker.Scorer, error) {
	x, ok := params["times"]
	if !ok {
		return nil, errBroken
	}
	s.times = x
	return s, nil
}

func (s tunable) Score(m *ranker.Matrix, out []float64) error {
	err := s.sum.Score(m, out)
	for i := range out {
		out[i] *= s.times
	}
	return err
}

// models has "main", its fallback "previous", and others by their versions.
type models struct {
	main, previous *ranker.Model
	others         map[string]*ranker.Model
}

func (m models) Acquire(version string) (*ranker.Model, error) {
	found := m.others[version]
	switch {
	case found != nil:
	case version == "" || version == m.main.Version:
		found = m.main
	case m.previous != nil && version == m.previous.Version:
		found = m.previous
	default:
		return nil, fmt.Errorf("%w %q", ranker.ErrUnknownModel, version)
	}
	if !found.Acquire() {
		return nil, fmt.Errorf("%w %q: it is closed", ranker.ErrUnknownModel, version)
	}
	return found, nil
}

func (m models) Fallbacks(string) []string {
	if m.previous == nil {
		return nil
	}
	return []string{m.previous.Version}
}

func schema(t testing.TB) *ranker.Schema {
	t.Helper()
	s, err := ranker.NewSchema([]ranker.Feature{
		{Name: "quality", Kind: ranker.KindNumber, Field: "quality"},
		{Name: "text", Kind: ranker.KindSignal, Column: "text"},
		{Name: "retrieval", Kind: ranker.KindRetrieval},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// world is a pipeline over n items. Item i has quality i/n, and a text vector whose first component
// is its text score, 7 i mod n.
type world struct {
	items   map[string]*ranker.ItemInfo
	text    map[uint64]float32 // text scores by TextKey
	opt     ranker.Options
	models  models
	events  []*ranker.Event
	records []*ranker.Impression // of events
	errs    []error              // of the last ranking
}

func newWorld(t testing.TB, n int) *world {
	w := &world{items: map[string]*ranker.ItemInfo{}, text: map[uint64]float32{}}
	for i := range n {
		id := fmt.Sprintf("i%03d", i)
		quality := ranker.NumberValue(float64(i) / float64(n))
		it := ranker.NewItemInfo(ranker.Item{
			ID:     id,
			Title:  "title of " + id,
			Fields: map[string]ranker.FieldValue{"quality": quality},
		}, nil)
		w.items[id] = it
		w.text[it.TextKey] = float32((i * 7) % n)
	}
	w.models.main = &ranker.Model{
		Version: "main",
		Schema:  schema(t),
		Signals: []ranker.Signal{textSignal{}},
		Scorer:  sum{},
	}
	w.opt = ranker.Options{
		Features: readFunc(w.read),
		Vectors:  vectorsFunc(w.vectors),
		Recorder: recordFunc(func(e *ranker.Event) {
			w.events, w.records = append(w.events, e), append(w.records, e.Impression)
		}),
		OnRanked: func(_ *ranker.Request, _ *ranker.Response, errs []error) { w.errs = errs },
	}
	return w
}

// with returns a copy of the main model with another version and scorer.
func (w *world) with(version string, scorer ranker.Scorer) *ranker.Model {
	m := *w.models.main
	m.Version, m.Scorer = version, scorer
	return &m
}

// addModel lets requests and arms name the model.
func (w *world) addModel(m *ranker.Model) *ranker.Model {
	w.models.others = map[string]*ranker.Model{m.Version: m}
	return m
}

func (w *world) read(_ context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
	n, width := len(q.Candidates), len(q.Schema.Columns())
	state := &ranker.RequestState{
		Seq:       42,
		Items:     make([]*ranker.ItemInfo, n),
		ItemsRead: n,
		Columns:   make([]float32, n*width),
	}
	for i := range state.Columns {
		state.Columns[i] = float32(math.NaN())
	}
	for i, c := range q.Candidates {
		if it := w.items[c.ID]; it != nil {
			state.Items[i] = it
			quality, _ := it.Field("quality")
			state.Columns[i*width] = float32(quality.Num)
		}
	}
	return state, nil
}

// reading lets change alter the state that is read.
func (w *world) reading(change func(*ranker.RequestState)) {
	w.opt.Features = readFunc(func(
		ctx context.Context, q *ranker.FeatureQuery,
	) (*ranker.RequestState, error) {
		state, err := w.read(ctx, q)
		change(state)
		return state, err
	})
}

// failFeatures lets every read call f, and then fail.
func (w *world) failFeatures(f func()) {
	w.opt.Features = readFunc(func(
		context.Context, *ranker.FeatureQuery,
	) (*ranker.RequestState, error) {
		f()
		return nil, errBroken
	})
}

func (w *world) vectors(_ context.Context, items []*ranker.ItemInfo, out [][]float32) {
	for i, it := range items {
		if it != nil && it.TextKey != 0 {
			out[i] = []float32{w.text[it.TextKey], 0}
		}
	}
}

// request returns a request for the first n items.
func (w *world) request(n int) *ranker.Request {
	req := &ranker.Request{ID: "request-1", User: "u1", Record: true, Deadline: 2 * time.Second}
	for i := range n {
		req.Candidates = append(req.Candidates, ranker.Candidate{ID: fmt.Sprintf("i%03d", i)})
	}
	return req
}

func (w *world) pipeline(t testing.TB) *ranker.Pipeline {
	t.Helper()
	w.opt.Models = w.models
	p, err := ranker.New(w.opt)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (w *world) rank(t testing.TB, req *ranker.Request) *ranker.Response {
	t.Helper()
	resp, err := w.pipeline(t).Rank(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func ids(resp *ranker.Response) (ids []string) {
	for _, it := range resp.Items {
		ids = append(ids, it.ID)
	}
	return ids
}

// checkComplete checks what holds for every answer without filters and limit: each candidate once,
// ranks from 1, finite scores.
func checkComplete(t *testing.T, req *ranker.Request, resp *ranker.Response) {
	t.Helper()
	seen := map[string]bool{}
	for i, it := range resp.Items {
		if seen[it.ID] || it.Rank != i+1 || it.Score-it.Score != 0 {
			t.Fatalf("item %d: %+v", i, it)
		}
		seen[it.ID] = true
	}
	if len(seen) != len(req.Candidates) {
		t.Fatalf("%d of %d candidates answered", len(seen), len(req.Candidates))
	}
	if resp.Degraded == nil || resp.Experiments == nil {
		t.Errorf("degraded %v and experiments %v must not be nil", resp.Degraded, resp.Experiments)
	}
}
