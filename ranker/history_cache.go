package ranker

import (
	"container/list"
	"hash/maphash"
	"math"
	"slices"
	"sync"
	"time"
	"unsafe"
)

// HistoryCache keeps what a model's signals computed of users' histories, so that the next list of
// a user who has done nothing since costs the work for its candidates only. Each user has one
// entry, and the users whose lists were asked for longest ago leave first.
//
// An entry holds for one history: a request whose history differs replaces it. So no event has to
// invalidate anything, and every store and a replay may share the code. An entry that nobody asked
// for in an hour leaves with the next request for its part, so that nothing stays of a user who was
// erased on whichever replica.
//
// It is not a general cache such as ristretto: that one writes later, may refuse to write, and has
// goroutines to be closed. Here the memory is freed with the model that has the cache. The cache
// holds no user ids and no item ids, only hashes of them. It is safe for concurrent use.
type HistoryCache struct {
	shards     [historyShards]historyShard
	shardBytes int
}

// DefaultHistoryBytes is the usual size of a HistoryCache. A user of the RankLens data takes 20 KB.
const DefaultHistoryBytes = 32 << 20

const (
	// historyShards is the number of parts with a lock of their own.
	historyShards = 16
	// maxHistoryIdle is how long an entry stays that nobody asks for.
	maxHistoryIdle = time.Hour
)

// NewHistoryCache returns a cache that keeps at most the given number of bytes.
func NewHistoryCache(maxBytes int) *HistoryCache {
	c := &HistoryCache{shardBytes: maxBytes / historyShards}
	for i := range c.shards {
		c.shards[i].byUser = map[uint64]*cachedHistory{}
	}
	return c
}

// Bytes returns the size of what the cache keeps.
func (c *HistoryCache) Bytes() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += s.bytes
		s.mu.Unlock()
	}
	return n
}

type historyShard struct {
	mu     sync.Mutex
	byUser map[uint64]*cachedHistory
	order  list.List // of *cachedHistory, the one that was asked for longest ago first
	bytes  int
}

// cachedHistory is what is known of one history of one user. The lock of its shard guards it.
type cachedHistory struct {
	cache   *HistoryCache
	shard   *historyShard
	user    uint64   // hash of the id
	key     []uint64 // see historyKey
	values  []signalValue
	bytes   int
	used    time.Time     // when a request last asked for it
	place   *list.Element // in historyShard.order
	dropped bool          // it is not in the shard any more
}

// signalValue is what one signal computed.
type signalValue struct {
	signal Signal
	value  any
	bytes  int
}

// entryBytes is what an entry takes without its key and its values.
const entryBytes = 400

// entry returns the entry of a user with this history.
func (c *HistoryCache) entry(userID string, key []uint64) *cachedHistory {
	user := maphash.String(historySeed, userID)
	s := &c.shards[user%historyShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for e := s.oldest(); e != nil && now.Sub(e.used) > maxHistoryIdle; e = s.oldest() {
		s.drop(e)
	}
	if e := s.byUser[user]; e != nil {
		if slices.Equal(e.key, key) {
			e.used = now
			s.order.MoveToBack(e.place)
			return e
		}
		s.drop(e)
	}
	e := &cachedHistory{cache: c, shard: s, user: user, key: slices.Clone(key), used: now}
	e.bytes = entryBytes + 8*len(key)
	s.bytes += e.bytes
	s.byUser[user] = e
	e.place = s.order.PushBack(e)
	s.shrink(c.shardBytes)
	return e
}

// oldest returns the entry that was asked for longest ago, nil if there is none.
func (s *historyShard) oldest() *cachedHistory {
	if first := s.order.Front(); first != nil {
		return first.Value.(*cachedHistory)
	}
	return nil
}

// drop removes an entry. A request may still use it.
func (s *historyShard) drop(e *cachedHistory) {
	e.dropped = true
	s.bytes -= e.bytes
	s.order.Remove(e.place)
	delete(s.byUser, e.user)
}

// shrink drops the oldest entries until the rest fits.
func (s *historyShard) shrink(maxBytes int) {
	for e := s.oldest(); e != nil && s.bytes > maxBytes; e = s.oldest() {
		s.drop(e)
	}
}

// value returns what the signal has computed, nil if nothing is kept.
func (e *cachedHistory) value(signal Signal) any {
	e.shard.mu.Lock()
	defer e.shard.mu.Unlock()
	for i := range e.values {
		if e.values[i].signal == signal {
			return e.values[i].value
		}
	}
	return nil
}

// keep keeps what the signal has computed, in place of what it had computed before.
func (e *cachedHistory) keep(v signalValue) {
	s := e.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.dropped {
		return
	}
	i := slices.IndexFunc(e.values, func(old signalValue) bool { return old.signal == v.signal })
	grown := v.bytes
	if i < 0 {
		e.values = append(e.values, v)
	} else {
		grown -= e.values[i].bytes
		e.values[i] = v
	}
	e.bytes += grown
	s.bytes += grown
	s.shrink(e.cache.shardBytes)
}

// OfHistory returns what a signal computes of the user's history alone. It is the kept value if the
// model has a HistoryCache and the history is the same: the items and times of State.Recent, the
// tokens of State.RecentItems, and RecentVectors. compute may read nothing else of in.
//
// A value that depends on more says by holds whether it is still right; nil: it is. compute returns
// a value, which nobody may change from then on, and about how many bytes it takes.
func OfHistory[T any](
	in *SignalInput, signal Signal, holds func(*T) bool, compute func() (*T, int),
) *T {
	if in.history == nil {
		value, _ := compute()
		return value
	}
	if kept, ok := in.history.value(signal).(*T); ok && (holds == nil || holds(kept)) {
		return kept
	}
	value, bytes := compute()
	in.history.keep(signalValue{signal, value, bytes})
	return value
}

// UseHistory makes OfHistory keep values in the cache. A nil cache keeps nothing.
func (in *SignalInput) UseHistory(cache *HistoryCache) {
	if in.history = nil; cache == nil || in.Request.User == "" {
		return
	}
	key := historyKeys.Get().(*[]uint64)
	defer historyKeys.Put(key)
	*key = in.historyKey((*key)[:0])
	in.history = cache.entry(in.Request.User, *key)
}

var (
	historySeed = maphash.MakeSeed() // nobody outside can make two histories look alike
	historyKeys = sync.Pool{New: func() any { return new([]uint64) }}
)

// historyKey appends what identifies the user's history: four numbers for each interaction.
func (in *SignalInput) historyKey(key []uint64) []uint64 {
	s := in.State
	for k := range s.Recent {
		tokens, vector := uint64(0), uint64(0)
		if it := s.RecentItems[k]; it != nil && len(it.Tokens) > 0 {
			bytes := unsafe.Slice((*byte)(unsafe.Pointer(&it.Tokens[0])), 4*len(it.Tokens))
			tokens = maphash.Bytes(historySeed, bytes)
		}
		if v := in.RecentVectors[k]; len(v) > 0 {
			vector = vectorPrint(v)
		}
		item := maphash.String(historySeed, s.Recent[k].Item)
		key = append(key, item, uint64(s.Recent[k].Time), tokens, vector)
	}
	return key
}

// vectorPrint identifies the vector of a text among those that different encoders make. It is not
// 0. Two encoders do not agree in all bits of two numbers.
func vectorPrint(v []float32) uint64 {
	first, last := math.Float32bits(v[0]), math.Float32bits(v[len(v)-1])
	return max(1, uint64(first)<<32|uint64(last))
}
