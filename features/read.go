package features

import (
	"maps"
	"math"
	"slices"

	"relish/ranker"
)

// Read returns what is known of the query's user and candidates, with the schema's feature columns.
// The answer shares nothing mutable with the state. It fails only when the schema needs what the
// state does not count.
func (s *State) Read(q *ranker.FeatureQuery) (*ranker.RequestState, error) {
	e := Entities{User: s.users[q.User], Candidates: make([]*ItemState, len(q.Candidates))}
	for i := range q.Candidates {
		e.Candidates[i] = s.items[q.Candidates[i].ID]
	}
	for _, id := range e.User.History() {
		e.History = append(e.History, &s.known(id).Content)
	}
	out, err := s.Counters.Read(q, &e)
	if err == nil {
		out.Seq = s.seq
	}
	return out, err
}

func (s *State) known(id string) *ItemState {
	if it := s.items[id]; it != nil {
		return it
	}
	return &unknownItem
}

// Entities are one query's share of a state. They are only read.
type Entities struct {
	User       *UserState   // nil: unknown
	Candidates []*ItemState // aligned with the query's candidates, nil: unknown
	History    []*Content   // aligned with User.History()
}

// History returns the items of the user's recent interactions, newest first.
func (u *UserState) History() []string {
	if u == nil {
		return nil
	}
	ids := make([]string, len(u.recent))
	for i := range u.recent {
		ids[i] = u.recent[i].Item
	}
	return ids
}

// Read returns State.Read's answer for entities that come from elsewhere; Seq is left to the caller.
func (t *Counters) Read(q *ranker.FeatureQuery, e *Entities) (*ranker.RequestState, error) {
	p, err := t.program(q.Schema)
	if err != nil {
		return nil, err
	}
	n := len(q.Candidates)
	out := &ranker.RequestState{Items: make([]*ranker.ItemInfo, n), ItemsRead: n}
	r := &reader{t: t, q: q, now: q.Now, user: e.User, history: e.History, items: make([]*ItemState, n), infos: out.Items}
	for i := range q.Candidates {
		r.candidate(i, &q.Candidates[i], e.Candidates[i])
	}
	if u := r.user; u != nil {
		out.UserFields = u.fields
		out.Recent, out.Shown = slices.Clone(u.recent), slices.Clone(u.shown)
		out.RecentItems = make([]*ranker.ItemInfo, len(u.recent))
		for i, c := range e.History {
			out.RecentItems[i] = c.Info
		}
	}
	out.Columns = p.run(r)
	return out, nil
}

// reader is one Read at work.
type reader struct {
	t       *Counters
	q       *ranker.FeatureQuery
	now     int64
	user    *UserState // nil: unknown
	history []*Content // aligned with user.recent
	items   []*ItemState
	infos   []*ranker.ItemInfo
	inline  map[int][][]fieldValue // counted values of candidates with an inline item
}

// candidate takes one candidate's state, nil for an unknown one, and merges what the request says of it.
func (r *reader) candidate(i int, c *ranker.Candidate, it *ItemState) {
	if it == nil {
		it = &unknownItem
	}
	if c.ColdStart {
		it = &ItemState{Content: it.Content, first: r.now}
	}
	r.items[i], r.infos[i] = it, it.Info
	if c.Inline == nil {
		return
	}
	merged := *c.Inline
	merged.ID = c.ID
	if it.Info != nil {
		merged = it.Info.Item
		overlay(&merged, c.Inline)
	}
	r.infos[i] = ranker.NewItemInfo(merged, r.t.cfg.Text)
	if r.inline == nil {
		r.inline = map[int][][]fieldValue{}
	}
	r.inline[i] = fieldValuesOf(r.infos[i], r.t.cfg.Fields)
}

// unknownItem is the state of an item that nobody has named.
var unknownItem ItemState

// overlay puts the set parts of over in place of it's.
func overlay(it, over *ranker.Item) {
	if over.Title != "" {
		it.Title = over.Title
	}
	if over.Text != "" {
		it.Text = over.Text
	}
	if over.Tags != nil {
		it.Tags = over.Tags
	}
	if len(over.Fields) > 0 {
		fields := maps.Clone(it.Fields)
		if fields == nil {
			fields = map[string]ranker.FieldValue{}
		}
		maps.Copy(fields, over.Fields)
		it.Fields = fields
	}
}

// values returns candidate i's values of a counted field.
func (r *reader) values(i, field int) []fieldValue {
	if v, ok := r.inline[i]; ok {
		return v[field]
	}
	if v := r.items[i].values; v != nil {
		return v[field]
	}
	return nil
}

// field returns a candidate's field, or the user's for a name that begins with "user.".
func (r *reader) field(i int, name string) (ranker.FieldValue, bool) {
	if rest, ok := userField(name); ok {
		if r.user == nil {
			return ranker.FieldValue{}, false
		}
		v, ok := r.user.fields[rest]
		return v, ok
	}
	if r.infos[i] == nil {
		return ranker.FieldValue{}, false
	}
	return fieldOf(r.infos[i], name)
}

// fieldOf returns an item's field; its tags are one.
func fieldOf(info *ranker.ItemInfo, name string) (ranker.FieldValue, bool) {
	if v, ok := info.Fields[name]; ok {
		return v, true
	}
	if name == "tags" && info.Tags != nil {
		return ranker.StringsValue(info.Tags), true
	}
	return ranker.FieldValue{}, false
}

const userPrefix = "user."

func userField(name string) (string, bool) {
	if len(name) > len(userPrefix) && name[:len(userPrefix)] == userPrefix {
		return name[len(userPrefix):], true
	}
	return name, false
}

// Rates are kept within these bounds before the log-odds, so that one is finite.
const (
	minRate = 1e-4
	maxRate = 1 - minRate
)

func logOdds(p float64) float64 {
	p = min(max(p, minRate), maxRate)
	return math.Log(p / (1 - p))
}

var nan = math.NaN()
