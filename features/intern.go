package features

import "math"

// interner gives each string that packed users refer to a small number, so that a history of
// hundreds of item ids takes few bytes. It counts the references and forgets what nobody refers to.
type interner struct {
	ids   map[string]uint32
	names slab[internedName]
	free  []uint32
	save  *nameWalk // of a save in progress, nil without one
}

// internedName is a name and the number of its references. A number without references is free.
type internedName struct {
	name string
	refs uint32
}

func newInterner() *interner { return &interner{ids: map[string]uint32{}} }

// acquire returns the number of name, with one more reference.
func (n *interner) acquire(name string) uint32 {
	id, known := n.ids[name]
	switch {
	case known:
	case len(n.free) > 0:
		id, n.free = n.free[len(n.free)-1], n.free[:len(n.free)-1]
		n.save.before(id)
		n.names.set(id, internedName{name: name})
		n.ids[name] = id
	default:
		id = n.names.add(internedName{name: name})
		n.ids[name] = id
	}
	n.names.ptr(id).refs++
	return id
}

// release drops one reference.
func (n *interner) release(id uint32) {
	x := n.names.ptr(id)
	if x.refs == 1 {
		n.save.before(id)
		delete(n.ids, x.name)
		*x = internedName{}
		n.free = append(n.free, id)
		return
	}
	x.refs--
}

func (n *interner) name(id uint32) string { return n.names.ptr(id).name }

// ---- The names in a checkpoint ----

// namesAtOnce is the number of names in one packed value of a checkpoint, so that a step of a save
// is short.
const namesAtOnce = 32

// nameWalk is the way of a save through the names of an interner, in the order of their numbers. A
// nil nameWalk does nothing.
type nameWalk struct {
	of        *interner
	next, end uint32 // the numbers still to be visited
	// changed has the names as of the begin of the save that have changed before their turn.
	changed map[uint32]internedName
}

func newNameWalk(of *interner) *nameWalk {
	return &nameWalk{of: of, end: of.names.n, changed: map[uint32]internedName{}}
}

// before must be called before the name of a number changes.
func (w *nameWalk) before(id uint32) {
	if w == nil || id < w.next || id >= w.end {
		return
	}
	if _, known := w.changed[id]; !known {
		w.changed[id] = *w.of.names.ptr(id)
	}
}

// step appends the next names, at most namesAtOnce: their number, and for each the length plus 1
// and the bytes, or 0 for a free number.
func (w *nameWalk) step(e *encoder) {
	to := min(w.next+namesAtOnce, w.end)
	e.uint(uint64(to - w.next))
	for ; w.next < to; w.next++ {
		x, changed := w.changed[w.next]
		if changed {
			delete(w.changed, w.next)
		} else {
			x = *w.of.names.ptr(w.next)
		}
		if x.refs == 0 {
			e.uint(0)
			continue
		}
		e.uint(uint64(len(x.name)) + 1)
		e.b = append(e.b, x.name...)
	}
}

// load adds the names that step has appended, each with one reference, which addReferences takes
// back. It fails if that gives more than limit names, or one twice.
func (n *interner) load(d *decoder, limit uint32) {
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
			n.names.add(internedName{})
			continue
		}
		from, known := len(text)-len(d.b), len(n.ids)
		name := text[from : from+int(size-1)]
		d.b = d.b[size-1:]
		n.ids[name] = n.names.add(internedName{name: name, refs: 1})
		if len(n.ids) == known {
			d.fail()
			return
		}
	}
}

// addReferences adds what was counted for each of the loaded names, which have the first numbers,
// and frees the numbers without a reference. It fails if there are references to a free number.
func (n *interner) addReferences(counted ...[]uint32) error {
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
