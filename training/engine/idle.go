package engine

import (
	"sync"

	"github.com/gomlx/gomlx/pkg/core/dtypes"
)

// maxPooledBytes bounds the memory that waits to be used again, in bytes: about what one step of a small text
// encoder gives back.
const maxPooledBytes = 512 << 20

// bufferPool keeps freed memory by type and length: the weights and moments of every step would otherwise be new
// memory, which Go zeroes first. It is safe for concurrent use.
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

// take gives a slice of the type and length with undefined contents, nil if there is none.
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

// put takes the buffer's memory. When there would be too much, all that waits is let go: most likely it is
// of shapes that do not come any more.
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
