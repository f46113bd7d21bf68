package features

import "slices"

// ---- Counts and rates of the user ----

// userColumn is the mean of the user's count or rate over an item's values. A rate is relative to
// the value's rate over all users.
type userColumn struct {
	counterFeature
	column int
}

// userValues finds the numbers of the values that the user has counters for. All others have 0.
type userValues struct {
	// keys and positions are an open-addressed table of ids. A key is an id plus 1; 0 is free. The
	// length is a power of two and at least four times the number of values.
	keys      []uint32
	positions []uint32
	withoutID map[fieldValue]uint32 // positions of the values without an id
	all       []*valueCounter       // by position: the counter over all users, nil without one
	numbers   []float64             // by column, then by position
	missing   []bool                // by column: a rate of which nothing has been shown at all
}

func (u *userValues) reset() {
	clear(u.all)
	u.withoutID = nil
}

func (u *userValues) prepare(x *extraction, f *fieldColumns) {
	var list []userFieldCounts
	if x.user != nil {
		list = x.user.values[f.field]
	}
	size := 16
	for size < 4*len(list) {
		size *= 2
	}
	u.keys = slices.Grow(u.keys[:0], size)[:size]
	u.positions = slices.Grow(u.positions[:0], size)[:size]
	clear(u.keys)
	u.all, u.numbers, u.missing = u.all[:0], u.numbers[:0], u.missing[:0]
	values := &x.counters.values[f.field]
	for k := range list {
		c := values.byValue[list[k].value.Value()]
		u.all = append(u.all, c)
		if c != nil {
			u.add(c.id, uint32(k))
			continue
		}
		if u.withoutID == nil {
			u.withoutID = map[fieldValue]uint32{}
		}
		u.withoutID[list[k].value] = uint32(k)
	}
	for _, column := range f.users {
		p := x.prior(&column.counterFeature)
		u.missing = append(u.missing, column.isRate && p.rate == 0)
		for k := range list {
			u.numbers = append(u.numbers, column.userNumber(x, &list[k], u.all[k], p))
		}
	}
}

// userNumber returns the number of one of the user's values. all is the value's counter over all
// users, nil without one.
func (c *userColumn) userNumber(
	x *extraction, n *userFieldCounts, all *valueCounter, p prior,
) float64 {
	if c.isRate && p.rate != 0 && all != nil {
		actions, shown := x.counters.layout.actionsAndImpressions(
			&all.decayedCounts, c.action, c.halfLife, x.now)
		if actions != 0 || shown != 0 {
			rate := min(max(c.smoothedRate(actions, shown, p), minRate), maxRate)
			p = prior{rate, logOdds(rate)}
		}
	}
	return c.number(x, &n.decayedCounts, p)
}

func (u *userValues) add(id, position uint32) {
	at := u.home(id)
	for u.keys[at] != 0 {
		at = (at + 1) & uint32(len(u.keys)-1)
	}
	u.keys[at], u.positions[at] = id+1, position
}

// home returns where an id stands in an empty table.
func (u *userValues) home(id uint32) uint32 {
	return (id * 0x9e3779b1) >> 7 & uint32(len(u.keys)-1)
}

// sum returns the sum of a column's numbers over an item's values, of which those without an id are
// in values.
func (u *userValues) sum(column int, values []fieldValue, ids []uint32) (sum float64) {
	n := len(u.all)
	if n == 0 {
		return 0
	}
	numbers := u.numbers[column*n : (column+1)*n]
	for k, id := range ids {
		if id == noID {
			if position, ok := u.withoutID[values[k]]; ok {
				sum += numbers[position]
			}
			continue
		}
		for at := u.home(id); u.keys[at] != 0; at = (at + 1) & uint32(len(u.keys)-1) {
			if u.keys[at] == id+1 {
				sum += numbers[u.positions[at]]
				break
			}
		}
	}
	return sum
}

// ---- Overlap with the history ----

// shareColumn is the share of an item's values that also occur among the items of the user's recent
// interactions. action restricts the interactions; "" and ActionAny mean all.
type shareColumn struct {
	action    string
	column    int
	maxValues int
}

// share returns the share for an item with n values of which the history has so many; for
// maxValues see ranker.Feature.
func (c *shareColumn) share(hits, n int) float32 {
	if limit := c.maxValues; limit > 0 && n > limit {
		return float32(hits*limit/n) / float32(limit)
	}
	return float32(hits) / float32(n)
}

// valueSet is a set of values of one field.
type valueSet struct {
	bits      []uint64 // by id
	withoutID map[fieldValue]struct{}
}

func (s *valueSet) reset() { s.withoutID = nil }

// prepare makes s the values of the field among the items of the user's recent interactions.
func (s *valueSet) prepare(x *extraction, field int, action string) {
	words := (len(x.counters.values[field].byID) + 63) / 64
	s.bits = slices.Grow(s.bits[:0], words)[:words]
	clear(s.bits)
	if x.user == nil {
		return
	}
	for k := range x.user.recent {
		if action != "" && action != ActionAny && x.user.recent[k].Action != action {
			continue
		}
		ids := x.counters.idsOf(x.history[k])
		for j, id := range ids.of(field) {
			if id != noID {
				s.bits[id/64] |= 1 << (id % 64)
				continue
			}
			if s.withoutID == nil {
				s.withoutID = map[fieldValue]struct{}{}
			}
			s.withoutID[ids.unknown(field)[j]] = struct{}{}
		}
	}
}

// count returns how many of an item's values are in the set. Those without an id are in values.
func (s *valueSet) count(values []fieldValue, ids []uint32) (n int) {
	for k, id := range ids {
		if id != noID {
			n += int(s.bits[id/64] >> (id % 64) & 1)
		} else if _, ok := s.withoutID[values[k]]; ok {
			n++
		}
	}
	return n
}
