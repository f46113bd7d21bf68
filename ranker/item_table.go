package ranker

import "sync"

// ItemTable numbers the items that the learned tables of a model know, from 0. It is immutable and safe for
// concurrent use.
type ItemTable struct {
	ids       []string
	indexByID map[string]int32
}

// NewItemTable numbers the ids in their order; it keeps the slice. The ids must be distinct.
func NewItemTable(ids []string) *ItemTable {
	t := &ItemTable{ids: ids, indexByID: make(map[string]int32, len(ids))}
	for i, id := range ids {
		t.indexByID[id] = int32(i)
	}
	return t
}

// Len returns how many items there are.
func (t *ItemTable) Len() int { return len(t.ids) }

// IDs returns the ids by number; the slice must not be changed.
func (t *ItemTable) IDs() []string { return t.ids }

// Index returns an item's number, -1 for one that is not in the table.
func (t *ItemTable) Index(id string) int32 {
	if n, ok := t.indexByID[id]; ok {
		return n
	}
	return -1
}

// ItemIndices are a table's numbers of all items in a MatchInput, -1 for what the table does not know.
type ItemIndices struct {
	Candidates []int32 // aligned with State.Items; -1 too for candidates that are ranked as new
	Recent     []int32 // aligned with State.Recent
	Shown      []int32 // aligned with State.Shown
}

// itemIndexCache keeps the last table's answer for the matchers of a request, which share it.
type itemIndexCache struct {
	mu      sync.Mutex
	table   *ItemTable
	indices *ItemIndices
}

// ItemIndices looks up all items. Matchers that share a table share the work: the last table's answer is
// kept while a request is ranked. It may be called from several goroutines at once.
func (in *SignalInput) ItemIndices(t *ItemTable) *ItemIndices {
	m := in.indexCache
	if m == nil {
		return in.lookUpIndices(t)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.table != t {
		m.table, m.indices = t, in.lookUpIndices(t)
	}
	return m.indices
}

func (in *SignalInput) lookUpIndices(t *ItemTable) *ItemIndices {
	n := &ItemIndices{
		Candidates: make([]int32, len(in.Request.Candidates)),
		Recent:     make([]int32, len(in.State.Recent)),
		Shown:      make([]int32, len(in.State.Shown)),
	}
	for i := range in.Request.Candidates {
		c := &in.Request.Candidates[i]
		if n.Candidates[i] = -1; !c.ColdStart {
			n.Candidates[i] = t.Index(c.ID)
		}
	}
	for i := range in.State.Recent {
		n.Recent[i] = t.Index(in.State.Recent[i].Item)
	}
	for i := range in.State.Shown {
		n.Shown[i] = t.Index(in.State.Shown[i].Item)
	}
	return n
}
