package app

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/features/event"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/ranker"
)

// maxPoolItems bounds the items whose texts a training of a classifier looks at.
const maxPoolItems = 2000

// itemPool keeps the items of an event log with the smallest hashes of their ids, so that each
// training looks at the same ones.
type itemPool struct {
	limit int // number of items
	items map[string]*ranker.Item
	below uint64 // items with this hash or a larger one are left out
}

// catalogueTexts returns the texts of at most limit items of the event log, in the order of their
// ids. A data folder without a log has none.
func catalogueTexts(ctx context.Context, data string, limit int) ([]string, error) {
	p := &itemPool{limit: limit, items: map[string]*ranker.Item{}, below: ^uint64(0)}
	for record, err := range eventlog.Read(ingest.LogDir(data), 1) {
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		p.apply(&record)
	}
	p.shrink()
	var texts []string
	for _, id := range slices.Sorted(maps.Keys(p.items)) {
		if text := ranker.DefaultTextSpec.Compose(p.items[id]); text != "" {
			texts = append(texts, text)
		}
	}
	return texts, nil
}

// apply takes what a record says of an item.
func (p *itemPool) apply(record *event.Record) {
	e := &record.Event
	if e.Kind == ranker.EventDelete {
		delete(p.items, e.ItemID)
	}
	if e.Kind != ranker.EventItem || xxhash.Sum64String(e.ItemID) >= p.below {
		return
	}
	it := p.items[e.ItemID]
	if it == nil || e.Replace {
		it = &ranker.Item{ID: e.ItemID}
		p.items[e.ItemID] = it
	}
	if e.Title != nil {
		it.Title = *e.Title
	}
	if e.Text != nil {
		it.Text = *e.Text
	}
	if e.Tags != nil {
		it.Tags = e.Tags
	}
	if len(p.items) >= 2*p.limit {
		p.shrink()
	}
}

// shrink drops the items beyond the limit.
func (p *itemPool) shrink() {
	if len(p.items) <= p.limit {
		return
	}
	var hashes []uint64
	for id := range p.items {
		hashes = append(hashes, xxhash.Sum64String(id))
	}
	slices.Sort(hashes)
	p.below = hashes[p.limit]
	for id := range p.items {
		if xxhash.Sum64String(id) >= p.below {
			delete(p.items, id)
		}
	}
}
