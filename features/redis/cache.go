package redis

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"relish/features"
	"relish/internal/redisconn"
)

// localCache holds decoded copies of the users and items that this replica has read, bounded in
// bytes. A copy saves reading and decoding while the value in Redis is the same, and saves fetching
// an item's content. While Redis is away, the copies are what rankings are made of.
//
// An item of a user's history is not read again at each ranking. Its copy is watched instead: the
// stream of changes says when another replica changed a content. A copy whose epoch is not the
// cache's may have missed such a message.
type localCache struct {
	entries       *clockCache
	epoch         atomic.Uint64
	invalidations atomic.Uint64 // how often something was removed or marked as outdated
}

// cacheEntry holds the newest copy of one user or item. What it points to is immutable.
type cacheEntry struct {
	key    string // in Redis
	slot   uint32 // of the key, see redisconn.TrackingSlot
	latest atomic.Pointer[entityCopy]
	place  clockPlace
}

// entityCopy is one user or item as it was read. Both states are nil if there is none.
type entityCopy struct {
	rev     string
	stamp   redisconn.Stamp // when it was read, see redisconn.TrackingReader
	epoch   uint64
	user    *features.UserState
	item    *features.ItemState
	history atomic.Pointer[userHistory]
}

// readAgain returns the copy for a value that was read again and has not changed.
func (c *entityCopy) readAgain(stamp redisconn.Stamp) *entityCopy {
	again := &entityCopy{rev: c.rev, stamp: stamp, epoch: c.epoch, user: c.user, item: c.item}
	again.history.Store(c.history.Load())
	return again
}

// userHistory holds the contents of a user's history. It is valid until the next invalidation,
// which may concern any of its items.
type userHistory struct {
	invalidations uint64
	contents      []*features.Content
}

// entryCost is about what an entry takes besides its content, in bytes.
const entryCost = 1 << 10

// outdatedEpoch is the epoch of a copy whose content may have changed.
const outdatedEpoch = ^uint64(0)

func newLocalCache(maxBytes int64) *localCache {
	return &localCache{entries: newClockCache(maxBytes)}
}

// cacheKey is the key in the local cache. No item id begins with a zero byte.
func (e entityKey) cacheKey() string {
	if e.user {
		return "\x00" + e.id
	}
	return e.id
}

// get returns the entry of a user or item, nil for none.
func (l *localCache) get(e entityKey) *cacheEntry { return l.entries.get(e.cacheKey()) }

// latestCopy returns the newest copy, nil for none. It may be called on nil.
func (h *cacheEntry) latestCopy() *entityCopy {
	if h == nil {
		return nil
	}
	return h.latest.Load()
}

// put keeps a copy. invalidationsBefore is the count of invalidations before the copy was read: if
// it has risen since, the copy may be of before the change.
func (l *localCache) put(e entityKey, key string, c *entityCopy, invalidationsBefore uint64) {
	c.epoch = l.epoch.Load()
	invalidated := l.invalidations.Load() != invalidationsBefore
	if invalidated {
		c.epoch = outdatedEpoch
	}
	if entry := l.get(e); entry != nil {
		entry.latest.Store(c)
		return
	}
	if invalidated {
		return
	}
	entry := &cacheEntry{key: key, slot: redisconn.TrackingSlot(key)}
	entry.latest.Store(c)
	cost := int64(entryCost)
	if c.item != nil && c.item.Info != nil {
		cost += int64(len(c.item.Info.Title()) + 2*len(c.item.Info.Text()))
	}
	if c.user != nil {
		cost += 16 * entryCost
	}
	l.entries.add(e.cacheKey(), entry, cost)
}

// remove removes a user or item.
func (l *localCache) remove(e entityKey) {
	l.invalidations.Add(1)
	l.entries.remove(e.cacheKey())
}

// markOutdated has the content of an item read again. The copy stays, because it is better than
// nothing while Redis is away.
func (l *localCache) markOutdated(e entityKey) {
	l.invalidations.Add(1)
	entry := l.get(e)
	if old := entry.latestCopy(); old != nil {
		outdated := old.readAgain(old.stamp)
		outdated.epoch = outdatedEpoch
		entry.latest.CompareAndSwap(old, outdated)
	}
}

// markAllOutdated has all contents read again.
func (l *localCache) markAllOutdated() {
	l.epoch.Add(1)
	l.invalidations.Add(1)
}

// applyChange applies one entry of the stream of changes.
func (l *localCache) applyChange(e entityKey, erased bool) {
	if erased {
		l.remove(e)
	} else {
		l.markOutdated(e)
	}
}

// historyValid reports whether no item of the history can have changed since it was put together.
func (l *localCache) historyValid(h *userHistory) bool {
	return h != nil && h.invalidations == l.invalidations.Load()
}

// isFresh reports whether the copy's content has been watched since it was read.
func (l *localCache) isFresh(c *entityCopy) bool { return c != nil && c.epoch == l.epoch.Load() }

const (
	// maxChanges is about how many messages the stream of changes keeps.
	maxChanges = 10_000
	// changesPerRead bounds the messages that one command reads.
	changesPerRead = 1000
	// maxChangesGap is the longest time between two reads of the stream. After a longer one, or
	// after a flood of messages, some may have been trimmed before they were read.
	maxChangesGap = 20 * syncInterval
)

// readChanges reads the stream of changes and invalidates the copies that other replicas have
// outdated.
func (sy *syncer) readChanges(ctx context.Context) error {
	key := sy.s.keys.changes()
	if sy.lastChange == "" {
		newest, err := sy.s.conn.XRevRangeN(ctx, key, "+", "-", 1).Result()
		if err != nil && !isAbsent(err) {
			return err
		}
		sy.lastChange = "0-0"
		if len(newest) > 0 {
			sy.lastChange = newest[0].ID
		}
	}
	read := 0
	for {
		streams, err := sy.s.conn.XRead(ctx, &redis.XReadArgs{
			Streams: []string{key, sy.lastChange}, Count: changesPerRead, Block: -1,
		}).Result()
		if err != nil && !isAbsent(err) {
			return err
		}
		if len(streams) == 0 || len(streams[0].Messages) == 0 {
			break
		}
		for _, m := range streams[0].Messages {
			for stateKey, change := range m.Values {
				sy.s.cache.applyChange(entityOf(stateKey), change == changeGone)
			}
			sy.lastChange = m.ID
		}
		read += len(streams[0].Messages)
		if len(streams[0].Messages) < changesPerRead {
			break
		}
	}
	if read >= maxChanges || time.Since(sy.changesReadAt) > maxChangesGap {
		sy.s.cache.markAllOutdated()
	}
	sy.changesReadAt = time.Now()
	return nil
}

// cacheCopy keeps a copy of a user or item that exists. Ids that callers make up are not kept,
// because they would displace what is known.
func (s *Store) cacheCopy(e entityKey, c *entityCopy, invalidationsBefore uint64) {
	if c.item != nil || c.user != nil {
		s.cache.put(e, s.keys.state(e), c, invalidationsBefore)
	} else if s.cache.get(e) != nil {
		s.cache.remove(e)
	}
}

// decodeStored decodes a value of the kind userValue or itemValue. A damaged value is counted and
// treated as missing.
func (s *Store) decodeStored(kind, raw string) storedValue {
	if raw == "" {
		return storedValue{}
	}
	v, err := decodeValue(kind, raw)
	if err != nil {
		s.countDamaged(err)
		return storedValue{rev: v.rev}
	}
	return v
}

// countDamaged counts a damaged value, and logs the first one.
func (s *Store) countDamaged(err error) {
	if s.stats.invalid.Add(1) == 1 {
		s.log.Error("Redis holds a value that this server cannot read; it counts as missing until "+
			"an event rewrites it, or until relish rebuild --redis", "error", err)
	}
}

func (s *Store) decodeItem(raw string) *entityCopy {
	if raw == "" {
		return &entityCopy{}
	}
	v := s.decodeStored(itemValue, raw)
	c := &entityCopy{rev: strings.Clone(v.rev)} // it is a part of the value, which is longer
	if v.packed == "" {
		return c
	}
	_, it, err := s.counters.DecodeItem([]byte(v.packed))
	if err != nil {
		s.countDamaged(err)
		return c
	}
	c.item = it
	return c
}

// decodeContent decodes an answer of Redis. It returns nil if that is no content.
func (s *Store) decodeContent(raw string) *features.Content {
	if raw == "" {
		return nil
	}
	c, err := s.counters.DecodeContent([]byte(raw))
	if err != nil {
		s.countDamaged(err)
		return nil
	}
	return c
}
