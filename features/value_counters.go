package features

import "unique"

// valueCounters are the counters of one field's values. None is removed or moved.
type valueCounters struct {
	byValue map[string]*valueCounter
	byID    []*valueCounter // the ids are dense, so that a request can use arrays instead of maps
	// versions counts, by id, how often each counter has changed. It begins at 1.
	versions []uint32
}

// valueCounter is the counter of one value of a counted field.
type valueCounter struct {
	decayedCounts
	key    CounterKey
	handle fieldValue // of key.Value
	id     uint32     // index in valueCounters.byID
	slot   uint32     // index in Counters.counted
}

// create adds a counter for a new value.
func (t *Counters) create(key CounterKey) *valueCounter {
	values := &t.values[key.Field]
	handle := unique.Make(key.Value)
	key.Value = handle.Value() // the key's may be a part of a long string
	c := &valueCounter{key: key, handle: handle, id: uint32(len(values.byID))}
	c.slot = t.counted.add(c)
	values.byValue[key.Value] = c
	values.byID = append(values.byID, c)
	values.versions = append(values.versions, 0)
	return c
}

// countValue counts one event for a field value. A new value is not counted if the field is full.
func (t *Counters) countValue(field int, value string, action int, at int64) {
	key := CounterKey{field, value}
	if c := t.getOrCreate(key); c != nil {
		t.layout.add(c, action, at)
		t.markChanged(key)
	}
}

// getOrCreate returns a counter that is about to change, nil for a new value if the field is full.
func (t *Counters) getOrCreate(key CounterKey) *decayedCounts {
	if key.Field < 0 {
		return &t.global
	}
	values := &t.values[key.Field]
	c := values.byValue[key.Value]
	switch {
	case c != nil:
		t.save.before(c.slot)
	case len(values.byID) < t.cfg.FieldValues:
		c = t.create(key)
	default:
		return nil
	}
	values.versions[c.id]++
	return &c.decayedCounts
}

func (t *Counters) lookup(key CounterKey) *decayedCounts {
	if key.Field < 0 {
		return &t.global
	}
	if c := t.values[key.Field].byValue[key.Value]; c != nil {
		return &c.decayedCounts
	}
	return nil
}
