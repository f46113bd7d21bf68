package features

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"relish/ranker"
)

// What the rows of imported columns are about.
const (
	KeyUser = "user"
	KeyItem = "item"
)

// ExternalTable are feature columns that were computed elsewhere, one row per user or item. They are immutable.
type ExternalTable struct {
	key    string
	names  []string
	rows   map[string]int
	values [][]float32 // by column; NaN = missing
}

// NewExternalTable takes columns of len(ids) values each; NaN is a missing one. ids are items' ids, or
// users' as UserHash writes them, so that what is kept names nobody. It owns its arguments.
func NewExternalTable(key string, ids, names []string, values [][]float32) (*ExternalTable, error) {
	c := &ExternalTable{key: key, names: names, rows: make(map[string]int, len(ids)), values: values}
	for i, id := range ids {
		if first, twice := c.rows[id]; twice {
			return nil, fmt.Errorf("rows %d and %d are of the same %s; there must be one row each", first, i, key)
		}
		c.rows[id] = i
	}
	return c, nil
}

// Key returns KeyUser or KeyItem.
func (c *ExternalTable) Key() string { return c.key }

// Names returns the columns' names; the slice must not be changed.
func (c *ExternalTable) Names() []string { return c.names }

// Len returns the number of rows.
func (c *ExternalTable) Len() int { return len(c.rows) }

// externalTables are the current columns by their table's name.
type externalTables struct {
	current atomic.Pointer[map[string]*ExternalTable]
}

// UseTable makes c the current version of the named table, for whatever is read from now on; nil removes the
// table. Calls must not overlap each other, but may overlap reads.
func (t *Counters) UseTable(name string, c *ExternalTable) {
	next := map[string]*ExternalTable{}
	if now := t.external.current.Load(); now != nil {
		maps.Copy(next, *now)
	}
	next[name] = c
	t.external.current.Store(&next)
}

// externalTable returns the current version of the named table, nil if there is none.
func (t *Counters) externalTable(name string) *ExternalTable {
	if now := t.external.current.Load(); now != nil {
		return (*now)[name]
	}
	return nil
}

// externalFill fills from the imported column "TABLE.COLUMN"; it stays missing while nobody has imported it.
func (t *Counters) externalFill(f *ranker.Feature) filler {
	name, column, _ := strings.Cut(f.Column, ".")
	return func(r *reader) fill {
		c := t.externalTable(name)
		if c == nil {
			return nothing
		}
		at := slices.Index(c.names, column)
		if at < 0 {
			return nothing
		}
		values := c.values[at]
		if c.key == KeyItem {
			return func(i int, row []float32) {
				if k, ok := c.rows[r.q.Candidates[i].ID]; ok {
					row[0] = values[k]
				}
			}
		}
		k, ok := c.rows[UserHash(r.q.User)]
		if !ok {
			return nothing
		}
		return func(_ int, row []float32) { row[0] = values[k] }
	}
}
