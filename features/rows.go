package features

import (
	"fmt"
	"iter"
	"slices"
	"unique"

	"relish/ranker"
)

// CounterRow are one thing's counters as of Ref, a Unix ms: N in the order of Tables.CounterNames, nil for
// none.
type CounterRow struct {
	Ref    int64
	Values []float64
}

// ItemRow is all that is known of one item, for snapshots. It shares nothing mutable with the state.
type ItemRow struct {
	Item        ranker.Item
	Described   bool             // false: somebody named the item, nobody described it
	Time        int64            // event time of the parts that Times does not name
	Times       map[string]int64 // by part: title, text, tags, and fields as "." and their name
	First, Seen int64            // event time of the first event, arrival of the last
	Counters    CounterRow
}

// UserRow is all that is known of one user.
type UserRow struct {
	ID       string
	Fields   map[string]ranker.FieldValue
	Times    map[string]int64     // event times of the fields
	Recent   []ranker.Interaction // newest first
	Shown    []ranker.Shown       // newest first
	Seen     int64                // arrival of the last event
	Counters CounterRow
	Values   []UserValueRow
}

// UserValueRow are a user's counters for a value of the counted field with that index.
type UserValueRow struct {
	CounterKey
	Seen     int64
	Counters CounterRow
}

// CounterNames names what Counters.N holds: "impression:all", "click:7d" and so on.
func (t *Counters) CounterNames() []string {
	var names []string
	for _, action := range append([]string{ActionImpression}, t.cfg.Actions...) {
		for _, half := range t.cfg.HalfLives {
			names = append(names, action+":"+half)
		}
	}
	return names
}

func (c *decayedCounts) row() CounterRow { return CounterRow{c.ref, slices.Clone(c.values)} }

func (t *Counters) countsFromRow(r CounterRow) (decayedCounts, error) {
	if r.Values != nil && len(r.Values) != t.layout.kinds*len(t.layout.rates) {
		return decayedCounts{}, fmt.Errorf("%d counters, want %d: %w", len(r.Values), t.layout.kinds*len(t.layout.rates), ErrLayout)
	}
	return decayedCounts{ref: r.Ref, values: slices.Clone(r.Values)}, nil
}

// ItemRow returns an item's row, and ItemFromRow an item's state.
func (t *Counters) ItemRow(id string, it *ItemState) ItemRow {
	r := ItemRow{Item: ranker.Item{ID: id}, Time: it.time, Times: it.times, First: it.first, Seen: it.seen, Counters: it.counts.row()}
	if it.Info != nil {
		r.Item, r.Described = it.Info.Item, true
	}
	return r
}

// ItemFromRow see ItemRow. It fails for another configuration's counters.
func (t *Counters) ItemFromRow(r *ItemRow) (*ItemState, error) {
	c, err := t.countsFromRow(r.Counters)
	it := &ItemState{time: r.Time, times: r.Times, first: r.First, seen: r.Seen, counts: c}
	if r.Described {
		it.Content = t.content(r.Item)
	}
	return it, err
}

// UserRow returns a user's row, and UserFromRow a user's state.
func (t *Counters) UserRow(id string, u *UserState) UserRow {
	r := UserRow{ID: id, Fields: u.fields, Times: u.times, Recent: u.recent, Shown: u.shown, Seen: u.seen, Counters: u.counts.row()}
	for f, list := range u.values {
		for i := range list {
			r.Values = append(r.Values, UserValueRow{CounterKey{f, list[i].value.Value()}, list[i].seen, list[i].row()})
		}
	}
	return r
}

// UserFromRow see UserRow. It fails for another configuration's counters or fields.
func (t *Counters) UserFromRow(r *UserRow) (*UserState, error) {
	c, err := t.countsFromRow(r.Counters)
	if err != nil {
		return nil, err
	}
	u := &UserState{fields: r.Fields, times: r.Times, recent: r.Recent, shown: r.Shown, seen: r.Seen, counts: c, values: make([][]userFieldCounts, len(t.cfg.Fields))}
	for i := range r.Values {
		v := &r.Values[i]
		if v.Field < 0 || v.Field >= len(u.values) {
			return nil, fmt.Errorf("field %d of %d: %w", v.Field, len(u.values), ErrLayout)
		}
		if c, err = t.countsFromRow(v.Counters); err != nil {
			return nil, err
		}
		u.values[v.Field] = append(u.values[v.Field], userFieldCounts{value: unique.Make(v.CounterKey.Value), seen: v.Seen, decayedCounts: c})
	}
	return u, nil
}

// Row returns an entry's counters, and SetCounters puts them in place.
func (t *Counters) Row(v CounterKey) CounterRow {
	if c := t.lookup(v); c != nil {
		return c.row()
	}
	return CounterRow{}
}

// SetRow see Counters. It fails for another configuration's counters or fields.
func (t *Counters) SetRow(v CounterKey, r CounterRow) error {
	c, err := t.countsFromRow(r)
	if err != nil {
		return err
	}
	if v.Field < -1 || v.Field >= len(t.values) {
		return fmt.Errorf("field %d of %d: %w", v.Field, len(t.values), ErrLayout)
	}
	if to := t.getOrCreate(v); to != nil {
		*to = c
	}
	return nil
}

// Dump is a whole state on its way out of a store. Items and Users end with their first error.
type Dump struct {
	Config  Config
	Arrival int64         // of the newest record it includes, Unix ms; 0: unknown
	Parts   []CounterPart // what each replica counted for the tables
	Items   iter.Seq2[ItemRow, error]
	Users   iter.Seq2[UserRow, error]
}

// CounterPart is what one replica counted for the tables, and the last of its records that the state includes.
type CounterPart struct {
	Replica  string // 16 hex digits; all zero for what has no log
	Seq      uint64
	Counters *Counters
}

// noReplica is the replica of what has no log.
const noReplica = "0000000000000000"

// Dump returns the whole state as a dump of one replica's. The state must not change while it is read.
func (s *State) Dump(replica string) *Dump {
	if replica == "" {
		replica = noReplica
	}
	return &Dump{
		Config: s.cfg, Arrival: s.arrival, Parts: []CounterPart{{replica, s.seq, s.Counters}},
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
	var tables []*Counters
	seq := uint64(0)
	for _, p := range d.Parts {
		tables = append(tables, p.Counters)
		if p.Replica == replica && replica != "" {
			seq = p.Seq
		}
	}
	for _, t := range tables {
		for _, v := range t.Keys() {
			s.SetSum(v, tables...)
		}
	}
	s.seq, s.arrival = seq, d.Arrival
	return s, nil
}
