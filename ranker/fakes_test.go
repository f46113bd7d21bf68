package ranker_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relish/ranker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBroken = errors.New("broken")

// The parts are functions, so that each case says only what is different about it.
type (
	readFunc    func(context.Context, *ranker.FeatureQuery) (*ranker.RequestState, error)
	vectorsFunc func(context.Context, []*ranker.ItemInfo, [][]float32)
	recordFunc  func(*ranker.Event)
	stepFunc    func(*ranker.List) error
)

func (f readFunc) Read(ctx context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
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

func (f recordFunc) Record(e *ranker.Event) { f(e) }

func (stepFunc) Name() string { return "test step" }

func (f stepFunc) Apply(_ context.Context, l *ranker.List) error { return f(l) }

// matcher gives one column, "text": the first component of the item's vector.
type matcher struct {
	before func(context.Context) error
}

func (matcher) Columns() []string { return []string{"text"} }

func (m matcher) Compute(ctx context.Context, in *ranker.SignalInput, out []float32) error {
	if m.before != nil {
		if err := m.before(ctx); err != nil {
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

// sum adds a row's cells up, a missing one counting nothing.
type sum struct {
	before func() error
	base   float64
}

func (s sum) Score(m *ranker.Matrix, out []float64) error {
	if s.before != nil {
		if err := s.before(); err != nil {
			return err
		}
	}
	for i := range m.N {
		parts := make([]float64, len(m.Columns))
		base, _ := s.Explain(m, i, parts)
		for _, p := range parts {
			base += p
		}
		out[i] = base
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

// models serves "main" with a fallback "previous", and others by their names.
type models struct {
	main, previous *ranker.Model
	others         map[string]*ranker.Model
}

func (m models) Acquire(name string) (*ranker.Model, error) {
	found := m.others[name]
	switch {
	case found != nil:
	case name == "" || name == m.main.Version:
		found = m.main
	case m.previous != nil && name == m.previous.Version:
		found = m.previous
	default:
		return nil, fmt.Errorf("%w %q", ranker.ErrUnknownModel, name)
	}
	if !found.Acquire() {
		return nil, fmt.Errorf("%w %q: it is closed", ranker.ErrUnknownModel, name)
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

// world is a pipeline over n items of which all is known: item i has quality i/n, and a text vector
// whose first component is the item's text score.
type world struct {
	items   map[string]*ranker.ItemInfo
	text    map[uint64]float32
	opt     ranker.Options
	models  models
	events  []*ranker.Event
	records []*ranker.Impression // of events
	errs    []error
}

func newWorld(t testing.TB, n int) *world {
	w := &world{items: map[string]*ranker.ItemInfo{}, text: map[uint64]float32{}}
	for i := range n {
		id := fmt.Sprintf("i%03d", i)
		it := ranker.NewItemInfo(ranker.Item{ID: id, Title: "title of " + id,
			Fields: map[string]ranker.FieldValue{"quality": ranker.NumberValue(float64(i) / float64(n))}}, nil)
		w.items[id] = it
		w.text[it.TextKey] = float32((i * 7) % n)
	}
	s := schema(t)
	w.models.main = &ranker.Model{Version: "main", Schema: s, Signals: []ranker.Signal{matcher{}}, Scorer: sum{}}
	w.opt = ranker.Options{
		Features: readFunc(w.read),
		Vectors:  vectorsFunc(w.vectors),
		Recorder: recordFunc(func(e *ranker.Event) {
			w.events, w.records = append(w.events, e), append(w.records, e.Impression)
		}),
		Observe: func(_ *ranker.Request, _ *ranker.Response, errs []error) { w.errs = errs },
	}
	return w
}

func (w *world) read(_ context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
	width := len(q.Schema.Columns())
	st := &ranker.RequestState{Seq: 42, Items: make([]*ranker.ItemInfo, len(q.Candidates)), ItemsRead: len(q.Candidates),
		Columns: make([]float32, len(q.Candidates)*width)}
	for i := range st.Columns {
		st.Columns[i] = float32(math.NaN())
	}
	for i, c := range q.Candidates {
		if it := w.items[c.ID]; it != nil {
			st.Items[i] = it
			st.Columns[i*width] = float32(it.Fields["quality"].Num)
		}
	}
	return st, nil
}

func (w *world) vectors(_ context.Context, items []*ranker.ItemInfo, out [][]float32) {
	for i, it := range items {
		if it != nil && it.TextKey != 0 {
			out[i] = []float32{w.text[it.TextKey], 0}
		}
	}
}

func (w *world) request(n int) *ranker.Request {
	req := &ranker.Request{ID: "request-1", User: "u1", Record: true, Deadline: 2 * time.Second}
	for i := range n {
		req.Candidates = append(req.Candidates, ranker.Candidate{ID: fmt.Sprintf("i%03d", i)})
	}
	return req
}

func (w *world) rank(t testing.TB, req *ranker.Request) *ranker.Response {
	t.Helper()
	w.opt.Models = w.models
	p, err := ranker.New(w.opt)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.Rank(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}
