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

// valueIDs are the ids of the counters of an item's field values. It is immutable.
type valueIDs struct {
	counters *Counters
	created  int // Counters.Len when this was computed
	// list has by counted field the index of its first id, the index after the last id, and then
	// the ids, field after field.
	list []uint32
	// values has the value at the index of each id that is noID. It is nil if no value lacks a
	// counter. The ids then stay valid, because counters are never removed.
	values []fieldValue
}

// of returns the ids of one field.
func (v *valueIDs) of(field int) []uint32 { return v.list[v.list[field]:v.list[field+1]] }

// unknown returns the values of one field, aligned with of, nil if all have an id.
func (v *valueIDs) unknown(field int) []fieldValue {
	if v.values == nil {
		return nil
	}
	return v.values[v.list[field]:v.list[field+1]]
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
	if v == nil || v.counters != t || v.values != nil && v.created != t.Len() {
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
	var values []fieldValue
	for field, name := range t.cfg.Fields {
		list[field] = uint32(len(list))
		v, _ := fieldOf(info, name)
		for _, value := range v.AsStrings() {
			id := noID
			if c := t.values[field].byValue[value]; c != nil {
				id = c.id
			} else {
				values = append(values, make([]fieldValue, len(list)+1-len(values))...)
				values[len(list)] = unique.Make(value)
			}
			list = append(list, id)
		}
	}
	list[fields] = uint32(len(list))
	if values != nil {
		values = append(values, make([]fieldValue, len(list)-len(values))...)
	}
	return &valueIDs{
		counters: t, created: t.Len(), values: values,
		list: append(make([]uint32, 0, len(list)), list...),
	}
}

// withoutValues returns what idsOf returns for an item without content.
func withoutValues(fields int) *valueIDs {
	return &valueIDs{list: slices.Repeat([]uint32{uint32(fields + 1)}, fields+1)}
}
