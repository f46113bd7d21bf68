package features

import (
	"encoding/binary"
	"math"
	"slices"

	"relish/ranker"
)

// userPacker packs users into bytes that refer to item ids and field values by numbers of its
// interners. The arrival of the last event is not included; userRecord has it. Packing is exact. A
// checkpoint has the bytes as they are, with the names of the numbers (see packedusers.go), so a
// change of the form needs a new checkpointVersion.
//
// Numbers are varints. Times are differences to the time before, because they are close together.
// A row of counters has one for each half-life. It takes one byte if all are the same small whole
// number. Else a small whole number takes one byte, and any other eight.
//
// unpack only reads the packer, so that several Reads may run at once.
type userPacker struct {
	cfg    *Config
	layout counterLayout
	items  *interner[string]
	values *interner[fieldValue]
	buf    []byte
}

func (p *userPacker) newUser() *UserState {
	return &UserState{values: make([][]userFieldCounts, len(p.cfg.Fields))}
}

// pack returns the packed user, valid until the next call. It acquires what the user refers to.
func (p *userPacker) pack(u *UserState) []byte {
	e := encoder{p.buf[:0]}
	e.fields(u.fields)
	e.times(u.times)
	e.uint(uint64(len(u.recent)))
	last := int64(0)
	for i := range u.recent {
		in := &u.recent[i]
		e.uint(uint64(p.items.acquire(in.Item)))
		p.action(&e, in)
		e.int(last - in.Time)
		last = in.Time
	}
	e.uint(uint64(len(u.shown)))
	for i := range u.shown {
		sh := &u.shown[i]
		sameTime := sh.Time == last
		e.uint(uint64(p.items.acquire(sh.Item))<<2 | uint64(boolToInt(sh.Clicked))<<1 |
			uint64(boolToInt(sameTime)))
		if !sameTime {
			e.int(last - sh.Time)
			last = sh.Time
		}
	}
	counters := 1
	for _, list := range u.values {
		counters += len(list)
	}
	e.uint(uint64(counters))
	p.counts(&e, &u.counts, 0)
	for _, list := range u.values {
		e.uint(uint64(len(list)))
		seen := u.counts.ref
		for i := range list {
			e.uint(uint64(p.values.acquire(list[i].value)))
			e.int(seen - list[i].seen)
			seen = list[i].seen
			p.counts(&e, &list[i].decayedCounts, u.counts.ref)
		}
	}
	p.buf = e.b
	return e.b
}

// action packs an interaction's action and value. Nearly all values are 1.
func (p *userPacker) action(e *encoder, in *ranker.Interaction) {
	at := slices.Index(p.cfg.Actions, in.Action)
	if at < 0 {
		at = len(p.cfg.Actions)
	}
	hasValue := in.Value != 1
	e.uint(uint64(at)<<1 | uint64(boolToInt(hasValue)))
	if at == len(p.cfg.Actions) {
		e.string(in.Action)
	}
	if hasValue {
		e.b = binary.LittleEndian.AppendUint32(e.b, math.Float32bits(in.Value))
	}
}

func (p *userPacker) readAction(d *decoder, in *ranker.Interaction) {
	code := d.uint()
	if at := int(code >> 1); at < len(p.cfg.Actions) {
		in.Action = p.cfg.Actions[at]
	} else {
		in.Action = d.string()
	}
	in.Value = 1
	if code&1 != 0 {
		in.Value = math.Float32frombits(binary.LittleEndian.Uint32(d.b))
		d.b = d.b[4:]
	}
}

// wholeNumbers is the number of whole numbers, from 0 on, that take one byte in a row of counters.
const wholeNumbers = 256

// isWhole reports whether x is one of the numbers that take one byte.
func isWhole(x float64) bool {
	return x >= 0 && x < wholeNumbers && x == math.Trunc(x) && !math.Signbit(x)
}

// counts packs a counter: a bit for each action that has a count, the time as a difference to base,
// a bit for each action whose row is uniform, and the rows. If all these rows are 1, as after one
// event, a bit says so, and nothing follows the time.
func (p *userPacker) counts(e *encoder, c *decayedCounts, base int64) {
	if c.values == nil {
		e.uint(0)
		return
	}
	h := len(p.layout.rates)
	var present, uniform uint64
	ones := true
	for k := range p.layout.kinds {
		row := c.values[k*h : (k+1)*h]
		isUniform := isWhole(row[0]) &&
			!slices.ContainsFunc(row, func(x float64) bool { return x != row[0] || !isWhole(x) })
		if isUniform && row[0] == 0 {
			continue
		}
		present |= 1 << k
		if isUniform {
			uniform |= 1 << k
		}
		ones = ones && isUniform && row[0] == 1
	}
	e.uint((present<<1 | uint64(boolToInt(ones))) + 1)
	e.int(base - c.ref)
	if ones {
		return
	}
	e.uint(uniform)
	for k := range p.layout.kinds {
		row := c.values[k*h : (k+1)*h]
		switch {
		case uniform>>k&1 != 0:
			e.b = append(e.b, byte(row[0]))
		case present>>k&1 != 0:
			e.row(row)
		}
	}
}

// row packs the values of one action that differ, at most maxHalfLives: a bit for each that is not
// a small whole number, and the numbers.
func (e *encoder) row(row []float64) {
	at := len(e.b)
	e.b = append(e.b, 0)
	for i, x := range row {
		if isWhole(x) {
			e.b = append(e.b, byte(x))
			continue
		}
		e.b[at] |= 1 << i
		e.float(x)
	}
}

// readCounts is the inverse of counts. It takes the memory of the values from block, which is zero.
func (p *userPacker) readCounts(d *decoder, base int64, block *[]float64) (c decayedCounts) {
	code := d.uint()
	if code == 0 {
		return c
	}
	present, ones := (code-1)>>1, (code-1)&1 != 0
	c.ref = base - d.int()
	uniform := present
	if !ones {
		uniform = d.uint()
	}
	h, n := len(p.layout.rates), p.layout.size()
	c.values, *block = (*block)[:n:n], (*block)[n:]
	for k := range p.layout.kinds {
		row := c.values[k*h : (k+1)*h]
		switch {
		case uniform>>k&1 != 0:
			x := 1.0
			if !ones {
				x = float64(d.byte())
			}
			for i := range row {
				row[i] = x
			}
		case present>>k&1 != 0:
			d.row(row)
		}
	}
	return c
}

func (d *decoder) row(row []float64) {
	raw := d.byte()
	for i := range row {
		if raw>>i&1 != 0 {
			row[i] = d.float()
		} else {
			row[i] = float64(d.byte())
		}
	}
}

// unpack sets u, whose memory it reuses, to the packed user, except for seen.
func (p *userPacker) unpack(u *UserState, packed []byte) { p.walk(u, packed, false) }

// release does the same, and drops the references that the packed user has.
func (p *userPacker) release(u *UserState, packed []byte) { p.walk(u, packed, true) }

func (p *userPacker) walk(u *UserState, packed []byte, release bool) {
	d := decoder{b: packed}
	u.fields, u.times = d.fields(), d.times()
	u.recent = resize(u.recent, int(d.uint()))
	last := int64(0)
	for i := range u.recent {
		in := &u.recent[i]
		in.Item = p.items.name(uint32(d.uint()), release)
		p.readAction(&d, in)
		in.Time = last - d.int()
		last = in.Time
	}
	u.shown = resize(u.shown, int(d.uint()))
	for i := range u.shown {
		sh, code := &u.shown[i], d.uint()
		sh.Item, sh.Clicked = p.items.name(uint32(code>>2), release), code&2 != 0
		if code&1 == 0 {
			last -= d.int()
		}
		sh.Time = last
	}
	size := p.layout.size()
	u.block = resize(u.block, int(d.uint())*size)
	clear(u.block)
	block := u.block
	u.counts = p.readCounts(&d, 0, &block)
	u.values = resize(u.values, len(p.cfg.Fields))
	for f := range u.values {
		list, seen := resize(u.values[f], int(d.uint())), u.counts.ref
		for i := range list {
			list[i].value = p.values.name(uint32(d.uint()), release)
			seen -= d.int()
			list[i].seen = seen
			list[i].decayedCounts = p.readCounts(&d, u.counts.ref, &block)
		}
		u.values[f] = list
	}
}

// resize returns a slice of length n, in the memory of s if it is enough. It is nil for no element.
func resize[T any](s []T, n int) []T {
	if n == 0 {
		return nil
	}
	return slices.Grow(s[:0], n)[:n]
}
