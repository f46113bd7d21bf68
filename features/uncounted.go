package features

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"relish/ranker"
)

// Reasons why interactions do not count for their items.
const (
	// UncountedRepeated: above Config.DailyListed. The interaction changes nothing.
	UncountedRepeated = "repeated"
	// UncountedUnlisted: above Config.DailyUnlisted, with an item that the user was not shown
	// before. The interaction counts for the user alone.
	UncountedUnlisted = "unlisted"
	// UncountedNewcomer: above what Config.NewcomerExcess admits. The interaction counts for the
	// user alone.
	UncountedNewcomer = "newcomer"
)

// Bounds of Uncounted.
const (
	maxUncountedSources = 32
	maxUncountedItems   = 32

	// OtherSources stands for all sources above the bound.
	OtherSources = "other"
)

// UncountedKey is a reason why interactions did not count, and their source as in
// ranker.Event.Source, or OtherSources.
type UncountedKey struct{ Reason, Source string }

// Uncounted counts the interactions that did not count for their items. Many of them are robots or
// people who try to raise an item. A checkpoint does not keep the numbers. Its size is bounded, and
// it is safe for concurrent use. The zero value has counted nothing.
type Uncounted struct {
	mu      sync.Mutex
	numbers map[UncountedKey]uint64
	sources map[string]string // source -> itself
	// items has the most frequent items (Misra and Gries 1982): a number is at most the item's
	// interactions, and any item with more than 1/maxUncountedItems of all is there.
	items map[string]uint64
}

func (c *Uncounted) add(reason string, e *ranker.Event) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.numbers == nil {
		c.numbers, c.sources = map[UncountedKey]uint64{}, map[string]string{}
		c.items = map[string]uint64{}
	}
	c.numbers[UncountedKey{reason, c.source(e.Source)}]++
	if _, known := c.items[e.ItemID]; known {
		c.items[e.ItemID]++
		return
	}
	if len(c.items) < maxUncountedItems {
		c.items[strings.Clone(e.ItemID)] = 1 // the id may be a part of a long string
		return
	}
	for item := range c.items {
		if c.items[item]--; c.items[item] == 0 {
			delete(c.items, item)
		}
	}
}

// source returns the name under which a source is counted.
func (c *Uncounted) source(name string) string {
	known, found := c.sources[name]
	if found {
		return known
	}
	if len(c.sources) == maxUncountedSources {
		return OtherSources
	}
	name = strings.Clone(name) // it may be a part of a long string
	c.sources[name] = name
	return name
}

// Numbers returns how many interactions did not count since the start.
func (c *Uncounted) Numbers() map[UncountedKey]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[UncountedKey]uint64{}
	maps.Copy(out, c.numbers)
	return out
}

// TopItem returns the item with the most interactions that did not count, and a lower bound of
// their number. It is 0 if no item stands out.
func (c *Uncounted) TopItem() (item string, atLeast uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(c.items)) {
		if n := c.items[id]; n > atLeast {
			item, atLeast = id, n
		}
	}
	return item, atLeast
}
