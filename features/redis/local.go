package redis

import (
	"strings"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"

	"relish/features"
)

// localCache is what this replica has seen of users and items: decoded, bounded in bytes, and only a cache.
// It spares decoding what did not change and fetching contents; and it is what is served while Redis is
// away.
type localCache struct {
	cache         *ristretto.Cache[string, *cacheEntry]
	epoch         atomic.Uint64 // contents of an older epoch may have changed unheard
	invalidations atomic.Uint64 // how often something was dropped or outdated
}

// cacheEntry is one entity's newest copy. What it points to is immutable.
type cacheEntry struct {
	key    string // in Redis
	latest atomic.Pointer[entityCopy]
}

type entityCopy struct {
	rev     string
	epoch   uint64
	user    *features.UserState // of a user
	item    *features.ItemState // of an item; both nil: there is none
	history atomic.Pointer[userHistory]
}

// userHistory is a user's history, looked up. It holds until the next drop: any of its items may be meant.
type userHistory struct {
	invalidations uint64
	contents      []*features.Content
}

// entryCost is what an entry takes beside its content, in bytes, about.
const entryCost = 1 << 10

func newLocalCache(maxBytes int64) (*localCache, error) {
	c, err := ristretto.NewCache(&ristretto.Config[string, *cacheEntry]{
		NumCounters: max(1000, maxBytes/entryCost*10), MaxCost: maxBytes, BufferItems: 64,
	})
	return &localCache{cache: c}, err
}

func (l *localCache) closeCache() { l.cache.Close() }

// cacheKey is an entity's name here. No item's id begins with a zero byte.
func (e entityKey) cacheKey() string {
	if e.user {
		return "\x00" + e.id
	}
	return e.id
}

// entityOf returns whose state stands at a key of Redis.
func entityOf(key string) entityKey {
	_, rest, _ := strings.Cut(key, "}")
	if id, ok := strings.CutPrefix(rest, "u:"); ok {
		return entityKey{true, id}
	}
	return entityKey{false, strings.TrimPrefix(rest, "i:")}
}

// get returns the entry of an entity, nil for none.
func (l *localCache) get(e entityKey) *cacheEntry {
	h, _ := l.cache.Get(e.cacheKey())
	return h
}

// latestCopy returns the newest copy, nil for none.
func (h *cacheEntry) latestCopy() *entityCopy {
	if h == nil {
		return nil
	}
	return h.latest.Load()
}

// put keeps a newer copy. since is what drops said before it was asked for: if something was dropped or outdated
// since, this may be it.
func (l *localCache) put(e entityKey, key string, s *entityCopy, since uint64) {
	s.epoch = l.epoch.Load()
	moved := l.invalidations.Load() != since
	if moved {
		s.epoch = outdatedEpoch
	}
	if h := l.get(e); h != nil {
		h.latest.Store(s)
		return
	}
	if moved {
		return
	}
	h := &cacheEntry{key: key}
	h.latest.Store(s)
	cost := int64(entryCost)
	if s.item != nil && s.item.Info != nil {
		cost += int64(len(s.item.Info.Title) + 2*len(s.item.Info.Text))
	}
	if s.user != nil {
		cost += 16 * entryCost
	}
	l.cache.Set(e.cacheKey(), h, cost)
}

// remove forgets an entity.
func (l *localCache) remove(e entityKey) {
	l.invalidations.Add(1)
	l.cache.Del(e.cacheKey())
}

// outdatedEpoch is the epoch of a copy whose content may have changed.
const outdatedEpoch = ^uint64(0)

// markOutdated makes an entity's content count as unwatched. The copy stays: while Redis is away it is better than
// nothing.
func (l *localCache) markOutdated(e entityKey) {
	l.invalidations.Add(1)
	h := l.get(e)
	if old := h.latestCopy(); old != nil {
		h.latest.CompareAndSwap(old, &entityCopy{rev: old.rev, epoch: outdatedEpoch, user: old.user, item: old.item})
	}
}

// changeGone is what the stream of changes says of an entity that was forgotten or deleted.
const changeGone = "gone"

// applyChange takes in that an entity has another content, or is gone.
func (l *localCache) applyChange(e entityKey, gone bool) {
	if gone {
		l.remove(e)
	} else {
		l.markOutdated(e)
	}
}

// markAllOutdated makes all contents count as unwatched.
func (l *localCache) markAllOutdated() {
	l.epoch.Add(1)
	l.invalidations.Add(1)
}

// historyValid reports whether a looked-up history is as it was.
func (l *localCache) historyValid(p *userHistory) bool {
	return p != nil && p.invalidations == l.invalidations.Load()
}

// isFresh reports whether the copy's content has been watched since it was read.
func (l *localCache) isFresh(s *entityCopy) bool { return s != nil && s.epoch == l.epoch.Load() }
