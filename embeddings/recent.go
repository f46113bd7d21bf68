package embeddings

import (
	"math/rand/v2"
	"sync/atomic"
)

// recentVectors keeps some of the vectors that were looked up lately, to be asked before the cache.
// The cache locks, counts each read and looks into several maps, which took a tenth of the time of
// a ranking. Here a key has one slot, which it shares with few others. A key's vector never
// changes, so what is kept is never wrong. It is safe for concurrent use.
type recentVectors struct {
	slots []atomic.Pointer[recentVector]
}

type recentVector struct {
	key    uint64
	vector []float32
}

// recentShare is the part of the memory for vectors that recentVectors may take: 1/recentShare.
const recentShare = 4

// replaceOneIn is how many lookups replace another key's vector once, on average.
const replaceOneIn = 64

// newRecentVectors returns one with the given number of slots at most; 0 or less: it keeps nothing.
// The number of slots is a power of two.
func newRecentVectors(most int64) recentVectors {
	n := int64(1)
	for 2*n <= most {
		n *= 2
	}
	if n > most {
		return recentVectors{}
	}
	return recentVectors{make([]atomic.Pointer[recentVector], n)}
}

// get returns the vector of a key, nil if it is not kept.
func (r *recentVectors) get(key uint64) []float32 {
	if len(r.slots) == 0 {
		return nil
	}
	if v := r.slots[key&uint64(len(r.slots)-1)].Load(); v != nil && v.key == key {
		return v.vector
	}
	return nil
}

// put keeps the vector of a key. It rarely takes over the slot of another key, so that two keys
// that are looked up in turns do not replace each other all the time.
func (r *recentVectors) put(key uint64, vector []float32) {
	if len(r.slots) == 0 {
		return
	}
	slot := &r.slots[key&uint64(len(r.slots)-1)]
	if slot.Load() == nil || rand.Uint64N(replaceOneIn) == 0 {
		slot.Store(&recentVector{key, vector})
	}
}
