package features

import (
	"fmt"
	"iter"
	"slices"
	"unique"

	"relish/ranker"
)

// A Dump carries a whole state out of a store and into another one, or into a snapshot (package
// snapshot). Its rows have exported fields, so that other packages can write and read them.

// CounterRow is the exported form of one decayed counter.
type CounterRow struct {
	Ref    int64     // the values are as of this time, Unix ms
	Values []float64 // in the order of Counters.CounterNames; nil: nothing counted
	// Newcomers is included in Values. Only an item and everything together have such counts.
	Newcomers NewcomerCounts
}

// ItemRow is all that is known of one item. It shares nothing mutable with the state.
type ItemRow struct {
	Item        ranker.Item
	Described   bool             // false: events name the item, but nobody has described it
	Time        int64            // event time of the parts that Times does not name, Unix ms
	Times       map[string]int64 // by part: title, text, tags; a field has a "." before its name
	First, Seen int64            // event time of the first event, arrival of the last, Unix ms
	Counters    CounterRow
}

// UserRow is all that is known of one user.
type UserRow struct {
	ID       string
	Fields   map[string]ranker.FieldValue
	Times    map[string]int64     // event times of the fields, Unix ms
	Recent   []ranker.Interaction // newest first
	Shown    []ranker.Shown       // newest first
	Seen     int64                // arrival of the last event, Unix ms
	Counters CounterRow
	Values   []UserValueRow
}

// UserValueRow is a user's counter for one value of a counted field.
type UserValueRow struct {
	CounterKey
	Seen     int64 // arrival of the last event, Unix ms
	Counters CounterRow
}

// CounterNames returns the names of CounterRow.Values: "impression:all", "click:7d" and so on.
func (t *Counters) CounterNames() []string {
	var names []string
	for _, action := range append([]string{ActionImpression}, t.cfg.Actions...) {
		for _, halfLife := range t.cfg.HalfLives {
			names = append(names, action+":"+halfLife)
		}
	}
	return names
}

// ---- State <-> rows ----

func (c *decayedCounts) row() CounterRow {
	return CounterRow{Ref: c.ref, Values: slices.Clone(c.values)}
}

func (t *Counters) countsFromRow(r CounterRow) (decayedCounts, error) {
	if r.Values != nil && len(r.Values) != t.layout.size() {
		return decayedCounts{}, fmt.Errorf(
			"%d counters instead of %d: %w", len(r.Values), t.layout.size(), ErrLayout,
		)
	}
	return decayedCounts{ref: r.Ref, values: slices.Clone(r.Values)}, nil
}

// ItemRow returns the row of an item.
func (t *Counters) ItemRow(id string, it *ItemState) ItemRow {
	r := ItemRow{
		Item: ranker.Item{ID: id}, Time: it.time, Times: it.times, First: it.first, Seen: it.seen,
		Counters: it.counts.row(),
	}
	r.Counters.Newcomers = it.newcomers
	if it.Info != nil {
		r.Item, r.Described = it.Info.Item(), true
	}
	return r
}

// ItemFromRow returns the state of a row's item. It fails with ErrLayout if the counters belong to
// another configuration.
func (t *Counters) ItemFromRow(r *ItemRow) (*ItemState, error) {
	c, err := t.countsFromRow(r.Counters)
	it := &ItemState{
		entry: entry{seen: r.Seen}, time: r.Time, times: r.Times, first: r.First, counts: c,
	}
	it.newcomers = r.Counters.Newcomers
	if r.Described {
		it.Content = t.content(r.Item)
	}
	return it, err
}

// UserRow returns the row of a user.
func (t *Counters) UserRow(id string, u *UserState) UserRow {
	r := UserRow{
		ID: id, Fields: u.fields, Times: u.times, Recent: u.recent, Shown: u.shown, Seen: u.seen,
		Counters: u.counts.row(),
	}
	for f, list := range u.values {
		for i := range list {
			key := CounterKey{f, list[i].value.Value()}
			r.Values = append(r.Values, UserValueRow{key, list[i].seen, list[i].row()})
		}
	}
	return r
}

// UserFromRow returns the state of a row's user. It fails with ErrLayout if the counters or fields
// belong to another configuration.
func (t *Counters) UserFromRow(r *UserRow) (*UserState, error) {
	c, err := t.countsFromRow(r.Counters)
	if err != nil {
		return nil, err
	}
	u := &UserState{
		fields: r.Fields, times: r.Times, recent: r.Recent, shown: r.Shown, seen: r.Seen,
		counts: c, values: make([][]userFieldCounts, len(t.cfg.Fields)),
	}
	for i := range r.Values {
		v := &r.Values[i]
		if v.Field < 0 || v.Field >= len(u.values) {
			return nil, fmt.Errorf("field %d of %d: %w", v.Field, len(u.values), ErrLayout)
		}
		if c, err = t.countsFromRow(v.Counters); err != nil {
			return nil, err
		}
		u.values[v.Field] = append(u.values[v.Field],
			userFieldCounts{value: unique.Make(v.Value), seen: v.Seen, decayedCounts: c})
	}
	return u, nil
}

// Row returns the row of one counter, an empty one for an unknown key.
func (t *Counters) Row(key CounterKey) CounterRow {
	c := t.lookup(key)
	if c == nil {
		return CounterRow{}
	}
	row := c.row()
	if key == globalKey {
		row.Newcomers = t.newcomers
	}
	return row
}

// SetRow sets one counter. It fails with ErrLayout if the row or the key belongs to another
// configuration.
func (t *Counters) SetRow(key CounterKey, r CounterRow) error {
	c, err := t.countsFromRow(r)
	if err != nil {
		return err
	}
	if key.Field < -1 || key.Field >= len(t.values) {
		return fmt.Errorf("field %d of %d: %w", key.Field, len(t.values), ErrLayout)
	}
	if to := t.getOrCreate(key); to != nil {
		*to = c
	}
	if key == globalKey {
		t.newcomers = r.Newcomers
	}
	return nil
}

// ---- Dumps ----

// Dump is a whole state that leaves a store. Items and Users end after their first error.
type Dump struct {
	Config  Config
	Arrival int64         // of the newest record included, Unix ms; 0: unknown
	Parts   []CounterPart // what each replica counted
	Items   iter.Seq2[ItemRow, error]
	Users   iter.Seq2[UserRow, error]
}

// CounterPart is the share of the Counters that one replica counted.
type CounterPart struct {
	Replica  string // 16 hex digits; all zero for a state without a log
	Seq      uint64 // the last of the replica's records that the state includes
	Counters *Counters
}

// noReplica stands for the replica of a state without a log.
const noReplica = "0000000000000000"

// Dump returns the state as the dump of one replica; "" stands for no replica. The state must not
// change while the dump is read.
func (s *State) Dump(replica string) *Dump {
	if replica == "" {
		replica = noReplica
	}
	return &Dump{
		Config: s.cfg, Arrival: s.arrival, Parts: []CounterPart{{replica, s.seq, s.Counters}},
		Items: func(yield func(ItemRow, error) bool) {
			for _, it := range s.items.sorted() {
				row := s.ItemRow(it.id, it)
				row.Seen += s.idle
				if !yield(row, nil) {
					return
				}
			}
		},
		Users: func(yield func(UserRow, error) bool) {
			for _, u := range s.users.sorted() {
				row := s.UserRow(u.id, s.users.unpack(u, new(UserState)))
				row.Seen += s.idle
				if !yield(row, nil) {
					return
				}
			}
		},
	}
}

// State returns the dump as a state. Its counters are the sum of the parts. Its sequence is that of
// the named replica, whose log can continue the state, and 0 if the dump has no part of that
// replica.
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
		s.items.put(r.Item.ID, it)
	}
	for r, err := range d.Users {
		if err != nil {
			return nil, err
		}
		u, err := s.UserFromRow(&r)
		if err != nil {
			return nil, err
		}
		s.users.putState(r.ID, u)
	}
	var parts []*Counters
	for _, p := range d.Parts {
		parts = append(parts, p.Counters)
		if p.Replica == replica && replica != "" {
			s.replica, s.seq = replica, p.Seq
		}
	}
	for _, p := range parts {
		for _, key := range p.Keys() {
			s.SetSum(key, parts...)
		}
	}
	s.arrival = d.Arrival
	s.sortByLastEvent()
	return s, nil
}
