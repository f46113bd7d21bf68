package features

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"relish/features/event"
	"relish/ranker"
)

// counted is an entry that counts how often a table looks at one.
type counted struct{ entry }

var visits int

func (c *counted) tableEntry() *entry { visits++; return &c.entry }

type countedTable = table[counted, *counted]

// filled returns a table of n entries, some of which have the same time.
func filled(n int) (t countedTable, now int64) {
	t = newTable[counted](false)
	t.hashes = &hashIndex{}
	for i := range n {
		now = int64(i / 3)
		t.add(fmt.Sprint("e", i), &counted{}, now)
	}
	return t, now
}

// What an event looks at does not grow with the table.
func TestVisitsOfAnEventAreBounded(t *testing.T) {
	for _, n := range []int{1000, 100_000} {
		for name, event := range map[string]func(t *countedTable, i int, now int64){
			"touch": func(t *countedTable, i int, now int64) {
				t.touch(t.get(fmt.Sprint("e", i)), now)
			},
			"remove": func(t *countedTable, i int, _ int64) {
				t.remove(t.get(fmt.Sprint("e", i)))
			},
			"replace": func(t *countedTable, i int, now int64) {
				t.makeRoom(n)
				t.add(fmt.Sprint("new", i), &counted{}, now)
			},
			"grow old": func(t *countedTable, i int, now int64) { t.dropOlder(int64(i)) },
		} {
			table, now := filled(n)
			most := 0
			for i := range 300 {
				visits = 0
				event(&table, i, now+int64(i))
				most = max(most, visits)
			}
			if most > 40 {
				t.Errorf("%s in a table of %d visits %d entries", name, n, most)
			}
		}
		table, now := filled(n)
		visits = 0
		table.dropOlder(now)
		if limit := 20 * maxDrops; visits > limit || table.len() > n-maxDrops {
			t.Errorf("when all of %d grow old at once, %d visits leave %d", n, visits, table.len())
		}
	}
}

// After an import all entries may have the same time. A drop looks at few of them nevertheless,
// also while entries of this time come and go.
func TestDropsAmongTiesVisitFewEntries(t *testing.T) {
	const n, drops = 10_000, 5000
	table := newTable[counted](false)
	for i := range n {
		table.add(fmt.Sprint("e", i), &counted{}, 1)
	}
	visits = 0
	for i := range drops {
		table.makeRoom(n)
		table.add(fmt.Sprint("f", i), &counted{}, 1)
		table.remove(table.get(fmt.Sprint("f", i)))
		table.add(fmt.Sprint("g", i), &counted{}, 1)
	}
	if most := 10*n + 100*drops; visits > most {
		t.Errorf("%d drops visit %d entries, want at most %d", drops, visits, most)
	}
	if held := len(table.ties.heap); held > 2*n+minTies+1 {
		t.Errorf("%d tied entries are held, for a table of %d", held, n)
	}
}

// A table drops the same entries as sorting all of them by time and id.
func TestDropsAreTheOldestEntries(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 3))
		table, now := newTable[counted](false), int64(1000)
		seen := map[string]int64{}
		byAge := func(a, b string) int {
			return cmp.Or(cmp.Compare(seen[a], seen[b]), cmp.Compare(a, b))
		}
		for range 2000 {
			id := fmt.Sprint("e", r.IntN(60))
			now += int64(r.IntN(20) / 18)
			at := now
			if r.IntN(50) == 0 {
				at -= 5
			}
			switch v := table.get(id); {
			case v == nil && r.IntN(4) == 0:
				c := &counted{}
				c.seen = at
				table.put(id, c)
				seen[id] = at
			case v == nil:
				table.makeRoom(40)
				for len(seen) >= 40 {
					ids := make([]string, 0, len(seen))
					for id := range seen {
						ids = append(ids, id)
					}
					delete(seen, slices.MinFunc(ids, byAge))
				}
				table.add(id, &counted{}, at)
				seen[id] = at
			case r.IntN(10) == 0:
				table.remove(v)
				delete(seen, id)
			default:
				table.touch(v, at)
				seen[id] = at
			}
			if r.IntN(30) == 0 {
				table.dropOlder(now - 3)
				for id, at := range seen {
					if at < now-3 {
						delete(seen, id)
					}
				}
			}
			if table.len() != len(seen) {
				t.Fatalf("seed %d: %d entries, want %d", seed, table.len(), len(seen))
			}
			for id, at := range seen {
				if v := table.get(id); v == nil || v.seen != at || table.in(v.slot) != v {
					t.Fatalf("seed %d: entry %s is %+v, want time %d", seed, id, v, at)
				}
			}
		}
	}
}

// The index finds every user, and few others, also among ids whose hashes begin alike.
func TestHashIndex(t *testing.T) {
	const n = 300_000
	x, id := &hashIndex{}, func(i int) string { return fmt.Sprint("user", i) }
	keys := map[uint32]struct{}{}
	x.grow(n / 2)
	for i := range n {
		x.add(id(i), uint32(i))
		keys[indexKey(id(i))] = struct{}{}
	}
	if len(keys) == n {
		t.Fatal("no two hashes begin alike, so that is not tested")
	}
	check := func(from int) {
		t.Helper()
		for i := range n {
			found := x.find(UserHash(id(i)))
			if has := slices.Contains(found, uint32(i)); has != (i >= from) || len(found) > 3 {
				t.Fatalf("user %d: %v", i, found)
			}
		}
	}
	check(0)
	for i := range n / 2 {
		x.remove(id(i), uint32(i))
	}
	check(n / 2)
	for i := n / 2; i < n; i++ {
		x.remove(id(i), uint32(i))
	}
	if x.index.n != 0 {
		t.Errorf("%d entries are left", x.index.n)
	}
	for _, hash := range []string{"", "0", "not hex at all", "aes:00000000:00"} {
		if found := x.find(hash); found != nil {
			t.Errorf("%q: %v", hash, found)
		}
	}
}

// The state keeps copies of the ids of new items: an event may hold parts of a long string, which
// would stay in memory.
func TestStateCopiesIDs(t *testing.T) {
	s := New(DefaultConfig())
	ids := strings.Repeat("x", 1000) + "a"
	s.Apply(&event.Record{Seq: 1, Arrival: 1, Event: ranker.Event{
		Kind: ranker.EventImpression, ID: "e", UserID: "u", Time: 1,
		Impression: &ranker.Impression{Items: []string{ids[1000:]}},
	}})
	if e := s.items.get("a"); unsafe.StringData(e.id) == unsafe.StringData(ids[1000:]) ||
		e.sharedID(ids[1000:]) != e.id {
		t.Errorf("the state holds the string of the event: %q", e.id)
	}
}
