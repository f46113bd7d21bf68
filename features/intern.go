package features

// interner gives each string that packed users refer to a small number, so that a history of
// hundreds of item ids takes few bytes. It counts the references and forgets what nobody refers to.
type interner struct {
	ids   map[string]uint32
	names slab[internedName]
	free  []uint32
}

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
	if x.refs--; x.refs == 0 {
		delete(n.ids, x.name)
		*x = internedName{}
		n.free = append(n.free, id)
	}
}

func (n *interner) name(id uint32) string { return n.names.ptr(id).name }
