package ranker

import "sync"

// ItemTable numbers the items that the learned tables of a model know, from 0. It is immutable and safe for
// concurrent use.
type ItemTable struct {
	ids    []string
	number map[string]int32
}

// NewItemTable numbers the ids in their order; it keeps the slice. The ids must be distinct.
func NewItemTable(ids []string) *ItemTable {
	t := &ItemTable{ids: ids, number: make(map[string]int32, len(ids))}
	for i, id := range ids {
		t.number[id] = int32(i)
	}
	return t
}

// Len returns how many items there are.
func (t *ItemTable) Len() int { return len(t.ids) }

// IDs returns the ids by number; the slice must not be changed.
func (t *ItemTable) IDs() []string { return t.ids }

// Number returns an item's number, -1 for one that is not in the table.
func (t *ItemTable) Number(id string) int32 {
	if n, ok := t.number[id]; ok {
		return n
	}
	return -1
}

// ItemNumbers are a table's numbers of all items in a MatchInput, -1 for what the table does not know.
type ItemNumbers struct {
	Candidates []int32 // aligned with State.Items; -1 too for candidates that are ranked as new
	Recent     []int32 // aligned with State.Recent
	Shown      []int32 // aligned with State.Shown
}

// numbersMemo keeps the last table's answer for the matchers of a request, which share it.
type numbersMemo struct {
	mu      sync.Mutex
	of      *ItemTable
	numbers *ItemNumbers
}

// Numbers looks up all items. Matchers that share a table share the work: the last table's answer is
// kept while a request is ranked. It may be called from several goroutines at once.
func (in *MatchInput) Numbers(t *ItemTable) *ItemNumbers {
	m := in.numbers
	if m == nil {
		return in.number(t)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of != t {
		m.of, m.numbers = t, in.number(t)
	}
	return m.numbers
}

func (in *MatchInput) number(t *ItemTable) *ItemNumbers {
	n := &ItemNumbers{
		Candidates: make([]int32, len(in.Request.Candidates)),
		Recent:     make([]int32, len(in.State.Recent)),
		Shown:      make([]int32, len(in.State.Shown)),
	}
	for i := range in.Request.Candidates {
		c := &in.Request.Candidates[i]
		if n.Candidates[i] = -1; !c.New {
			n.Candidates[i] = t.Number(c.ID)
		}
	}
	for i := range in.State.Recent {
		n.Recent[i] = t.Number(in.State.Recent[i].Item)
	}
	for i := range in.State.Shown {
		n.Shown[i] = t.Number(in.State.Shown[i].Item)
	}
	return n
}
