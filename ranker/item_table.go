package ranker

import "sync"

// ItemTable gives each item that a trained signal knows an index, from 0. It is immutable and safe
// for concurrent use.
type ItemTable struct {
	ids       []string
	indexByID map[string]int32
}

// NewItemTable returns a table in which an id's index is its position in ids. The ids must be
// distinct. It keeps the slice.
func NewItemTable(ids []string) *ItemTable {
	t := &ItemTable{ids: ids, indexByID: make(map[string]int32, len(ids))}
	for i, id := range ids {
		t.indexByID[id] = int32(i)
	}
	return t
}

// Len returns the number of items.
func (t *ItemTable) Len() int { return len(t.ids) }

// IDs returns the ids by index. The slice must not be changed.
func (t *ItemTable) IDs() []string { return t.ids }

// Index returns an item's index, -1 if the table does not have it.
func (t *ItemTable) Index(id string) int32 {
	if i, ok := t.indexByID[id]; ok {
		return i
	}
	return -1
}

// ItemIndices holds one table's indices of all items in a SignalInput, -1 for an unknown item.
type ItemIndices struct {
	Candidates []int32 // aligned with State.Items; a cold-start candidate has -1 too
	Recent     []int32 // aligned with State.Recent
	Shown      []int32 // aligned with State.Shown
}

// itemIndexCache holds the indices of the table that was asked for last. The signals of a request
// share it.
type itemIndexCache struct {
	mu      sync.Mutex
	table   *ItemTable
	indices *ItemIndices
}

// ItemIndices returns the table's indices of all items. Signals that share a table share the
// look-up, because the last result is cached for the request. Safe for concurrent use; the result
// must not be changed.
func (in *SignalInput) ItemIndices(t *ItemTable) *ItemIndices {
	cache := in.indexCache
	if cache == nil {
		return in.lookUpIndices(t)
	}
	cache.mu.Lock()
	defer cache.mu.Unlock()
	if cache.table != t {
		cache.table, cache.indices = t, in.lookUpIndices(t)
	}
	return cache.indices
}

func (in *SignalInput) lookUpIndices(t *ItemTable) *ItemIndices {
	indices := &ItemIndices{
		Candidates: make([]int32, len(in.Request.Candidates)),
		Recent:     make([]int32, len(in.State.Recent)),
		Shown:      make([]int32, len(in.State.Shown)),
	}
	for i := range in.Request.Candidates {
		c := &in.Request.Candidates[i]
		if indices.Candidates[i] = -1; !c.ColdStart {
			indices.Candidates[i] = t.Index(c.ID)
		}
	}
	for i := range in.State.Recent {
		indices.Recent[i] = t.Index(in.State.Recent[i].Item)
	}
	for i := range in.State.Shown {
		indices.Shown[i] = t.Index(in.State.Shown[i].Item)
	}
	return indices
}

// requestCache holds the value that OncePerRequest returned last.
type requestCache struct {
	mu         sync.Mutex
	key, value any
}

// OncePerRequest returns what compute returns. Signals that ask with the same key share the value,
// because the last one is cached for the request. compute must not call OncePerRequest. Safe for
// concurrent use; the value must not be changed.
func OncePerRequest[T any](in *SignalInput, key any, compute func() T) T {
	c := in.shared
	if c == nil {
		return compute()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.key != key {
		c.value = compute()
		c.key = key // only if compute did not panic
	}
	return c.value.(T)
}
