package engine

import (
	"sync"

	"github.com/gomlx/gomlx/pkg/core/dtypes"
)

// maxPooledBytes limits the freed memory that the pool holds. 512 MiB is about what one training
// step of a small text encoder frees.
const maxPooledBytes = 512 << 20

// bufferPool holds freed memory by type and length. Without it, the weights and moments of each
// training step would be new memory, which Go fills with zeros first. It is safe for concurrent
// use.
type bufferPool struct {
	mu    sync.Mutex
	free  map[bufferKey][]any
	bytes int
}

type bufferKey struct {
	dtype dtypes.DType
	size  int
}

func (e bufferKey) bytes() int { return e.size * e.dtype.Size() }

// take returns a slice of the type and length with undefined contents, or nil if the pool has none.
func (m *bufferPool) take(dtype dtypes.DType, size int) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := bufferKey{dtype, size}
	list := m.free[key]
	if len(list) == 0 {
		return nil
	}
	flat := list[len(list)-1]
	if m.free[key] = list[:len(list)-1]; len(list) == 1 {
		delete(m.free, key)
	}
	m.bytes -= key.bytes()
	return flat
}

// put adds the buffer's memory to the pool. If the pool would exceed its limit, it drops everything
// first: its memory most likely has shapes that no longer occur.
func (m *bufferPool) put(buf *buffer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := bufferKey{buf.shape.DType, buf.shape.Size()}
	if m.bytes+key.bytes() > maxPooledBytes || m.free == nil {
		m.free, m.bytes = map[bufferKey][]any{}, 0
	}
	if key.bytes() <= maxPooledBytes {
		m.free[key] = append(m.free[key], buf.flat)
		m.bytes += key.bytes()
	}
	buf.flat = nil
}
