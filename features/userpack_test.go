package features

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unique"

	"relish/features/event"
	"relish/ranker"
)

// randomUser returns a user with anything that an event, a checkpoint or a snapshot can bring.
func randomUser(r *rand.Rand, cfg *Config) *UserState {
	layout := newLayout(cfg)
	numbers := []float64{
		0, 1, 2, 254, 255, 256, 0.5, math.Pi, 1e-300, 5e-324, 1e300, -1, math.Copysign(0, -1),
		1 + 1e-15,
	}
	counts := func() (c decayedCounts) {
		if r.IntN(8) == 0 {
			return c
		}
		c.ref, c.values = r.Int64()-r.Int64(), make([]float64, layout.size())
		for i := range c.values {
			switch r.IntN(3) {
			case 0:
				c.values[i] = numbers[r.IntN(len(numbers))]
			case 1:
				c.values[i] = 1
			}
		}
		if r.IntN(3) == 0 { // after one event
			clear(c.values)
			for i := range layout.rates {
				c.values[i] = 1
			}
		}
		return c
	}
	u := &UserState{
		seen: r.Int64N(2e12), counts: counts(), values: make([][]userFieldCounts, len(cfg.Fields)),
	}
	if r.IntN(2) == 0 {
		u.fields = map[string]ranker.FieldValue{"a": ranker.NumberValue(r.Float64())}
		u.times = map[string]int64{"a": r.Int64()}
	}
	for range r.IntN(5) {
		u.recent = append(u.recent, ranker.Interaction{
			Item: fmt.Sprint("i", r.IntN(9)), Action: []string{"click", "view", "other"}[r.IntN(3)],
			Time:  r.Int64() - r.Int64(),
			Value: []float32{1, 0, 2.5, float32(math.Inf(1))}[r.IntN(4)],
		})
	}
	for range r.IntN(5) {
		u.shown = append(u.shown, ranker.Shown{
			Item: fmt.Sprint("i", r.IntN(9)), Time: r.Int64N(1e12), Clicked: r.IntN(2) == 0,
		})
	}
	for f := range u.values {
		for range r.IntN(4) {
			u.values[f] = append(u.values[f], userFieldCounts{
				value: unique.Make(fmt.Sprint("v", r.IntN(9))), seen: r.Int64N(2e12),
				decayedCounts: counts(),
			})
		}
	}
	return u
}

// Packing is exact, also into the memory of another user, and releases every name.
func TestPackedUsersAreExact(t *testing.T) {
	cfg := DefaultConfig()
	counters, users := NewCounters(cfg), newUserTable(&cfg, true)
	r := rand.New(rand.NewPCG(1, 1))
	var want, all [][]byte
	var seen []int64 // which a packed user does not include
	into := new(UserState)
	for range 2000 {
		u := randomUser(r, &cfg)
		seen = append(seen, u.seen)
		want = append(want, counters.AppendUser(nil, "u", u))
		all = append(all, bytes.Clone(users.packer.pack(u)))
	}
	for i := range all {
		users.packer.unpack(into, all[i])
		into.seen = seen[i]
		if !bytes.Equal(counters.AppendUser(nil, "u", into), want[i]) {
			t.Fatalf("user %d differs after packing", i)
		}
	}
	for i := range all {
		users.packer.release(into, all[i])
		into.seen = seen[i]
		if !bytes.Equal(counters.AppendUser(nil, "u", into), want[i]) {
			t.Fatalf("user %d differs when it is released", i)
		}
	}
	wantNoNames(t, users.packer.items)
	wantNoNames(t, users.packer.values)
}

func wantNoNames[N comparable](t *testing.T, n *interner[N]) {
	t.Helper()
	if n.index.n != 0 || len(n.free) != int(n.names.n) {
		t.Errorf("%d names are left, %d of %d numbers are free", n.index.n, len(n.free), n.names.n)
	}
}

// A state that packs its users gives what one gives that never does, and it forgets the names of
// erased users.
func TestPackedUsersInAState(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Recent, cfg.Shown, cfg.UserValues = 5, 8, 4
	packed, plain := New(cfg), New(cfg)
	plain.users.bounded = false
	r := rand.New(rand.NewPCG(2, 2))
	const users = maxUnpacked + 500
	for seq := range uint64(20_000) {
		user, id := fmt.Sprint("u", r.IntN(users)), fmt.Sprint("i", r.IntN(300))
		e := ranker.Event{
			Kind: ranker.EventInteraction, UserID: user, ItemID: id, Action: "click",
			Time: 1e12 + r.Int64N(1e9),
		}
		switch r.IntN(10) {
		case 0:
			e = ranker.Event{Kind: ranker.EventItem, ItemID: id, Tags: []string{id, user[:2]}}
		case 1:
			e = ranker.Event{Kind: ranker.EventErase, UserHash: UserHash(user)}
		case 2:
			e = ranker.Event{Kind: ranker.EventImpression, UserID: user, Time: e.Time,
				Impression: &ranker.Impression{Items: []string{id, "i1", "i2"}}}
		}
		for _, s := range []*State{packed, plain} {
			s.Apply(&event.Record{Seq: seq + 1, Arrival: 1.7e12 + int64(seq), Event: e})
		}
	}
	if n := packed.users.len() - len(packed.users.latest); n < 100 {
		t.Fatalf("only %d users are packed", n)
	}
	known, want := slices.Sorted(packed.Users()), slices.Sorted(plain.Users())
	if !slices.Equal(known, want) {
		t.Fatalf("%d users, want %d", len(known), len(want))
	}
	for id := range packed.Users() {
		got := packed.AppendUser(nil, id, packed.UserState(id))
		if !bytes.Equal(got, plain.AppendUser(nil, id, plain.UserState(id))) {
			t.Fatalf("the states of user %s differ", id)
		}
	}
	for i := range users {
		packed.EraseUser(UserHash(fmt.Sprint("u", i)))
	}
	if n := packed.users.packer.items; n.index.n != 0 {
		t.Errorf("%d items are still named after all users are erased", n.index.n)
	}
}

// A user may take the place of one who was erased while they were unpacked, and loses no event.
func TestUserInThePlaceOfAnErasedOne(t *testing.T) {
	s, n := New(DefaultConfig()), uint64(0)
	visit := func(user string) {
		n++
		s.Apply(&event.Record{Seq: n, Arrival: int64(n), Event: ranker.Event{
			Kind: ranker.EventInteraction, ID: "e", UserID: user, ItemID: "i", Action: "click",
			Time: int64(n),
		}})
	}
	user := func(i int) string { return fmt.Sprint("user", i) }
	for i := range maxUnpacked {
		visit(user(i))
	}
	for i := range maxUnpacked {
		s.EraseUser(UserHash(user(i)))
		visit("new " + user(i))
	}
	for i := range maxUnpacked {
		if u := s.UserState("new " + user(i)); u == nil || len(u.recent) != 1 {
			t.Fatalf("new user %d is %+v", i, u)
		}
	}
}
