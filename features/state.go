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
// Reading order: config.go, state.go, apply.go, content.go and counters.go build the state;
// extract.go turns it into columns; codec.go, packed.go, checkpoint.go and dump.go write and read
// it.
package features

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"maps"
	"slices"

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

	items map[string]*ItemState
	users map[string]*UserState
	// tables has the digests of the external tables that table events named last, by table.
	tables map[string]string

	replica        string // whose log seq counts, 16 hex digits; "": unknown
	seq            uint64 // of the last record applied
	arrival        int64  // of the newest record applied, Unix ms
	expiryInterval int64  // ms between two checks for expired items and users; 0: nothing expires
	applied        AppliedParts
}

// ItemState is what is known of one item. Only Apply changes it.
type ItemState struct {
	Content       // Info is nil until somebody describes the item
	time    int64 // event time of the parts that times does not name, Unix ms
	times   map[string]int64
	first   int64 // event time of the first event that named the item, Unix ms
	seen    int64 // arrival of the last event, Unix ms
	counts  decayedCounts
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
}

// userFieldCounts are a user's counters for one value of an item field.
type userFieldCounts struct {
	value fieldValue
	seen  int64 // arrival of the last event, Unix ms
	decayedCounts
}

// New returns an empty state. cfg must be valid.
func New(cfg Config) *State {
	s := NewCounters(cfg).NewState()
	s.expiryInterval = cfg.MaxAgeDuration().Milliseconds() / expiryChecks
	return s
}

// expiryChecks is how often within Config.MaxAge the state looks for expired items and users.
const expiryChecks = 64

// NewState returns a state without users and items that counts in t. Nothing in it expires: it
// holds what a shared store has loaded, and that store drops what is old.
func (t *Counters) NewState() *State {
	return &State{
		Counters: t, items: map[string]*ItemState{}, users: map[string]*UserState{},
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

// TableDigests returns the digests of the external tables in use, by table. The caller must not
// change the map.
func (s *State) TableDigests() map[string]string { return s.tables }

// Sizes returns the numbers of items, users and counted field values.
func (s *State) Sizes() (items, users, values int) {
	return len(s.items), len(s.users), s.Len()
}

// Item returns an item's description, nil if nobody has described it.
func (s *State) Item(id string) *ranker.ItemInfo {
	if it := s.items[id]; it != nil {
		return it.Info
	}
	return nil
}

// Items returns all described items, sorted by id.
func (s *State) Items() []*ranker.ItemInfo {
	out := make([]*ranker.ItemInfo, 0, len(s.items))
	for _, it := range s.items {
		if it.Info != nil {
			out = append(out, it.Info)
		}
	}
	slices.SortFunc(out, func(a, b *ranker.ItemInfo) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Users yields the ids of all users in no particular order.
func (s *State) Users() iter.Seq[string] { return maps.Keys(s.users) }

// ItemState returns an item's state, nil for an unknown item. The state keeps owning it.
func (s *State) ItemState(id string) *ItemState { return s.items[id] }

// UserState returns a user's state, nil for an unknown user. The state keeps owning it.
func (s *State) UserState(id string) *UserState { return s.users[id] }

// PutItem sets an item's state, which s owns from then on. nil removes the item.
func (s *State) PutItem(id string, it *ItemState) { put(s.items, id, it) }

// PutUser sets a user's state, which s owns from then on. nil removes the user.
func (s *State) PutUser(id string, u *UserState) { put(s.users, id, u) }

func put[T any](m map[string]*T, id string, v *T) {
	if v == nil {
		delete(m, id)
		return
	}
	m[id] = v
}

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

// UserHash returns what an erase event carries instead of the user's id: the first half of its
// SHA-256 in hex. It reveals nothing to a reader who does not have the id.
func UserHash(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

// ---- Bounds ----

// advance moves the state to the arrival of the next record, and drops items and users that had no
// event for Config.MaxAge. It drops at fixed steps of the arrival time, so that every replay drops
// the same ones at the same record.
//
// One step counts as at most expiryInterval: a server that was off for a year, or a clock that was
// wrong once, must not empty the catalogue.
func (s *State) advance(arrival int64) {
	before := s.arrival
	s.arrival = max(before, arrival)
	if s.expiryInterval == 0 || before == 0 || arrival/s.expiryInterval <= before/s.expiryInterval {
		return
	}
	if gap := arrival - before - s.expiryInterval; gap > 0 {
		for _, it := range s.items {
			it.seen += gap
		}
		for _, u := range s.users {
			u.seen += gap
		}
	}
	oldest := arrival - s.cfg.MaxAgeDuration().Milliseconds()
	maps.DeleteFunc(s.items, func(_ string, it *ItemState) bool { return it.seen < oldest })
	maps.DeleteFunc(s.users, func(_ string, u *UserState) bool { return u.seen < oldest })
}

func (s *State) evictItems() {
	evict(s.items, s.cfg.MaxItems, func(it *ItemState) int64 { return it.seen })
}

func (s *State) evictUsers() {
	evict(s.users, s.cfg.MaxUsers, func(u *UserState) int64 { return u.seen })
}

// evictionSlack lets a map exceed its bound by 1/64 before evict runs, so that evicting costs
// little per event.
const evictionSlack = 64

// evict drops the entries whose last event arrived longest ago until the map keeps its bound. Ties
// are broken by key, so that every replay drops the same ones.
func evict[T any](m map[string]T, bound int, seen func(T) int64) {
	if len(m) <= bound+max(1, bound/evictionSlack) {
		return
	}
	keys := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(seen(m[a]), seen(m[b])), cmp.Compare(a, b))
	})
	dropped := 0
	for _, k := range keys {
		if len(m) <= bound || dropped > len(keys)-bound {
			return
		}
		if seen(m[k]) == 0 { // just created, without an arrival yet
			continue
		}
		delete(m, k)
		dropped++
	}
}
