package features

import (
	"slices"
	"unique"

	"relish/ranker"
)

// fieldValue is one value of a counted field. Many items share a value, so each distinct value is
// held once and compared by its address.
type fieldValue = unique.Handle[string]

// noID stands for the id of a field value without a counter.
const noID = ^uint32(0)

// valueIDs are the ids of the counters of an item's field values. It is immutable. newValueIDs
// makes it in one block of memory, because a request reads those of all candidates.
type valueIDs struct {
	counters *Counters
	// list has by counted field the index of its first id, the index after the last id, and then
	// the ids, field after field.
	list []uint32
	// without is nil if each value has a counter. The ids then stay valid, because counters are
	// never removed.
	without *valuesWithoutID
}

// valuesWithoutID are the values of an item of which some have no counter.
type valuesWithoutID struct {
	created int // Counters.Len when this was computed
	// values has the value at the index of each id in valueIDs.list that is noID.
	values []fieldValue
}

// newValueIDs returns ids in the list, which it copies. The lengths that have room in the same
// block fill the blocks that the allocator has.
func newValueIDs(t *Counters, list []uint32) *valueIDs {
	var v *valueIDs
	var memory []uint32
	switch n := len(list); {
	case n <= 10:
		x := &struct {
			valueIDs
			memory [10]uint32
		}{}
		v, memory = &x.valueIDs, x.memory[:]
	case n <= 18:
		x := &struct {
			valueIDs
			memory [18]uint32
		}{}
		v, memory = &x.valueIDs, x.memory[:]
	case n <= 42:
		x := &struct {
			valueIDs
			memory [42]uint32
		}{}
		v, memory = &x.valueIDs, x.memory[:]
	default:
		v, memory = &valueIDs{}, make([]uint32, n)
	}
	v.counters, v.list = t, memory[:copy(memory, list)]
	return v
}

// of returns the ids of one field.
func (v *valueIDs) of(field int) []uint32 { return v.list[v.list[field]:v.list[field+1]] }

// unknown returns the values of one field, aligned with of, nil if all have an id.
func (v *valueIDs) unknown(field int) []fieldValue {
	if v.without == nil {
		return nil
	}
	return v.without.values[v.list[field]:v.list[field+1]]
}

// fieldValue returns the value with an id. If it is noID, the value is at position k of unknown.
func (t *Counters) fieldValue(field int, id uint32, unknown []fieldValue, k int) fieldValue {
	if id == noID {
		return unknown[k]
	}
	return t.values[field].byID[id].handle
}

// idsOf returns the ids of the values of an item.
func (t *Counters) idsOf(c *Content) *valueIDs {
	if c.Info == nil {
		return t.noIDs
	}
	v := c.cache.ids.Load()
	if v == nil || v.counters != t || v.without != nil && v.without.created != t.Len() {
		v = t.lookUpIDs(c.Info)
		c.cache.ids.Store(v)
	}
	return v
}

// lookUpIDs returns the ids of an item's values.
func (t *Counters) lookUpIDs(info *ranker.ItemInfo) *valueIDs {
	fields := len(t.cfg.Fields)
	var memory [48]uint32
	list := append(memory[:0], make([]uint32, fields+1)...)
	var values []fieldValue // at the index of each id that is noID
	for field, name := range t.cfg.Fields {
		list[field] = uint32(len(list))
		byValue := t.values[field].byValue
		info.EachValueOrTag(name, func(value string) {
			id := noID
			if c := byValue[value]; c != nil {
				id = c.id
			} else {
				values = append(values, make([]fieldValue, len(list)+1-len(values))...)
				values[len(list)] = unique.Make(value)
			}
			list = append(list, id)
		})
	}
	list[fields] = uint32(len(list))
	v := newValueIDs(t, list)
	if values != nil {
		values = append(values, make([]fieldValue, len(list)-len(values))...)
		v.without = &valuesWithoutID{created: t.Len(), values: values}
	}
	return v
}

// withoutValues returns what idsOf returns for an item without content.
func withoutValues(fields int) *valueIDs {
	return &valueIDs{list: slices.Repeat([]uint32{uint32(fields + 1)}, fields+1)}
}
