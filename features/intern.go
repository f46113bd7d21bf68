package features

import (
	"math"
	"unique"
)

// interner gives each name that packed users refer to a small number, so that a history of hundreds
// of item ids takes few bytes. It counts the references and forgets what nobody refers to. Item ids
// are names as strings, field values as fieldValue.
type interner[N comparable] struct {
	index idIndex // of the texts of the names
	names slab[internedName[N]]
	free  []uint32
	save  *nameWalk // of a save in progress, nil without one

	text   func(N) string // of a name
	ofText func(string) N // its inverse
}

// internedName is a name and the number of its references. A number without references is free.
type internedName[N comparable] struct {
	name N
	refs uint32
}

func newItemInterner() *interner[string] {
	same := func(id string) string { return id }
	return &interner[string]{text: same, ofText: same}
}

func newValueInterner() *interner[fieldValue] {
	return &interner[fieldValue]{text: fieldValue.Value, ofText: unique.Make[string]}
}

// acquire returns the number of name, with one more reference.
func (n *interner[N]) acquire(name N) uint32 {
	hash := indexHash(n.text(name))
	id := n.find(hash, name)
	if id != noSlot {
		n.names.ptr(id).refs++
		return id
	}
	added := internedName[N]{name: name, refs: 1}
	if last := len(n.free) - 1; last >= 0 {
		id, n.free = n.free[last], n.free[:last]
		n.save.before(id)
		n.names.set(id, added)
	} else {
		id = n.names.add(added)
	}
	n.index.add(hash, id)
	return id
}

// find returns the number of name, whose text has the hash, and noSlot if it has none.
func (n *interner[N]) find(hash uint32, name N) uint32 {
	id, at := n.index.first(hash)
	for id != noSlot && n.names.ptr(id).name != name {
		id = at.next()
	}
	return id
}

// release drops one reference.
func (n *interner[N]) release(id uint32) {
	x := n.names.ptr(id)
	if x.refs == 1 {
		n.save.before(id)
		n.index.remove(indexHash(n.text(x.name)), id)
		*x = internedName[N]{}
		n.free = append(n.free, id)
		return
	}
	x.refs--
}

// name returns the name with a number. With drop it also drops one reference.
func (n *interner[N]) name(id uint32, drop bool) N {
	name := n.names.ptr(id).name
	if drop {
		n.release(id)
	}
	return name
}

// ---- The names in a checkpoint ----

// numbers returns how many numbers there are, including free ones.
func (n *interner[N]) numbers() uint32 { return n.names.n }

// beginSave begins to pack the names as they are now, for one save at a time.
func (n *interner[N]) beginSave() *nameWalk {
	n.save = newNameWalk(n.names.n, func(id uint32) (text string, named bool) {
		x := n.names.ptr(id)
		if x.refs == 0 {
			return "", false
		}
		return n.text(x.name), true
	})
	return n.save
}

func (n *interner[N]) endSave() { n.save = nil }

// load adds the names that nameWalk.step has appended, each with one reference, which addReferences
// takes back. It fails if that gives more than limit numbers, or a name twice.
func (n *interner[N]) load(d *decoder, limit uint32) {
	count := d.length()
	if count == 0 || uint64(n.names.n)+uint64(count) > uint64(limit) {
		d.fail()
		return
	}
	text := string(d.b) // one string has all names of the value
	for range count {
		size := d.uint()
		if size > uint64(len(d.b))+1 {
			d.fail()
			return
		}
		if size == 0 {
			n.names.add(internedName[N]{})
			continue
		}
		from := len(text) - len(d.b)
		name := n.ofText(text[from : from+int(size-1)])
		d.b = d.b[size-1:]
		hash := indexHash(n.text(name))
		if n.find(hash, name) != noSlot {
			d.fail()
			return
		}
		n.index.add(hash, n.names.add(internedName[N]{name: name, refs: 1}))
	}
}

// addReferences adds what was counted for each of the loaded names, which have the first numbers,
// and frees the numbers without a reference. It fails if there are references to a free number.
func (n *interner[N]) addReferences(counted ...[]uint32) error {
	if len(counted) == 0 {
		return nil
	}
	for id := range uint32(len(counted[0])) {
		x, refs := n.names.ptr(id), uint64(0)
		for _, c := range counted {
			refs += uint64(c[id])
		}
		switch {
		case x.refs == 0 && refs > 0, uint64(x.refs)+refs > math.MaxUint32:
			return ErrCorrupt
		case x.refs == 0:
			n.free = append(n.free, id)
		default:
			x.refs += uint32(refs)
			n.release(id)
		}
	}
	return nil
}
