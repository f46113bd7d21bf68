package features

import (
	"bytes"
	"math"
	"math/bits"
)

// A checkpoint has most users in the form in which the memory has them, with numbers for item ids
// and field values. So a start copies them, and neither looks up a name nor computes anything. It
// checks them first, because the functions that read packed users trust them.
//
// The names of the numbers come before the users. Users that were unpacked when the save began have
// the form of AppendUser.

// namesAtOnce is the number of names in one packed value of a checkpoint, so that a step of a save
// is short.
const namesAtOnce = 32

// nameWalk is the way of a save through the names of an interner, in the order of their numbers. A
// nil nameWalk does nothing.
type nameWalk struct {
	next, end uint32 // the numbers still to be visited
	name      func(id uint32) (text string, named bool)
	// changed has the names as of the begin of the save that have changed before their turn.
	changed map[uint32]changedName
}

type changedName struct {
	text  string
	named bool // false: the number was free
}

func newNameWalk(end uint32, name func(uint32) (string, bool)) *nameWalk {
	return &nameWalk{end: end, name: name, changed: map[uint32]changedName{}}
}

// before must be called before the name of a number changes.
func (w *nameWalk) before(id uint32) {
	if w == nil || id < w.next || id >= w.end {
		return
	}
	if _, known := w.changed[id]; !known {
		text, named := w.name(id)
		w.changed[id] = changedName{text, named}
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
			x.text, x.named = w.name(w.next)
		}
		if !x.named {
			e.uint(0)
			continue
		}
		e.uint(uint64(len(x.text)) + 1)
		e.b = append(e.b, x.text...)
	}
}

// Indexes of the interners in a checkpoint.
const (
	internedItems = iota
	internedValues
	interners
)

// namedNumbers is an interner of any kind of names.
type namedNumbers interface {
	numbers() uint32
	beginSave() *nameWalk
	endSave()
	load(d *decoder, limit uint32)
	addReferences(counted ...[]uint32) error
}

func (p *userPacker) interners() [interners]namedNumbers {
	return [interners]namedNumbers{internedItems: p.items, internedValues: p.values}
}

// loadSizes says how much follows in a checkpoint, so that tables are made in their size.
type loadSizes struct {
	items, users uint64
	names        [interners]uint32 // numbers, including free ones
}

func (s *State) sizes() loadSizes {
	z := loadSizes{items: uint64(s.items.len()), users: uint64(s.users.len())}
	for k, n := range s.users.packer.interners() {
		z.names[k] = n.numbers()
	}
	return z
}

// appendSizes packs the sizes.
func (t *Counters) appendSizes(dst []byte, z loadSizes) []byte {
	e := encoder{dst}
	e.begin(kindSizes, t.layoutHash)
	e.uint(z.items)
	e.uint(z.users)
	for _, n := range z.names {
		e.uint(uint64(n))
	}
	e.seal(len(dst))
	return e.b
}

func (t *Counters) decodeSizes(packed []byte) (z loadSizes, err error) {
	d := decoder{b: packed}
	d.open(kindSizes, t.layoutHash)
	z.items, z.users = d.uint(), d.uint()
	for k := range z.names {
		n := d.uint()
		if n > math.MaxUint32 {
			d.fail()
		}
		z.names[k] = uint32(n)
	}
	return z, d.done()
}

// appendNames packs the next names of a walk.
func (t *Counters) appendNames(dst []byte, w *nameWalk) []byte {
	e := encoder{dst}
	e.begin(kindNames, t.layoutHash)
	w.step(&e)
	e.seal(len(dst))
	return e.b
}

func (t *Counters) loadNames(packed []byte, into namedNumbers, limit uint32) error {
	d := decoder{b: packed}
	d.open(kindNames, t.layoutHash)
	into.load(&d, limit)
	return d.done()
}

// appendPackedUser packs a user whose state is packed. Their last event was seen later by the time
// idle, ms.
func (t *Counters) appendPackedUser(dst []byte, r *userRecord, idle int64) []byte {
	e := encoder{dst}
	e.begin(kindPackedUser, t.layoutHash)
	e.string(r.id)
	e.int(r.seen + idle)
	e.b = append(e.b, r.packed...)
	e.seal(len(dst))
	return e.b
}

// decodePackedUser reads what appendPackedUser wrote.
func (t *Counters) decodePackedUser(data []byte, c *userChecker) (r *userRecord, err error) {
	d := decoder{b: data}
	d.open(kindPackedUser, t.layoutHash)
	r = new(userRecord)
	r.id, r.seen = d.string(), d.int()
	r.packed = bytes.Clone(d.b)
	c.check(&d)
	return r, d.done()
}

// ---- Checks ----

// userChecker checks packed users, and counts their references to names. Each goroutine has its
// own.
type userChecker struct {
	layout  *counterLayout
	actions uint64
	fields  int
	refs    [interners][]uint32 // by number
}

func newUserChecker(p *userPacker, names [interners]uint32) *userChecker {
	c := &userChecker{
		layout: &p.layout, actions: uint64(len(p.cfg.Actions)), fields: len(p.cfg.Fields),
	}
	for k, n := range names {
		c.refs[k] = make([]uint32, n)
	}
	return c
}

// check reads a packed user. d fails if userPacker.walk could not read the same bytes.
func (c *userChecker) check(d *decoder) {
	d.fields()
	d.times()
	for range d.length() {
		c.name(d, internedItems, d.uint())
		c.action(d)
		d.skipVarint()
	}
	for range d.length() {
		code := d.uint()
		c.name(d, internedItems, code>>2)
		if code&1 == 0 {
			d.skipVarint()
		}
	}
	counters, found := d.uint(), uint64(1)
	c.counts(d)
	for range c.fields {
		n := d.length()
		found += uint64(n)
		for range n {
			c.name(d, internedValues, d.uint())
			d.skipVarint()
			c.counts(d)
		}
	}
	if counters != found {
		d.fail()
	}
}

// name counts a reference to a name. Whether a number has a name is found out by addReferences.
func (c *userChecker) name(d *decoder, of int, id uint64) {
	if refs := c.refs[of]; id < uint64(len(refs)) {
		refs[id]++
	} else {
		d.fail()
	}
}

func (c *userChecker) action(d *decoder) {
	code := d.uint()
	switch at := code >> 1; {
	case at == c.actions:
		d.skip(d.length())
	case at > c.actions:
		d.fail()
	}
	if code&1 != 0 {
		d.skip(4)
	}
}

func (c *userChecker) counts(d *decoder) {
	code := d.uint()
	if code == 0 {
		return
	}
	present, ones := (code-1)>>1, (code-1)&1 != 0
	if present>>c.layout.kinds != 0 {
		d.fail()
	}
	d.skipVarint()
	if ones {
		return
	}
	uniform := d.uint()
	if uniform&^present != 0 {
		d.fail()
	}
	for ; present != 0; present &= present - 1 {
		if uniform&present&-present != 0 {
			d.skip(1)
			continue
		}
		raw := d.byte()
		if raw>>len(c.layout.rates) != 0 {
			d.fail()
		}
		d.skip(len(c.layout.rates) + 7*bits.OnesCount8(raw))
	}
}
