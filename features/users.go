package features

import (
	"bytes"
	"slices"
	"strings"
	"sync"
)

// The users of a bounded state are packed: a user of 20 interactions takes 1 KB instead of 22 KB,
// and the garbage collector has one block without pointers to look at. The users of the latest
// events stay unpacked, because the next events are often theirs. A state that is not bounded packs
// no user.

// userRecord is a user's place in the table. Its state is packed or unpacked.
type userRecord struct {
	entry
	packed   []byte
	unpacked *UserState
}

// maxUnpacked bounds the users that stay unpacked. With full histories they take 12 MB.
const maxUnpacked = 256

// userTable holds the users of a state.
type userTable struct {
	table[userRecord, *userRecord]
	bounded bool
	packer  userPacker
	// latest has the unpacked users of a bounded state, as a ring: the one at next was unpacked
	// first.
	latest []*userRecord
	next   int
}

func newUserTable(cfg *Config, bounded bool) *userTable {
	t := &userTable{
		table: newTable[userRecord](!bounded), bounded: bounded,
		packer: userPacker{
			cfg: cfg, layout: newLayout(cfg),
			items: newItemInterner(), values: newValueInterner(),
		},
	}
	t.hashes, t.onRemove = &hashIndex{}, t.forget
	return t
}

// state returns a user's state for reading, nil for an unknown user. It may be a copy.
func (t *userTable) state(id string) *UserState {
	r := t.get(id)
	if r == nil {
		return nil
	}
	return t.unpack(r, new(UserState))
}

// unpack returns the state of a user for reading: the state itself, or a copy in the memory of
// into.
func (t *userTable) unpack(r *userRecord, into *UserState) *UserState {
	if r.unpacked != nil {
		return r.unpacked
	}
	t.packer.unpack(into, r.packed)
	into.seen = r.seen
	return into
}

// change returns the state of a known user to be changed by an event that arrives now.
func (t *userTable) change(r *userRecord, now int64) *UserState {
	t.touch(r, now)
	if r.unpacked == nil {
		u := new(UserState)
		t.packer.release(u, r.packed)
		r.packed, r.unpacked = nil, u
		t.keepUnpacked(r)
	}
	r.unpacked.seen = now
	return r.unpacked
}

// create adds a user whose first event arrives now.
func (t *userTable) create(id string, now int64) *UserState {
	u := t.packer.newUser()
	u.seen = now
	id = strings.Clone(id) // it may be a part of a long string
	t.keepUnpacked(t.add(id, &userRecord{unpacked: u}, now))
	return u
}

// keepUnpacked makes r one of the unpacked users, and packs the one that was unpacked first.
func (t *userTable) keepUnpacked(r *userRecord) {
	if !t.bounded {
		return
	}
	if len(t.latest) < maxUnpacked {
		t.latest = append(t.latest, r)
		return
	}
	if first := t.latest[t.next]; first != nil { // nil: the user was removed
		t.pack(first)
	}
	t.latest[t.next] = r
	t.next = (t.next + 1) % maxUnpacked
}

// pack packs a user's state. A save packs the user first, because
// the names that packing acquires may be newer than the save.
func (t *userTable) pack(r *userRecord) {
	if r.unpacked != nil {
		t.save.before(r.slot)
		r.packed, r.unpacked = bytes.Clone(t.packer.pack(r.unpacked)), nil
	}
}

// putState adds a loaded user, whose seen is set. nil removes the user.
func (t *userTable) putState(id string, u *UserState) {
	if u == nil {
		t.set(id, nil)
		return
	}
	r := t.put(id, &userRecord{entry: entry{seen: u.seen}, unpacked: u})
	if t.bounded {
		t.pack(r)
	}
}

// forget drops what a removed user holds. Another user may take the place of r.
func (t *userTable) forget(r *userRecord) {
	if r.unpacked == nil {
		t.packer.release(new(UserState), r.packed)
	} else if k := slices.Index(t.latest, r); k >= 0 {
		t.latest[k] = nil
	}
}

// erase removes the user with a UserHash, if there is one.
func (t *userTable) erase(hash string) {
	for _, slot := range t.hashes.find(hash) {
		if r := t.in(slot); UserHash(r.id) == hash {
			t.remove(r)
		}
	}
}

// unpackedUsers keeps the memory into which Read unpacks users.
var unpackedUsers = sync.Pool{New: func() any { return new(UserState) }}
