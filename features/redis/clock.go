package redis

import (
	"strings"
	"sync"
	"sync/atomic"
)

// clockCache keeps entries by key, bounded in bytes. It evicts by the clock algorithm: a hand goes
// round the entries and takes the first one that nobody has used since it came by last. Reading
// needs one read lock for any number of keys.
type clockCache struct {
	mu       sync.RWMutex // guards what follows; reading needs the read lock only
	byKey    map[string]*cacheEntry
	ring     []*cacheEntry
	hand     int
	bytes    int64
	maxBytes int64
}

// clockPlace is what a clockCache knows of an entry.
type clockPlace struct {
	cacheKey string
	cost     int64
	index    int // in the ring
	used     atomic.Bool
}

func newClockCache(maxBytes int64) *clockCache {
	return &clockCache{byKey: map[string]*cacheEntry{}, maxBytes: maxBytes}
}

// get returns an entry, nil for none.
func (c *clockCache) get(key string) *cacheEntry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.use(key)
}

// getAll sets found[i] to the entry with the key that keyOf returns for i.
func (c *clockCache) getAll(found []*cacheEntry, keyOf func(i int) string) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for i := range found {
		found[i] = c.use(keyOf(i))
	}
}

func (c *clockCache) use(key string) *cacheEntry {
	e := c.byKey[key]
	if e != nil && !e.place.used.Load() {
		e.place.used.Store(true)
	}
	return e
}

// add adds an entry, in place of another one with the key. An entry that is larger than the cache
// is not kept.
func (c *clockCache) add(key string, e *cacheEntry, cost int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key = strings.Clone(key) // it may be a part of a request
	c.drop(c.byKey[key])
	if cost > c.maxBytes {
		return
	}
	for c.bytes+cost > c.maxBytes {
		c.hand %= len(c.ring)
		if victim := c.ring[c.hand]; !victim.place.used.CompareAndSwap(true, false) {
			c.drop(victim)
		} else {
			c.hand++
		}
	}
	e.place.cacheKey, e.place.cost, e.place.index = key, cost, len(c.ring)
	c.byKey[key] = e
	c.ring = append(c.ring, e)
	c.bytes += cost
}

// remove removes an entry if it is there.
func (c *clockCache) remove(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(c.byKey[key])
}

// drop removes an entry, which may be nil. The last one takes its place in the ring.
func (c *clockCache) drop(e *cacheEntry) {
	if e == nil {
		return
	}
	delete(c.byKey, e.place.cacheKey)
	last := len(c.ring) - 1
	c.ring[e.place.index] = c.ring[last]
	c.ring[e.place.index].place.index = e.place.index
	c.ring[last] = nil
	c.ring = c.ring[:last]
	c.bytes -= e.place.cost
}
