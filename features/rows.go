package features

import (
	"fmt"
	"iter"
	"slices"
	"unique"

	"relish/ranker"
)

// Counters are one thing's counters as of Ref, a Unix ms: N in the order of Tables.CounterNames, nil for
// none.
type Counters struct {
	Ref int64
	N   []float64
}

// ItemRow is all that is known of one item, for snapshots. It shares nothing mutable with the state.
type ItemRow struct {
	Item        ranker.Item
	Described   bool             // false: somebody named the item, nobody described it
	Time        int64            // event time of the parts that Times does not name
	Times       map[string]int64 // by part: title, text, tags, and fields as "." and their name
	First, Seen int64            // event time of the first event, arrival of the last
	Counters    Counters
}

// UserRow is all that is known of one user.
type UserRow struct {
	ID       string
	Fields   map[string]ranker.Value
	Times    map[string]int64     // event times of the fields
	Recent   []ranker.Interaction // newest first
	Shown    []ranker.Shown       // newest first
	Seen     int64                // arrival of the last event
	Counters Counters
	Values   []UserValueRow
}

// UserValueRow are a user's counters for a value of the counted field with that index.
type UserValueRow struct {
	Value
	Seen     int64
	Counters Counters
}

// CounterNames names what Counters.N holds: "impression:all", "click:7d" and so on.
func (t *Tables) CounterNames() []string {
	var names []string
	for _, action := range append([]string{Impression}, t.cfg.Actions...) {
		for _, half := range t.cfg.HalfLives {
			names = append(names, action+":"+half)
		}
	}
	return names
}

func (c *counts) row() Counters { return Counters{c.ref, slices.Clone(c.n)} }

func (t *Tables) counts(r Counters) (counts, error) {
	if r.N != nil && len(r.N) != t.layout.kinds*len(t.layout.rates) {
		return counts{}, fmt.Errorf("%d counters, want %d: %w", len(r.N), t.layout.kinds*len(t.layout.rates), ErrLayout)
	}
	return counts{ref: r.Ref, n: slices.Clone(r.N)}, nil
}

// ItemRow returns an item's row, and ItemFromRow an item's state.
func (t *Tables) ItemRow(id string, it *ItemState) ItemRow {
	r := ItemRow{Item: ranker.Item{ID: id}, Time: it.time, Times: it.times, First: it.first, Seen: it.seen, Counters: it.counts.row()}
	if it.Info != nil {
		r.Item, r.Described = it.Info.Item, true
	}
	return r
}

// ItemFromRow see ItemRow. It fails for another configuration's counters.
func (t *Tables) ItemFromRow(r *ItemRow) (*ItemState, error) {
	c, err := t.counts(r.Counters)
	it := &ItemState{time: r.Time, times: r.Times, first: r.First, seen: r.Seen, counts: c}
	if r.Described {
		it.Content = t.content(r.Item)
	}
	return it, err
}

// UserRow returns a user's row, and UserFromRow a user's state.
func (t *Tables) UserRow(id string, u *UserState) UserRow {
	r := UserRow{ID: id, Fields: u.fields, Times: u.times, Recent: u.recent, Shown: u.shown, Seen: u.seen, Counters: u.counts.row()}
	for f, list := range u.values {
		for i := range list {
			r.Values = append(r.Values, UserValueRow{Value{f, list[i].value.Value()}, list[i].seen, list[i].row()})
		}
	}
	return r
}

// UserFromRow see UserRow. It fails for another configuration's counters or fields.
func (t *Tables) UserFromRow(r *UserRow) (*UserState, error) {
	c, err := t.counts(r.Counters)
	if err != nil {
		return nil, err
	}
	u := &UserState{fields: r.Fields, times: r.Times, recent: r.Recent, shown: r.Shown, seen: r.Seen, counts: c, values: make([][]userValue, len(t.cfg.Fields))}
	for i := range r.Values {
		v := &r.Values[i]
		if v.Field < 0 || v.Field >= len(u.values) {
			return nil, fmt.Errorf("field %d of %d: %w", v.Field, len(u.values), ErrLayout)
		}
		if c, err = t.counts(v.Counters); err != nil {
			return nil, err
		}
		u.values[v.Field] = append(u.values[v.Field], userValue{value: unique.Make(v.Value.Value), seen: v.Seen, counts: c})
	}
	return u, nil
}

// Counters returns an entry's counters, and SetCounters puts them in place.
func (t *Tables) Counters(v Value) Counters {
	if c := t.lookup(v); c != nil {
		return c.row()
	}
	return Counters{}
}

// SetCounters see Counters. It fails for another configuration's counters or fields.
func (t *Tables) SetCounters(v Value, r Counters) error {
	c, err := t.counts(r)
	if err != nil {
		return err
	}
	if v.Field < -1 || v.Field >= len(t.values) {
		return fmt.Errorf("field %d of %d: %w", v.Field, len(t.values), ErrLayout)
	}
	if to := t.entry(v); to != nil {
		*to = c
	}
	return nil
}

// Dump is a whole state on its way out of a store. Items and Users end with their first error.
type Dump struct {
	Config  Config
	Arrival int64  // of the newest record it includes, Unix ms; 0: unknown
	Parts   []Part // what each replica counted for the tables
	Items   iter.Seq2[ItemRow, error]
	Users   iter.Seq2[UserRow, error]
}

// Part is what one replica counted for the tables, and the last of its records that the state includes.
type Part struct {
	Replica string // 16 hex digits; all zero for what has no log
	Seq     uint64
	Tables  *Tables
}

// nobody is the replica of what has no log.
const nobody = "0000000000000000"

// Dump returns the whole state as a dump of one replica's. The state must not change while it is read.
func (s *State) Dump(replica string) *Dump {
	if replica == "" {
		replica = nobody
	}
	return &Dump{
		Config: s.cfg, Arrival: s.arrival, Parts: []Part{{replica, s.seq, s.Tables}},
		Items: func(yield func(ItemRow, error) bool) {
			for _, id := range sortedKeys(s.items) {
				if !yield(s.ItemRow(id, s.items[id]), nil) {
					return
				}
			}
		},
		Users: func(yield func(UserRow, error) bool) {
			for _, id := range sortedKeys(s.users) {
				if !yield(s.UserRow(id, s.users[id]), nil) {
					return
				}
			}
		},
	}
}

// State returns the dump as a state of its own, its parts summed. Its sequence is that of the replica whose
// log will go on from it, 0 if the dump has none of its records.
func (d *Dump) State(replica string) (*State, error) {
	s := New(d.Config)
	for r, err := range d.Items {
		if err != nil {
			return nil, err
		}
		it, err := s.ItemFromRow(&r)
		if err != nil {
			return nil, err
		}
		s.items[r.Item.ID] = it
	}
	for r, err := range d.Users {
		if err != nil {
			return nil, err
		}
		u, err := s.UserFromRow(&r)
		if err != nil {
			return nil, err
		}
		s.users[r.ID] = u
	}
	var tables []*Tables
	seq := uint64(0)
	for _, p := range d.Parts {
		tables = append(tables, p.Tables)
		if p.Replica == replica && replica != "" {
			seq = p.Seq
		}
	}
	for _, t := range tables {
		for _, v := range t.Values() {
			s.SetSum(v, tables...)
		}
	}
	s.seq, s.arrival = seq, d.Arrival
	return s, nil
}
