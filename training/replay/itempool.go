package replay

// ItemChange says that an item begins or ceases to exist. An item exists from the first record on
// that names it: its description, an impression that shows it, or an interaction. It ceases to
// exist when it is deleted from the catalogue, until a later record names it again.
type ItemChange struct {
	Seq    uint64 // of the record
	Item   int32
	Exists bool
}

// itemChanges collects the changes of a scan.
type itemChanges struct {
	list   []ItemChange
	exists []bool // by item
}

// set notes that an item exists, or does not, from the record with this sequence on.
func (c *itemChanges) set(seq uint64, item int32, exists bool) {
	for int(item) >= len(c.exists) {
		c.exists = append(c.exists, false)
	}
	if c.exists[item] != exists {
		c.exists[item] = exists
		c.list = append(c.list, ItemChange{seq, item, exists})
	}
}

// itemPool holds the items that exist at one moment of the log. The moment only moves forward.
// Its order depends on the records before the moment alone.
type itemPool struct {
	changes []ItemChange // still to come, in order
	items   []int32
	at      []int32 // by item: its index in items, -1 if it does not exist
}

func newItemPool(log *Log) *itemPool {
	p := &itemPool{changes: log.ItemChanges, at: make([]int32, log.Items.Len())}
	for i := range p.at {
		p.at[i] = -1
	}
	return p
}

// advance moves to the moment just before the record with this sequence.
func (p *itemPool) advance(seq uint64) {
	for len(p.changes) > 0 && p.changes[0].Seq < seq {
		c := p.changes[0]
		p.changes = p.changes[1:]
		if c.Exists {
			p.at[c.Item] = int32(len(p.items))
			p.items = append(p.items, c.Item)
			continue
		}
		last := p.items[len(p.items)-1]
		p.items[p.at[c.Item]], p.at[last] = last, p.at[c.Item]
		p.items, p.at[c.Item] = p.items[:len(p.items)-1], -1
	}
}

func (p *itemPool) has(item int32) bool { return p.at[item] >= 0 }
