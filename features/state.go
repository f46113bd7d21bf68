// Package features turns events into state, and state into feature columns.
//
// State holds what is known of every item and user: counters of being shown and of each action
// (all-time and with half-lives) per item, per user, per value of the counted item fields, per user and
// such value, and for everything together; and each user's recent interactions and recently shown
// items. Apply is the only way in and Read the only way out, online and in replay alike: that is how
// what a model is trained on is what it is served.
//
// The stores (memory here; others later) keep a State durable and shared; the codec in this package
// packs one user or item into a checksummed value.
package features

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"

	"relish/ranker"
)

// State is the state of one server or one replay. It is not safe for concurrent use, except that any
// number of Reads may run at once while nothing is applied.
type State struct {
	*Counters
	// OpenTable returns the imported columns that a record in the log names. It is for replays, which see
	// each version from its record on; nil = records of imports change nothing, the owner calls UseTable.
	OpenTable func(name, digest string) *ExternalTable

	items map[string]*ItemState
	users map[string]*UserState

	seq            uint64
	arrival        int64
	expiryInterval int64 // ms between looks for what has expired
	applied        AppliedParts
}

// ItemState is what is known of one item. It is read-only outside Apply.
type ItemState struct {
	Content       // its Info is nil while nobody has described the item
	time    int64 // event time of the parts that times does not name
	times   map[string]int64
	first   int64 // event time of the first event that named it
	seen    int64 // arrival of the last
	counts  decayedCounts
}

// UserState is what is known of one user. It is read-only outside Apply.
type UserState struct {
	fields map[string]ranker.FieldValue
	times  map[string]int64
	recent []ranker.Interaction // newest first
	shown  []ranker.Shown       // newest first
	counts decayedCounts
	values [][]userFieldCounts // by counted field
	seen   int64               // arrival of the last event
}

// userFieldCounts are a user's counters for one value of an item field.
type userFieldCounts struct {
	value fieldValue
	seen  int64
	decayedCounts
}

// New returns an empty state. cfg must be valid.
func New(cfg Config) *State { return NewCounters(cfg).NewState() }

// expiryChecks is how often within Config.MaxAge the state looks for what has expired.
const expiryChecks = 64

// NewState returns a state without users and items whose tables are t: what is applied to it counts
// there.
func (t *Counters) NewState() *State {
	return &State{Counters: t, items: map[string]*ItemState{}, users: map[string]*UserState{}, expiryInterval: t.cfg.MaxAgeDuration().Milliseconds() / expiryChecks}
}

// Seq returns the sequence of the last record applied.
func (s *State) Seq() uint64 { return s.seq }

// Sizes returns how many items, users and field values are held.
func (s *State) Sizes() (items, users, values int) {
	for _, m := range s.values {
		values += len(m)
	}
	return len(s.items), len(s.users), values
}

// Item returns what is known of an item, nil if nobody has described it.
func (s *State) Item(id string) *ranker.ItemInfo {
	if it := s.items[id]; it != nil {
		return it.Info
	}
	return nil
}

// Items returns all described items, in the order of their ids.
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

// UserHash is what an Erase event carries instead of the user's id: half of its SHA-256. It tells
// nothing to someone who does not have the id already.
func UserHash(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

// expire drops what had no event for Config.MaxAge. It looks at the ticks of a clock that runs on arrival
// times, so that every replay drops the same at the same record.
func (s *State) expire(arrival int64) {
	if arrival/s.expiryInterval <= s.arrival/s.expiryInterval || s.arrival == 0 {
		return
	}
	oldest := arrival - s.cfg.MaxAgeDuration().Milliseconds()
	maps.DeleteFunc(s.items, func(_ string, it *ItemState) bool { return it.seen < oldest })
	maps.DeleteFunc(s.users, func(_ string, u *UserState) bool { return u.seen < oldest })
}

// evictionSlack lets a map grow over its bound before the oldest are dropped together, so that dropping costs
// little per event.
const evictionSlack = 64

func (s *State) evictItems() {
	evict(s.items, s.cfg.MaxItems, func(it *ItemState) int64 { return it.seen })
}

func (s *State) evictUsers() {
	evict(s.users, s.cfg.MaxUsers, func(u *UserState) int64 { return u.seen })
}

// evict drops the entries longest untouched, by arrival, down to the bound; ties go by key, so that
// every replay drops the same.
func evict[T any](m map[string]T, bound int, seen func(T) int64) {
	if len(m) <= bound+max(1, bound/evictionSlack) {
		return
	}
	keys := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(seen(m[a]), seen(m[b])), cmp.Compare(a, b))
	})
	// The newest entry has just been made and has no arrival yet: it is kept.
	dropped := 0
	for _, k := range keys {
		if len(m) <= bound || dropped > len(keys)-bound {
			return
		}
		if seen(m[k]) == 0 {
			continue
		}
		delete(m, k)
		dropped++
	}
}
