package features

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"relish/internal/parallel"
	"relish/ranker"
)

// Extraction turns state into the feature columns of one request. It has four steps, in the order
// of this file:
//
//  1. Counters.Read gathers the state of the user and the candidates, and runs the steps below.
//  2. Counters.compile turns a schema into a compiledSchema: one function for each feature that
//     fills its columns. It runs once for each schema.
//  3. compiledSchema.extract prepares each feature for the request, which computes once what all
//     candidates share, and fills the matrix row by row.
//  4. The functions that fill cells stand in two files: extract_fields.go for fields, context, time
//     and history; extract_counters.go for counts and rates. item_cache.go keeps between requests
//     what depends on an item's content only.
//
// Cells start as NaN. A function leaves a cell NaN if its value is missing.

// ---- Step 1: gather ----

// Read returns what is known of the query's user and candidates, with the schema's state columns.
// The result shares nothing mutable with the state. It fails only if the schema needs something
// that Config does not count.
func (s *State) Read(q *ranker.FeatureQuery) (*ranker.RequestState, error) {
	known := QueryState{
		User: s.users.byID[q.User], Candidates: make([]*ItemState, len(q.Candidates)),
	}
	for i := range q.Candidates {
		known.Candidates[i] = s.items.byID[q.Candidates[i].ID]
	}
	for _, id := range known.User.History() {
		content := &unknownItem.Content
		if it := s.items.byID[id]; it != nil {
			content = &it.Content
		}
		known.History = append(known.History, content)
	}
	out, err := s.Counters.Read(q, &known)
	if err == nil {
		out.Seq = s.seq
	}
	return out, err
}

// QueryState is the part of a state that one query needs. Read does not change it.
type QueryState struct {
	User       *UserState   // nil: unknown
	Candidates []*ItemState // aligned with the query's candidates; nil: unknown
	History    []*Content   // aligned with User.History()
}

// unknownItem is the state of an item without any event.
var unknownItem ItemState

// Read is State.Read for state that the caller has fetched. It leaves RequestState.Seq at 0.
func (t *Counters) Read(q *ranker.FeatureQuery, known *QueryState) (*ranker.RequestState, error) {
	schema, err := t.compile(q.Schema)
	if err != nil {
		return nil, err
	}
	n := len(q.Candidates)
	out := &ranker.RequestState{Items: make([]*ranker.ItemInfo, n), ItemsRead: n}
	x := &extraction{
		counters: t, query: q, user: known.User, history: known.History,
		items: make([]*ItemState, n), contents: out.Items,
	}
	for i := range q.Candidates {
		x.addCandidate(i, &q.Candidates[i], known.Candidates[i])
	}
	if u := known.User; u != nil {
		out.UserFields = u.fields
		out.Recent, out.Shown = slices.Clone(u.recent), slices.Clone(u.shown)
		out.RecentItems = make([]*ranker.ItemInfo, len(u.recent))
		for i, c := range known.History {
			out.RecentItems[i] = c.Info
		}
	}
	out.Counts = x.itemCounts()
	out.Columns = schema.extract(x)
	return out, nil
}

// itemCounts returns the candidates' counts of impressions and of any action, without decay.
func (x *extraction) itemCounts() []ranker.ItemCounts {
	all := slices.Index(x.counters.cfg.HalfLives, allTime)
	out := make([]ranker.ItemCounts, len(x.items))
	for i, it := range x.items {
		c := &out[i]
		c.Actions, c.Shown = x.counters.layout.actionsAndImpressions(
			&it.counts, anyAction, all, x.query.Now)
	}
	return out
}

// extraction is one Read in progress. The functions that fill cells read it and do not change it,
// so several goroutines may use it.
type extraction struct {
	counters *Counters
	query    *ranker.FeatureQuery
	user     *UserState             // nil: unknown
	history  []*Content             // aligned with user.recent
	items    []*ItemState           // by candidate, never nil
	contents []*ranker.ItemInfo     // by candidate, inline content merged in; nil: not described
	inline   map[int][][]fieldValue // counted field values of the candidates with inline content
}

// addCandidate sets candidate i. it is its state, nil for an unknown item.
func (x *extraction) addCandidate(i int, c *ranker.Candidate, it *ItemState) {
	if it == nil {
		it = &unknownItem
	}
	if c.ColdStart {
		it = &ItemState{Content: it.Content, first: x.query.Now}
	}
	x.items[i], x.contents[i] = it, it.Info
	if c.Inline == nil {
		return
	}
	cfg := &x.counters.cfg
	x.contents[i] = inlineInfo(c.ID, it.Info, c.Inline, cfg.Text)
	if x.inline == nil {
		x.inline = map[int][][]fieldValue{}
	}
	x.inline[i] = fieldValuesOf(x.contents[i], cfg.Fields)
}

// ---- Step 2: compile the schema ----

// compiledSchema computes the state columns of one schema. It is immutable.
type compiledSchema struct {
	width int // columns of the schema

	// content holds the features that an item's content alone decides. Their cells are computed
	// once for each item and kept in its itemCache, one feature after the other.
	content      []contentFeature
	contentWidth int
	runs         []columnRun

	requests []requestFeature // all others
}

// contentFeature fills the width columns from first on.
type contentFeature struct {
	first, width int
	fill         contentFunc
}

// contentFunc fills the cells of one feature from an item's content.
type contentFunc func(info *ranker.ItemInfo, cells []float32)

// columnRun says where consecutive cached content cells belong in a row: width cells from position
// from of the cache to column to.
type columnRun struct{ from, to, width int }

// requestFeature fills the columns from first on.
type requestFeature struct {
	first   int
	prepare prepareFunc
}

// prepareFunc computes what the rows of one request share. It returns the function for one row.
type prepareFunc func(x *extraction) fillFunc

// fillFunc sets the cells of candidate i. cells begins with the feature's first column.
type fillFunc func(i int, cells []float32)

// maxSchemas bounds the compiled schemas that are kept. A server uses a handful; a schema above the
// bound is compiled for each request.
const maxSchemas = 32

type schemaCache struct {
	mu     sync.Mutex
	byHash map[string]*compiledSchema
}

// compile returns the compiled schema, from the cache if it is there.
func (t *Counters) compile(schema *ranker.Schema) (*compiledSchema, error) {
	t.schemas.mu.Lock()
	defer t.schemas.mu.Unlock()
	if c := t.schemas.byHash[schema.Hash()]; c != nil {
		return c, nil
	}
	if err := CheckSchema(&t.cfg, schema); err != nil {
		return nil, err
	}
	c := &compiledSchema{width: len(schema.Columns())}
	for i, f := range schema.Features() {
		if ranker.IsStateKind(f.Kind) {
			c.add(t, &f, schema.FirstColumn(i))
		}
	}
	if t.schemas.byHash == nil {
		t.schemas.byHash = map[string]*compiledSchema{}
	}
	if len(t.schemas.byHash) < maxSchemas {
		t.schemas.byHash[schema.Hash()] = c
	}
	return c, nil
}

// add compiles one feature whose columns begin at first.
func (c *compiledSchema) add(t *Counters, f *ranker.Feature, first int) {
	if fill, width := compileContent(f); fill != nil {
		c.content = append(c.content, contentFeature{first, width, fill})
		if k := len(c.runs) - 1; k >= 0 && c.runs[k].to+c.runs[k].width == first {
			c.runs[k].width += width
		} else {
			c.runs = append(c.runs, columnRun{c.contentWidth, first, width})
		}
		c.contentWidth += width
	} else if prepare := t.compileRequest(f); prepare != nil {
		c.requests = append(c.requests, requestFeature{first, prepare})
	}
}

// compileContent returns the function and the number of columns of a feature that an item's content
// alone decides, nil for any other feature.
func compileContent(f *ranker.Feature) (fill contentFunc, width int) {
	if f.Kind == ranker.KindWordCount {
		return wordCountFill(f.Field), 1
	}
	if _, ok := userField(f.Field); ok {
		return nil, 0
	}
	switch f.Kind {
	case ranker.KindNumber, ranker.KindBoolean:
		return itemFieldFill(f.Field, setNumber), 1
	case ranker.KindCategory:
		if f.Encode == "index" {
			return itemFieldFill(f.Field, categorySetter(f)), 1
		}
		return itemFieldFill(f.Field, categorySetter(f)), len(f.Values)
	}
	return nil, 0
}

// compileRequest returns the function of any other feature, nil for a kind that state does not
// have.
func (t *Counters) compileRequest(f *ranker.Feature) prepareFunc {
	switch f.Kind {
	case ranker.KindNumber, ranker.KindBoolean:
		return userFieldFill(f.Field, setNumber)
	case ranker.KindCategory:
		return userFieldFill(f.Field, categorySetter(f))
	case ranker.KindContext:
		return contextFill(f)
	case ranker.KindAge:
		return ageFill(f.Field)
	case ranker.KindTimeOfDay:
		return timeOfDayFill
	case ranker.KindHistory:
		return historyFill
	case ranker.KindInteracted:
		return interactedFill(slices.Index(t.cfg.Fields, f.Field), f.Action)
	case ranker.KindTable:
		return externalFill(f.Column)
	case ranker.KindCount:
		return t.counterFeature(f).prepareCount
	case ranker.KindRate:
		return t.counterFeature(f).prepareRate
	}
	return nil
}

// CheckSchema reports every action, field and half-life that the schema needs and that cfg does not
// count. The error says what to add to relish.yaml.
func CheckSchema(cfg *Config, schema *ranker.Schema) error {
	var errs []error
	for _, f := range schema.Features() {
		if f.Kind != ranker.KindCount && f.Kind != ranker.KindRate &&
			f.Kind != ranker.KindInteracted {
			continue
		}
		need := func(key, name string, counted bool) {
			if !counted {
				errs = append(
					errs,
					fmt.Errorf("feature %q needs %q, which the server does not count: "+
						"add it to state.%s in relish.yaml", f.Name, name, key),
				)
			}
		}
		if f.Kind != ranker.KindInteracted || f.Action != "" {
			_, ok := cfg.counterIndex(f.Action)
			need("actions", f.Action, ok)
		}
		if f.Kind == ranker.KindInteracted || f.Scope == ranker.ScopeField ||
			f.Scope == ranker.ScopeUserField {
			need("fields", f.Field, slices.Contains(cfg.Fields, f.Field))
		}
		if f.Kind != ranker.KindInteracted {
			need("half_lives", halfLife(&f), slices.Contains(cfg.HalfLives, halfLife(&f)))
		}
	}
	return errors.Join(errs...)
}

func halfLife(f *ranker.Feature) string {
	if f.HalfLife == "" {
		return allTime
	}
	return f.HalfLife
}

// ---- Step 3: fill the rows ----

// minRowsPerWorker is the number of rows below which waking another processor takes longer than
// filling them.
const minRowsPerWorker = 32

// extract returns the matrix of the state columns, one row for each candidate, row-major. It fills
// one candidate after the other, so that a candidate's state enters the processor's caches once.
func (c *compiledSchema) extract(x *extraction) []float32 {
	n := len(x.items)
	out := missingCells(n * c.width)
	fills := make([]fillFunc, len(c.requests))
	for k, f := range c.requests {
		fills[k] = f.prepare(x)
	}
	parallel.Rows(n, minRowsPerWorker, func(from, to int) {
		for i := from; i < to; i++ {
			row := out[i*c.width : (i+1)*c.width]
			c.fillContent(x, i, row)
			for k, fill := range fills {
				fill(i, row[c.requests[k].first:])
			}
		}
	})
	return out
}

// fillContent sets the content columns of candidate i's row.
func (c *compiledSchema) fillContent(x *extraction, i int, row []float32) {
	info, it := x.contents[i], x.items[i]
	if info == nil || len(c.content) == 0 {
		return
	}
	if info != it.Info { // the request has inline content, which the cache does not know
		for _, f := range c.content {
			f.fill(info, row[f.first:f.first+f.width])
		}
		return
	}
	cells := it.cache.contentCells(c, info)
	for _, r := range c.runs {
		copy(row[r.to:r.to+r.width], cells[r.from:r.from+r.width])
	}
}

// missingCells returns n cells with the value NaN.
func missingCells(n int) []float32 {
	out, missing := make([]float32, n), float32(nan)
	for i := range out {
		out[i] = missing
	}
	return out
}
