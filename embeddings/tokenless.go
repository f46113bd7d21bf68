package embeddings

import "sync"

// maxTokenless bounds the texts without tokens that are remembered, at about 16 bytes each.
const maxTokenless = 1 << 16

// tokenlessTexts remembers the texts in which the tokenizer found no token. One that was forgotten
// costs another tokenization. It has its own lock, because lookups must not wait for the queue.
type tokenlessTexts struct {
	mu   sync.RWMutex
	keys map[uint64]struct{}
}

func (t *tokenlessTexts) add(key uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keys == nil {
		t.keys = map[uint64]struct{}{}
	}
	for k := range t.keys {
		if len(t.keys) < maxTokenless {
			break
		}
		delete(t.keys, k)
	}
	t.keys[key] = struct{}{}
}

func (t *tokenlessTexts) has(key uint64) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	_, ok := t.keys[key]
	return ok
}
