// Package features turns events into state, and state into feature columns.
//
// State holds what is known of every item and user. For each item, each user, each value of the
// counted item fields, each user with such a value, and for everything together it counts
// impressions and actions, for all time and with half-lives. For each user it holds the recent
// interactions and the recently shown items.
//
// Events enter by State.Apply only, and rankings read by State.Read only. Serving and replay use
// the same two functions, so a model is trained on the features that it is served with.
//
// A store makes the state durable and shared: package embedded keeps it in memory, package redis
// shares it between replicas. The codec in this package packs one user or item into a checksummed
// value.
//
// Reading order: config.go, state.go, table.go, idindex.go, apply.go, history.go, content.go,
// value_ids.go and counters.go build the state; extract.go and lookup.go turn it into columns;
// codec.go, packed.go, checkpoint.go, save.go and dump.go write and read it.
package features

import (
	"cmp"
	"iter"
	"math"
	"slices"

	"relish/internal/parallel"
	"relish/ranker"
)

// State is the state of one server or of one replay. It is not safe for concurrent use, except
// that any number of Reads may run at once while nothing is applied.
type State struct {
	*Counters
	// OpenTable returns the version of an external table that a table event names, nil for none. A
	// replay sets it, and so sees each version from its event on. If it is nil, table events change
	// nothing and the owner calls UseTable.
	OpenTable func(name, digest string) *ExternalTable

	items table[ItemState, *ItemState]
	users *userTable
	// tables has the digests of the external tables that table events named last, by table.
	tables map[string]string

	replica string // whose log seq counts, 16 hex digits; "": unknown
	seq     uint64 // of the last record applied
	arrival int64  // of the newest record applied, Unix ms
	// idle is the time in all pauses between records so far that does not count for MaxAge, in ms.
	idle      int64
	maxAge    int64 // Config.MaxAge in ms; 0: no item and no user is ever dropped
	applied   AppliedParts
	uncounted *Uncounted // nil: nobody asks
}

// ItemState is what is known of one item. Only Apply changes it.
type ItemState struct {
	entry
	Content       // Info is nil until somebody describes the item
	time    int64 // event time of the parts that times does not name, Unix ms
	times   map[string]int64
	first   int64 // event time of the first event that named the item, Unix ms
	counts  decayedCounts

	newcomers NewcomerCounts // included in counts
}

// UserState is what is known of one user. Only Apply changes it.
type UserState struct {
	fields map[string]ranker.FieldValue
	times  map[string]int64     // event times of the fields, Unix ms
	recent []ranker.Interaction // newest first
	shown  []ranker.Shown       // newest first
	counts decayedCounts
	values [][]userFieldCounts // by counted field
	seen   int64               // arrival of the last event, Unix ms
	block  []float64           // memory of the counters of an unpacked user
}

// userFieldCounts are a user's counters for one value of an item field.
type userFieldCounts struct {
	value fieldValue
	seen  int64 // arrival of the last event, Unix ms
	decayedCounts
}

// New returns an empty state. cfg must be valid.
func New(cfg Config) *State {
	s := NewCounters(cfg).newState(true)
	s.maxAge = cfg.MaxAgeDuration().Milliseconds()
	s.uncounted = &Uncounted{}
	return s
}

// NewState returns a state without users and items that counts in t. Nothing in it is dropped: it
// holds what a shared store has loaded, and that store drops what is old.
func (t *Counters) NewState() *State { return t.newState(false) }

func (t *Counters) newState(bounded bool) *State {
	return &State{
		Counters: t, items: newTable[ItemState](!bounded), users: newUserTable(&t.cfg, bounded),
		tables: map[string]string{},
	}
}

// ---- Look-up ----

// Seq returns the sequence of the last applied record, 0 for none.
func (s *State) Seq() uint64 { return s.seq }

// Replica returns the id of the log that Seq is a sequence of, "" if it is unknown.
func (s *State) Replica() string { return s.replica }

// SkipTo says that the state includes all records up to seq: those after Seq were erased.
func (s *State) SkipTo(seq uint64) { s.seq = max(s.seq, seq) }

// Restore makes s the state from, which must not be used afterwards. s keeps OpenTable, and the
// external tables of which from does not know.
func (s *State) Restore(from *State) {
	if now := s.external.current.Load(); now != nil {
		from.external.current.Store(now)
	}
	from.OpenTable = s.OpenTable
	for name, digest := range s.tables {
		if _, known := from.tables[name]; !known {
			from.tables[name] = digest
		}
	}
	*s = *from
	if s.OpenTable != nil {
		for _, name := range sortedKeys(s.tables) {
			s.UseTable(name, s.OpenTable(name, s.tables[name]))
		}
	}
}

// Uncounted counts the interactions that did not count for their items. It is nil for a state of
// NewState without CountUncounted.
func (s *State) Uncounted() *Uncounted { return s.uncounted }

// CountUncounted makes s count the interactions that do not count for their items in c.
func (s *State) CountUncounted(c *Uncounted) { s.uncounted = c }

// TableDigests returns the digests of the external tables in use, by table. The caller must not
// change the map.
func (s *State) TableDigests() map[string]string { return s.tables }

// Sizes returns the numbers of items, users and counted field values.
func (s *State) Sizes() (items, users, values int) {
	return s.items.len(), s.users.len(), s.Len()
}

// Item returns an item's description, nil if nobody has described it.
func (s *State) Item(id string) *ranker.ItemInfo {
	if it := s.items.get(id); it != nil {
		return it.Info
	}
	return nil
}

// Items returns all described items, sorted by id.
func (s *State) Items() []*ranker.ItemInfo {
	out, _ := s.ItemsFrom(0, math.MaxUint32)
	SortItems(out)
	return out
}

// ItemsFrom returns the described items of a part of the state, in no particular order: from a
// position on, 0 for the first call, and at most n. more is the position of the next part, 0 after
// the last one. Items that are not created or removed between the calls are in exactly one part.
func (s *State) ItemsFrom(at uint32, n int) (items []*ranker.ItemInfo, more uint32) {
	end := uint32(min(uint64(at)+uint64(n), uint64(s.items.slots.n)))
	for ; at < end; at++ {
		if it := s.items.in(at); it != nil && it.Info != nil {
			items = append(items, it.Info)
		}
	}
	if end == s.items.slots.n {
		end = 0
	}
	return items, end
}

// SortItems sorts items by id.
func SortItems(items []*ranker.ItemInfo) {
	slices.SortFunc(items, func(a, b *ranker.ItemInfo) int { return cmp.Compare(a.ID, b.ID) })
}

// Users yields the ids of all users in no particular order.
func (s *State) Users() iter.Seq[string] {
	return func(yield func(string) bool) {
		for u := range s.users.all {
			if !yield(u.id) {
				return
			}
		}
	}
}

// ItemState returns an item's state, nil for an unknown item. The state keeps owning it.
func (s *State) ItemState(id string) *ItemState { return s.items.get(id) }

// UserState returns a user's state, nil for an unknown user. The state keeps owning it, and it may
// be a copy.
func (s *State) UserState(id string) *UserState { return s.users.state(id) }

// PutItem sets an item's state to a copy of it, which shares its parts, so that s owns these from
// then on. nil removes the item.
func (s *State) PutItem(id string, it *ItemState) { s.items.set(id, it) }

// PutUser sets a user's state, which s owns from then on. nil removes the user.
func (s *State) PutUser(id string, u *UserState) { s.users.putState(id, u) }

// EraseUser removes the user with a UserHash, if there is one.
func (s *State) EraseUser(hash string) { s.users.erase(hash) }

// Complete reports whether the content of a described item is loaded. DecodeItem returns an item
// without it if AppendItemState packed the item.
func (it *ItemState) Complete() bool { return it.Hash == 0 || it.Info != nil }

// History returns the ids of the items of the user's recent interactions, newest first.
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

// ---- Bounds ----

// maxPauses is how many of the longest pauses between two records make up Config.MaxAge.
const maxPauses = 64

// bounded reports whether items and users are dropped.
func (s *State) bounded() bool { return s.maxAge > 0 }

// now returns the arrival of the newest record on the clock of entry.seen.
func (s *State) now() int64 { return s.arrival - s.idle }

// advance moves the state to the arrival of the next record, and drops items and users that had no
// event for Config.MaxAge.
//
// A pause between two records counts as at most 1/64 of MaxAge: a server that was off for a year,
// or a clock that was wrong once, must not empty the catalogue.
func (s *State) advance(arrival int64) {
	before := s.arrival
	s.arrival = max(before, arrival)
	if !s.bounded() {
		return
	}
	if before != 0 {
		s.idle += max(0, s.arrival-before-s.maxAge/maxPauses)
	}
	s.items.dropOlder(s.now() - s.maxAge)
	s.users.dropOlder(s.now() - s.maxAge)
}

// sortByLastEvent brings items and users that were put into the state into the order in which they
// are dropped. No record was older than the newest of them, so the next one will not be.
func (s *State) sortByLastEvent() {
	sorts := []func(){s.items.sort, s.users.sort}
	parallel.Each(len(sorts), func(i int) { sorts[i]() })
	s.arrival = max(s.arrival, s.items.newestSeen(), s.users.newestSeen())
}
