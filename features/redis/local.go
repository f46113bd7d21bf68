package redis

import (
	"strings"
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
	drops atomic.Uint64 // how often something was dropped or outdated
}

// held is one entity's newest copy. What it points to is immutable.
type held struct {
	key string // in Redis
	now atomic.Pointer[seen]
}

type seen struct {
	rev   string
	epoch uint64
	user  *features.UserState // of a user
	item  *features.ItemState // of an item; both nil: there is none
	past  atomic.Pointer[past]
}

// past is a user's history, looked up. It holds until the next drop: any of its items may be meant.
type past struct {
	drops    uint64
	contents []*features.Content
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

// name is an entity's name here. No item's id begins with a zero byte.
func (e entityKey) name() string {
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
func (l *local) get(e entityKey) *held {
	h, _ := l.cache.Get(e.name())
	return h
}

// copy returns the newest copy, nil for none.
func (h *held) copy() *seen {
	if h == nil {
		return nil
	}
	return h.now.Load()
}

// put keeps a newer copy. since is what drops said before it was asked for: if something was dropped or outdated
// since, this may be it.
func (l *local) put(e entityKey, key string, s *seen, since uint64) {
	s.epoch = l.epoch.Load()
	moved := l.drops.Load() != since
	if moved {
		s.epoch = unwatched
	}
	if h := l.get(e); h != nil {
		h.now.Store(s)
		return
	}
	if moved {
		return
	}
	h := &held{key: key}
	h.now.Store(s)
	cost := int64(heldCost)
	if s.item != nil && s.item.Info != nil {
		cost += int64(len(s.item.Info.Title) + 2*len(s.item.Info.Text))
	}
	if s.user != nil {
		cost += 16 * heldCost
	}
	l.cache.Set(e.name(), h, cost)
}

// drop forgets an entity.
func (l *local) drop(e entityKey) {
	l.drops.Add(1)
	l.cache.Del(e.name())
}

// unwatched is the epoch of a copy whose content may have changed.
const unwatched = ^uint64(0)

// outdate makes an entity's content count as unwatched. The copy stays: while Redis is away it is better than
// nothing.
func (l *local) outdate(e entityKey) {
	l.drops.Add(1)
	h := l.get(e)
	if old := h.copy(); old != nil {
		h.now.CompareAndSwap(old, &seen{rev: old.rev, epoch: unwatched, user: old.user, item: old.item})
	}
}

// changeGone is what the stream of changes says of an entity that was forgotten or deleted.
const changeGone = "gone"

// moved takes in that an entity has another content, or is gone.
func (l *local) moved(e entityKey, gone bool) {
	if gone {
		l.drop(e)
	} else {
		l.outdate(e)
	}
}

// outdateAll makes all contents count as unwatched.
func (l *local) outdateAll() {
	l.epoch.Add(1)
	l.drops.Add(1)
}

// holds reports whether a looked-up history is as it was.
func (l *local) holds(p *past) bool { return p != nil && p.drops == l.drops.Load() }

// fresh reports whether the copy's content has been watched since it was read.
func (l *local) fresh(s *seen) bool { return s != nil && s.epoch == l.epoch.Load() }
