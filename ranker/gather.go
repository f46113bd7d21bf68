package ranker

import (
	"context"
	"slices"
	"time"

	"relish/internal/parallel"
)

// inputs is what one model reads of a request.
type inputs struct {
	model   *Model
	state   *RequestState // of Request.Scored
	signals *SignalInput  // state and vectors, as far as the signals read them
	// columns is a copy of the state's raw columns, which Assemble takes over. It is kept only if
	// the plan interleaves, for the second arm.
	columns []float32
}

// gather reads state and vectors for the plan's model.
func (p *Pipeline) gather(ctx context.Context, run *run, pl plan) inputs {
	in := inputs{model: pl.model}
	in.state = p.readState(ctx, run, in.model.Schema)
	if pl.interleaves() {
		in.columns = slices.Clone(in.state.Columns)
	}
	in.signals = p.readVectors(ctx, run, in.model, in.state)
	return in
}

// reuse returns the inputs for a second model, with their own columns. It reports false if the
// model needs inputs of its own, because its schema or its text encoder differs.
func (in inputs) reuse(m *Model) (inputs, bool) {
	if in.model.Schema.Hash() != m.Schema.Hash() || in.model.Vectors != m.Vectors {
		return inputs{}, false
	}
	state := *in.state
	state.Columns = slices.Clone(in.columns)
	return inputs{model: m, state: &state, signals: in.signals, columns: in.columns}, true
}

// readState reads user and candidates. Without an answer in time the ranking goes on with what the
// request itself says.
func (p *Pipeline) readState(ctx context.Context, run *run, schema *Schema) *RequestState {
	defer run.timing(StageFeatures, time.Now())
	candidates := run.req.Scored(schema)
	state, err := p.readFeatures(ctx, run, featuresUntil, candidates, schema)
	if err != nil {
		run.fail("features", err)
		state = stateOfRequest(candidates, schema, p.opt.TextSpec)
	}
	if state.Stale {
		run.degrade(FeaturesStale)
	}
	if state.ItemsRead < len(candidates) {
		run.degrade(FeaturesMissing)
	}
	n := float64(max(1, len(candidates)))
	run.coverage.Features = float64(state.ItemsRead) / n
	run.coverage.Known = float64(state.countKnown()) / n
	return state
}

// countKnown returns the number of candidates that are described or that somebody interacted with.
// That a candidate was shown says nothing: ranking a mistyped id shows it.
func (s *RequestState) countKnown() (known int) {
	for i, item := range s.Items {
		if item != nil || i < len(s.Counts) && s.Counts[i].Actions > 0 {
			known++
		}
	}
	return known
}

// readFeatures reads the user and candidates until the given share of the deadline has passed.
func (p *Pipeline) readFeatures(
	ctx context.Context, run *run, until float64, candidates []Candidate, schema *Schema,
) (*RequestState, error) {
	q := &FeatureQuery{
		User:       run.req.User,
		Candidates: candidates,
		Context:    run.req.Context,
		Now:        run.now,
		Schema:     schema,
	}
	memory, inMemory := p.opt.Features.(MemoryReader)
	if inMemory && ctx.Err() == nil && run.leavesTimeFor(len(candidates), until) {
		var state *RequestState
		ok := true // also after a panic, which is not tried again
		err := parallel.Catch(func() (err error) {
			state, ok, err = memory.ReadNow(q)
			return err
		})
		if ok {
			return state, err
		}
	}
	ctx, cancel := run.stage(ctx, until)
	defer cancel()
	return runStage(ctx, p.features, nil, func(ctx context.Context) (*RequestState, error) {
		return p.opt.Features.Read(ctx, q)
	})
}

// stateOfRequest returns the state if nothing can be read: the inline items alone.
func stateOfRequest(candidates []Candidate, schema *Schema, spec TextSpec) *RequestState {
	n := len(candidates)
	s := &RequestState{
		Items:   make([]*ItemInfo, n),
		Columns: make([]float32, n*len(schema.Columns())),
	}
	for i := range s.Columns {
		s.Columns[i] = canonicalNaN
	}
	for i, c := range candidates {
		if c.Inline != nil {
			it := *c.Inline
			it.ID = c.ID
			s.Items[i] = NewItemInfo(it, spec)
			s.Items[i].Transient = true
		}
	}
	return s
}

// readVectors fetches the text vectors of candidates, history and search text from the model's
// encoder, and reports the coverage of the candidates' texts.
func (p *Pipeline) readVectors(
	ctx context.Context, run *run, model *Model, state *RequestState,
) *SignalInput {
	defer run.timing(StageVectors, time.Now())
	req, state := signalsRead(run.req, model.Schema, state)
	in := &SignalInput{
		Request:    req,
		State:      state,
		Now:        run.now,
		Query:      searchText(run.req),
		indexCache: &itemIndexCache{},
		shared:     &requestCache{},
	}
	encoder := p.opt.Vectors
	if model.Vectors != nil {
		encoder = model.Vectors
	}
	n, recent := len(state.Items), len(state.RecentItems)
	items := slices.Concat(state.Items, state.RecentItems, []*ItemInfo{in.Query})
	vectors := p.fetchVectors(ctx, run, model, encoder, items)
	in.ItemVectors = vectors[:n:n]
	in.RecentVectors = vectors[n : n+recent : n+recent]
	in.QueryVector = vectors[n+recent]
	in.UseHistory(model.Histories)
	run.coverage.Text = 1
	if encoder != nil {
		run.coverage.Text = textCoverage(encoder, state.Items, in.ItemVectors)
		if run.coverage.Text < 1 {
			run.degrade(EmbeddingsPartial)
		}
	}
	return in
}

// signalsRead returns the request and the state that the signals read. They have the other
// candidates of a replayed list only if a feature compares a signal's values within the list.
// Signals score each candidate by itself, so the candidates' values are the same.
func signalsRead(
	req *Request, schema *Schema, state *RequestState,
) (*Request, *RequestState) {
	switch scored := req.Scored(schema); {
	case len(scored) == len(req.Candidates):
	case schema.comparesSignals:
		all := *req
		all.Candidates, all.List = scored, nil
		return &all, state
	default:
		listed := *state
		listed.Items = listed.Items[:len(req.Candidates)]
		return req, &listed
	}
	return req, state
}

// searchText returns the request's search text as an item, nil without one.
func searchText(req *Request) *ItemInfo {
	text := SearchText(req.Context)
	if text == "" {
		return nil
	}
	return NewSearchItem(text)
}

// SearchText returns the search text of a context, its field "query", "" without one.
func SearchText(context map[string]FieldValue) string {
	if q := context["query"]; q.Kind == String {
		return q.Str
	}
	return ""
}

// NewSearchItem returns a search text, not empty, as the item whose vector signals compare.
func NewSearchItem(text string) *ItemInfo {
	info := NewItemInfo(Item{Title: text}, TextSpec{"title"})
	info.Transient = true
	return info
}

// fetchVectors returns the items' vectors: at once if the encoder has them all, else what it has
// when the vectors' slice of the deadline ends.
func (p *Pipeline) fetchVectors(
	ctx context.Context, run *run, model *Model, encoder Vectors, items []*ItemInfo,
) [][]float32 {
	vectors := make([][]float32, len(items))
	if encoder == nil {
		return vectors
	}
	missing, err := lookUp(encoder, items, vectors)
	if err != nil {
		run.fail("vectors", err)
		return make([][]float32, len(items))
	}
	if missing == 0 {
		return vectors
	}
	run.waited = true
	ctx, cancel := run.stage(ctx, vectorsUntil)
	defer cancel()
	fetched, err := runStage(ctx, p.vectors, model, func(ctx context.Context) ([][]float32, error) {
		out := make([][]float32, len(items))
		encoder.Fetch(ctx, items, out)
		return out, nil
	})
	if err != nil {
		// Fetch should return when its context ends, so it is slightly late or faulty.
		run.fail("vectors", err)
		if _, err := lookUp(encoder, items, vectors); err != nil {
			run.fail("vectors", err)
			return make([][]float32, len(items))
		}
		return vectors
	}
	return fetched
}

// lookUp is encoder.Lookup; a panic in it is returned as an error.
func lookUp(encoder Vectors, items []*ItemInfo, out [][]float32) (missing int, err error) {
	err = parallel.Catch(func() error {
		missing = encoder.Lookup(items, out)
		return nil
	})
	return missing, err
}

// textCoverage returns the share of the items with a text that have a vector, 1 if none has a text.
func textCoverage(encoder Vectors, items []*ItemInfo, vectors [][]float32) float64 {
	texts, found := 0, 0
	for i, it := range items {
		switch {
		case vectors[i] != nil:
			texts++
			found++
		case encoder.HasText(it):
			texts++
		}
	}
	if found == texts {
		return 1
	}
	return float64(found) / float64(texts)
}
