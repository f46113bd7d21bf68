package features

import (
	"math"
	"slices"
	"sync/atomic"
)

// The columns of an item's field values. The ids of counters are dense, so a number of each value
// is kept in an array and an item needs a sum over its ids.

// fieldColumns are the columns of the values of one counted field.
type fieldColumns struct {
	field  int
	means  []*meanColumn
	users  []userColumn
	shares []shareColumn
}

// fieldScratch is what one request computes for fieldColumns. Its memory is used again.
type fieldScratch struct {
	means []*valueNumbers // by meanColumn; nil: missing
	user  userValues
	sets  []valueSet // by shareColumn
}

func (s *fieldScratch) reset() {
	clear(s.means)
	s.user.reset()
	for k := range s.sets {
		s.sets[k].reset()
	}
}

// prepareFields computes what all candidates share.
func (x *extraction) prepareFields(c *compiledSchema) {
	x.fields = slices.Grow(x.fields[:0], len(c.fields))[:len(c.fields)]
	for k, f := range c.fields {
		s := &x.fields[k]
		s.means = s.means[:0]
		for _, m := range f.means {
			s.means = append(s.means, m.numbersFor(x))
		}
		if len(f.users) > 0 {
			s.user.prepare(x, f)
		}
		s.sets = slices.Grow(s.sets[:0], len(f.shares))[:len(f.shares)]
		for j := range f.shares {
			s.sets[j].prepare(x, f.field, f.shares[j].action)
		}
	}
}

// fill sets the columns of candidate i's row. They stay missing if it has no values.
func (f *fieldColumns) fill(x *extraction, i int, s *fieldScratch, row []float32) {
	kept := x.counters.idsOf(x.contents[i])
	ids, values := kept.of(f.field), kept.unknown(f.field)
	if len(ids) == 0 {
		return
	}
	n := float64(len(ids))
	for k, m := range f.means {
		if s.means[k] != nil {
			row[m.column] = float32(m.sum(x, s.means[k], ids) / n)
		}
	}
	for k, u := range f.users {
		if !s.user.missing[k] {
			row[u.column] = float32(s.user.sum(k, values, ids) / n)
		}
	}
	for k := range f.shares {
		c := &f.shares[k]
		row[c.column] = c.share(s.sets[k].count(values, ids), len(ids))
	}
}

// ---- Counts and rates over all users ----

// meanColumn is the mean of a count or rate over an item's values.
type meanColumn struct {
	counterFeature
	column int
	kept   lastTwo[valueNumbers]
}

// valueNumbers keeps the numbers of field values for one prior and one tick of the clock. It is
// safe for concurrent use: goroutines may compute the same number twice.
type valueNumbers struct {
	now   int64 // 0 if the half-life does not decay
	prior prior
	// slots has by id the counter's version, and below it the bits of the number as a float32.
	slots []atomic.Uint64
}

// numbersFor returns the numbers of a request, nil if nothing has been shown that a rate could be
// relative to.
func (m *meanColumn) numbersFor(x *extraction) *valueNumbers {
	now, p, values := x.now, x.prior(&m.counterFeature), len(x.counters.values[m.field].byID)
	if m.isRate && p.rate == 0 {
		return nil
	}
	if x.counters.layout.rates[m.halfLife] == 0 {
		now = 0
	}
	n := m.kept.find(func(n *valueNumbers) bool {
		return n.now == now && n.prior == p && values <= len(n.slots)
	})
	if n == nil {
		// New values come one by one, so there is room for a quarter more.
		slots := make([]atomic.Uint64, values+values/4+64)
		n = &valueNumbers{now: now, prior: p, slots: slots}
		m.kept.put(n)
	}
	return n
}

// sum returns the sum over the counters with the ids. A value without a counter counts 0.
func (m *meanColumn) sum(x *extraction, numbers *valueNumbers, ids []uint32) (sum float64) {
	values := &x.counters.values[m.field]
	for _, id := range ids {
		if id == noID {
			continue
		}
		slot := numbers.slots[id].Load()
		if version := values.versions[id]; slot>>32 != uint64(version) {
			number := float32(m.number(x, &values.byID[id].decayedCounts, numbers.prior))
			slot = uint64(version)<<32 | uint64(math.Float32bits(number))
			numbers.slots[id].Store(slot)
		}
		sum += float64(math.Float32frombits(uint32(slot)))
	}
	return sum
}
