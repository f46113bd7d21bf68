package features

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// randomTable returns a table with n random users, all of them packed.
func randomTable(cfg *Config, n int) (*userTable, [][]byte) {
	t, r := newUserTable(cfg, true), rand.New(rand.NewPCG(3, 3))
	var packed [][]byte
	for range n {
		packed = append(packed, bytes.Clone(t.packer.pack(randomUser(r, cfg))))
	}
	return t, packed
}

func namesOf(t *userTable) (n [interners]uint32) {
	for k, of := range t.packer.interners() {
		n[k] = of.numbers()
	}
	return n
}

// The check accepts what pack returns, and counts each reference.
func TestCheckCountsReferences(t *testing.T) {
	cfg := DefaultConfig()
	users, packed := randomTable(&cfg, 500)
	c := newUserChecker(&users.packer, namesOf(users))
	for i, b := range packed {
		d := decoder{b: b}
		c.check(&d)
		if err := d.done(); err != nil {
			t.Fatalf("user %d: %v", i, err)
		}
	}
	wantReferences(t, users.packer.items, c.refs[internedItems])
	wantReferences(t, users.packer.values, c.refs[internedValues])
}

func wantReferences[N comparable](t *testing.T, n *interner[N], counted []uint32) {
	t.Helper()
	for id, refs := range counted {
		if want := n.names.ptr(uint32(id)).refs; refs != want {
			t.Errorf("%d references to %v, want %d", refs, n.names.ptr(uint32(id)).name, want)
		}
	}
}

// Whatever bytes the check accepts can be unpacked. It needs no more memory than the users that
// pack returns.
func FuzzCheckedUser(f *testing.F) {
	cfg := DefaultConfig()
	users, packed := randomTable(&cfg, 50)
	for _, b := range packed {
		f.Add(b)
	}
	names := namesOf(users)
	f.Fuzz(func(t *testing.T, data []byte) {
		d := decoder{b: data}
		newUserChecker(&users.packer, names).check(&d)
		if d.done() != nil {
			return
		}
		u := new(UserState)
		users.packer.unpack(u, data)
		if n := len(u.block); n > users.packer.layout.size()*(len(data)+1) {
			t.Errorf("%d counters of %d bytes", n, len(data))
		}
	})
}

// Each byte of a packed user that is changed is refused by the check, or gives another user that
// can be unpacked.
func TestChangedUsersNeverPanic(t *testing.T) {
	cfg := DefaultConfig()
	users, packed := randomTable(&cfg, 60)
	c, u := newUserChecker(&users.packer, namesOf(users)), new(UserState)
	refused := 0
	for _, good := range packed {
		for at := range good {
			for _, x := range []byte{0x01, 0x7f, 0x80, 0xff} {
				bad := slices.Clone(good)
				bad[at] ^= x
				d := decoder{b: bad}
				if c.check(&d); d.done() != nil {
					refused++
					continue
				}
				users.packer.unpack(u, bad)
			}
		}
	}
	if refused == 0 {
		t.Error("the check has refused nothing")
	}
}

// The names of a checkpoint have the references that its users have: after all users are erased,
// none is left.
func TestNamesOfACheckpointAreCounted(t *testing.T) {
	cfg, r := DefaultConfig(), rand.New(rand.NewPCG(4, 4))
	s := New(cfg)
	for range 2 * maxUnpacked {
		s.PutUser(string(rune('a'+r.IntN(2000))), randomUser(r, &cfg))
	}
	for id := range s.Users() { // frees some numbers
		if r.IntN(2) == 0 {
			s.PutUser(id, nil)
		}
	}
	var file bytes.Buffer
	if err := s.WriteCheckpoint(&file); err != nil {
		t.Fatal(err)
	}
	got, err := ReadCheckpoint(cfg, &file)
	if err != nil {
		t.Fatal(err)
	}
	if got.users.len() != s.users.len() || got.users.len() == 0 {
		t.Fatalf("%d users, want %d", got.users.len(), s.users.len())
	}
	for id := range s.Users() {
		if !bytes.Equal(got.AppendUser(nil, id, got.UserState(id)),
			s.AppendUser(nil, id, s.UserState(id))) {
			t.Fatalf("user %q differs", id)
		}
		got.PutUser(id, nil)
	}
	wantNoNames(t, got.users.packer.items)
	wantNoNames(t, got.users.packer.values)
}

// A checkpoint whose users refer to a number without a name is refused.
func TestReferencesToNoName(t *testing.T) {
	n := newItemInterner()
	d := decoder{b: []byte{2, 2, 'a', 0}} // "a", and a free number
	n.load(&d, 2)
	if err := d.done(); err != nil || n.names.n != 2 {
		t.Fatalf("%v, %d names", err, n.names.n)
	}
	if n.addReferences([]uint32{1, 1}) == nil {
		t.Error("accepted a reference to a free number")
	}
	for name, bad := range map[string][]byte{
		"too many": {3, 2, 'b', 2, 'c', 2, 'd'}, "twice": {2, 2, 'e', 2, 'e'}, "none": {0},
		"too long": {1, 4, 'f'},
	} {
		d, n := decoder{b: bad}, newItemInterner()
		if n.load(&d, 2); d.done() == nil {
			t.Errorf("accepted names: %s", name)
		}
	}
}
