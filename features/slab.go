package features

// slabBits is the logarithm of the number of values in one chunk of a slab.
const slabBits = 9

// slab is a list that grows without moving what it has. The zero value is empty.
type slab[T any] struct {
	chunks [][]T
	n      uint32
}

func (s *slab[T]) get(i uint32) T    { return s.chunks[i>>slabBits][i&(1<<slabBits-1)] }
func (s *slab[T]) ptr(i uint32) *T   { return &s.chunks[i>>slabBits][i&(1<<slabBits-1)] }
func (s *slab[T]) set(i uint32, v T) { s.chunks[i>>slabBits][i&(1<<slabBits-1)] = v }

// add appends v and returns its index.
func (s *slab[T]) add(v T) uint32 {
	i := s.n
	if int(i>>slabBits) == len(s.chunks) {
		s.chunks = append(s.chunks, make([]T, 1<<slabBits))
	}
	s.n++
	s.set(i, v)
	return i
}
