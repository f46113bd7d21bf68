package features

// interner gives each name that packed users refer to a small number, so that a history of hundreds
// of item ids takes few bytes. It counts the references and forgets what nobody refers to. Item ids
// are names as strings, field values as fieldValue.
type interner[N comparable] struct {
	ids   map[N]uint32
	names slab[internedName[N]]
	free  []uint32
}

type internedName[N comparable] struct {
	name N
	refs uint32
}

func newInterner[N comparable]() *interner[N] { return &interner[N]{ids: map[N]uint32{}} }

// acquire returns the number of name, with one more reference.
func (n *interner[N]) acquire(name N) uint32 {
	id, known := n.ids[name]
	switch {
	case known:
	case len(n.free) > 0:
		id, n.free = n.free[len(n.free)-1], n.free[:len(n.free)-1]
		n.names.set(id, internedName[N]{name: name})
		n.ids[name] = id
	default:
		id = n.names.add(internedName[N]{name: name})
		n.ids[name] = id
	}
	n.names.ptr(id).refs++
	return id
}

// release drops one reference.
func (n *interner[N]) release(id uint32) {
	x := n.names.ptr(id)
	if x.refs--; x.refs == 0 {
		delete(n.ids, x.name)
		*x = internedName[N]{}
		n.free = append(n.free, id)
	}
}

// name returns the name with a number. With drop it also drops one reference.
func (n *interner[N]) name(id uint32, drop bool) N {
	name := n.names.ptr(id).name
	if drop {
		n.release(id)
	}
	return name
}
