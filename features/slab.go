package features

// slabBits is the logarithm of the number of values in one chunk of a slab.
const slabBits = 9

// smallSlabBits is the same for a slab that holds a few values for a moment.
const smallSlabBits = 4

// slab is a list that grows without moving what it has. The zero value is empty.
type slab[T any] struct {
	chunks [][]T
	n      uint32
	small  bool // the chunks are small; set before the first value
}

func (s *slab[T]) get(i uint32) T    { return *s.ptr(i) }
func (s *slab[T]) set(i uint32, v T) { *s.ptr(i) = v }

func (s *slab[T]) ptr(i uint32) *T {
	if s.small {
		return &s.chunks[i>>smallSlabBits][i&(1<<smallSlabBits-1)]
	}
	return &s.chunks[i>>slabBits][i&(1<<slabBits-1)]
}

// add appends v and returns its index.
func (s *slab[T]) add(v T) uint32 {
	i, size := s.n, 1<<slabBits
	if s.small {
		size = 1 << smallSlabBits
	}
	if int(i) == len(s.chunks)*size {
		s.chunks = append(s.chunks, make([]T, size))
	}
	s.n++
	s.set(i, v)
	return i
}
