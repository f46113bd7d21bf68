package features

import (
	"slices"
	"sync"

	"relish/ranker"
)

// Extraction turns state into the feature columns of one request. It has four steps:
//
//  1. State.Read or Counters.Read gathers the state of the user and the candidates (this file).
//  2. Counters.compile turns a schema into a compiledSchema, once for each schema
//     (extract_schema.go).
//  3. compiledSchema.prepare computes once what all candidates share, and compiledSchema.extract
//     fills the matrix row by row (extract_rows.go).
//  4. The columns come from five files. extract_fields.go has content, context and times,
//     extract_items.go counts, rates and ages of an item, extract_values.go counts and rates of an
//     item's field values, extract_user.go those of the user with these values, and
//     extract_counters.go the arithmetic of all of them.
//
// Most work is done when something changes, not when it is read. The cells of an item's content are
// kept with the item (item_cache.go). So are its counts, rates and ages, until the item changes or
// the clock ticks. The numbers of a field value are kept in arrays by the value's id.
//
// Cells start as NaN. A cell stays NaN if its value is missing.

// Read returns what is known of the query's user and candidates, with the schema's state columns.
// The result shares nothing mutable with the state. It fails only if the schema needs something
// that Config does not count.
func (s *State) Read(q *ranker.FeatureQuery) (*ranker.RequestState, error) {
	schema, err := s.compile(q.Schema)
	if err != nil {
		return nil, err
	}
	x := s.newExtraction(q)
	defer x.release()
	if r := s.users.get(q.User); r != nil {
		into := unpackedUsers.Get().(*UserState)
		defer unpackedUsers.Put(into)
		x.user = s.users.unpack(r, into)
	}
	for i := range q.Candidates {
		x.ids = append(x.ids, q.Candidates[i].ID)
	}
	if x.user != nil {
		for k := range x.user.recent {
			x.ids = append(x.ids, x.user.recent[k].Item)
		}
	}
	x.found = s.lookUpItems(x.ids, x.found)
	copy(x.items, x.found)
	for _, it := range x.found[len(q.Candidates):] {
		if it == nil {
			it = &unknownItem
		}
		x.history = append(x.history, &it.Content)
	}
	out := x.read(schema)
	out.Seq = s.seq
	return out, nil
}

// QueryState is the part of a state that one query needs. Read does not change it.
type QueryState struct {
	User       *UserState   // nil: unknown
	Candidates []*ItemState // aligned with the query's candidates; nil: unknown
	History    []*Content   // aligned with User.History()
}

// Read is State.Read for state that the caller has fetched. It leaves RequestState.Seq at 0.
func (t *Counters) Read(q *ranker.FeatureQuery, known *QueryState) (*ranker.RequestState, error) {
	schema, err := t.compile(q.Schema)
	if err != nil {
		return nil, err
	}
	x := t.newExtraction(q)
	defer x.release()
	x.user, x.history = known.User, append(x.history, known.History...)
	copy(x.items, known.Candidates)
	return x.read(schema), nil
}

// unknownItem is the state of an item without any event.
var unknownItem = ItemState{Content: Content{cache: &itemCache{}}}

// extraction is one Read in progress. Once it is prepared, several goroutines may fill rows.
type extraction struct {
	counters *Counters
	query    *ranker.FeatureQuery
	now      int64        // the query's time at the last tick of the clock, Unix ms
	user     *UserState   // nil: unknown
	history  []*Content   // aligned with user.recent
	ids      []string     // of the candidates and the history
	found    []*ItemState // aligned with ids, nil: unknown
	items    []*ItemState // by candidate
	contents []*Content   // by candidate, inline content merged in

	// What prepare computes, see compiledSchema.
	priors   []prior
	clock    *itemClock
	template []float32
	fields   []fieldScratch
	tables   []tableColumn
}

// extractions keeps the memory of finished extractions.
var extractions = sync.Pool{New: func() any { return new(extraction) }}

// newExtraction returns an extraction whose items are to be set.
func (t *Counters) newExtraction(q *ranker.FeatureQuery) *extraction {
	x := extractions.Get().(*extraction)
	x.counters, x.query = t, q
	x.now = q.Now - q.Now%t.tick
	n := len(q.Candidates)
	x.items = slices.Grow(x.items, n)[:n]
	x.contents = slices.Grow(x.contents, n)[:n]
	return x
}

// release keeps the memory for the next extraction, without what it refers to.
func (x *extraction) release() {
	clear(x.history)
	clear(x.ids)
	clear(x.found)
	clear(x.items)
	clear(x.contents)
	clear(x.tables)
	for k := range x.fields {
		x.fields[k].reset()
	}
	*x = extraction{
		history: x.history[:0], ids: x.ids[:0], found: x.found[:0], items: x.items[:0],
		contents: x.contents[:0],
		priors:   x.priors[:0], template: x.template[:0], fields: x.fields, tables: x.tables[:0],
	}
	extractions.Put(x)
}

// read computes the result after the items, the user and the history are set.
func (x *extraction) read(schema *compiledSchema) *ranker.RequestState {
	n := len(x.items)
	out := &ranker.RequestState{
		Items: make([]*ranker.ItemInfo, n), Counts: make([]ranker.ItemCounts, n), ItemsRead: n,
	}
	for i := range x.items {
		x.setContent(i)
		out.Items[i] = x.contents[i].Info
	}
	if u := x.user; u != nil {
		out.UserFields = u.fields
		out.Recent, out.Shown = slices.Clone(u.recent), slices.Clone(u.shown)
		out.RecentItems = make([]*ranker.ItemInfo, len(u.recent))
		for k, c := range x.history {
			out.RecentItems[k] = c.Info
		}
	}
	schema.prepare(x)
	out.Columns = schema.extract(x, out.Counts)
	return out
}

// setContent completes candidate i, of which only the known state is set.
func (x *extraction) setContent(i int) {
	it, c := x.items[i], &x.query.Candidates[i]
	if it == nil {
		it = &unknownItem
	}
	if c.ColdStart {
		it = &ItemState{Content: it.Content, first: x.now}
		it.version = versionOfColdStart
	}
	x.items[i], x.contents[i] = it, &it.Content
	if c.Inline == nil {
		return
	}
	cfg := &x.counters.cfg
	info := inlineInfo(c.ID, it.Info, c.Inline, cfg.Text)
	x.contents[i] = &Content{Info: info, cache: &itemCache{}}
}
