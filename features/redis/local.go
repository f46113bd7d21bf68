package redis

import (
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"

	"relish/features"
)

// local is what this replica has seen of users and items: decoded, bounded in bytes, and only a cache.
// It spares decoding what did not change and fetching contents; and it is what is served while Redis is
// away.
type local struct {
	cache *ristretto.Cache[string, *held]
	epoch atomic.Uint64 // contents of an older epoch may have changed unheard
}

// held is one key's newest copy. What it points to is immutable.
type held struct{ now atomic.Pointer[seen] }

type seen struct {
	rev   string
	epoch uint64
	user  *features.UserState // of a user
	item  *features.ItemState // of an item; both nil: there is none
}

// heldCost is what an entry takes beside its content, in bytes, about.
const heldCost = 1 << 10

func newLocal(maxBytes int64) (*local, error) {
	c, err := ristretto.NewCache(&ristretto.Config[string, *held]{
		NumCounters: max(1000, maxBytes/heldCost*10), MaxCost: maxBytes, BufferItems: 64,
	})
	return &local{cache: c}, err
}

func (l *local) close() { l.cache.Close() }

// get returns the newest copy of a key, nil for none.
func (l *local) get(key string) *seen {
	if h, ok := l.cache.Get(key); ok {
		return h.now.Load()
	}
	return nil
}

// put keeps a newer copy.
func (l *local) put(key string, s *seen) {
	s.epoch = l.epoch.Load()
	if h, ok := l.cache.Get(key); ok {
		h.now.Store(s)
		return
	}
	h := &held{}
	h.now.Store(s)
	cost := int64(heldCost)
	if s.item != nil && s.item.Info != nil {
		cost += int64(len(s.item.Info.Title) + 2*len(s.item.Info.Text))
	}
	if s.user != nil {
		cost += 16 * heldCost
	}
	l.cache.Set(key, h, cost)
}

func (l *local) drop(key string) { l.cache.Del(key) }

// fresh reports whether the copy's content has been watched since it was read.
func (l *local) fresh(s *seen) bool { return s != nil && s.epoch == l.epoch.Load() }
