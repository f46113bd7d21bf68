package features

import (
	"fmt"
	"maps"
	"sync/atomic"
)

// What the rows of an external table are about.
const (
	KeyUser = "user"
	KeyItem = "item"
)

// ExternalTable holds feature columns that another system computed, one row for each user or item.
// It is immutable.
type ExternalTable struct {
	key    string
	names  []string
	rows   map[string]int
	values [][]float32 // by column; NaN = missing
}

// NewExternalTable returns a table of columns with len(ids) values each; NaN is a missing value.
// ids are item ids, or hashes of user ids (UserHash), so that a stored table names no user. The
// table owns the arguments. It is an error if an id occurs twice.
func NewExternalTable(key string, ids, names []string, values [][]float32) (*ExternalTable, error) {
	t := &ExternalTable{
		key:    key,
		names:  names,
		rows:   make(map[string]int, len(ids)),
		values: values,
	}
	for i, id := range ids {
		if first, twice := t.rows[id]; twice {
			return nil, fmt.Errorf(
				"rows %d and %d have the same %s id; keep one of them", first, i, key,
			)
		}
		t.rows[id] = i
	}
	return t, nil
}

// Key returns KeyUser or KeyItem.
func (t *ExternalTable) Key() string { return t.key }

// Names returns the names of the columns. The slice must not be changed.
func (t *ExternalTable) Names() []string { return t.names }

// Len returns the number of rows.
func (t *ExternalTable) Len() int { return len(t.rows) }

// externalTables holds the current version of each external table by its name.
type externalTables struct {
	current atomic.Pointer[map[string]*ExternalTable]
}

// UseTable makes table the current version of the named external table for all later reads; nil
// removes the table. Calls must not overlap each other, but they may overlap reads.
func (t *Counters) UseTable(name string, table *ExternalTable) {
	next := map[string]*ExternalTable{}
	if now := t.external.current.Load(); now != nil {
		maps.Copy(next, *now)
	}
	next[name] = table
	t.external.current.Store(&next)
}

// externalTable returns the current version of the named table, nil if there is none.
func (t *Counters) externalTable(name string) *ExternalTable {
	if now := t.external.current.Load(); now != nil {
		return (*now)[name]
	}
	return nil
}
