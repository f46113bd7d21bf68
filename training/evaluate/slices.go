package evaluate

// Slice is a named part of the scored lists, told from what is known of each, of type T: new users,
// rare items, long histories. Slices may overlap, and a list may be in none.
type Slice[T any] struct {
	Name  string
	Holds func(T) bool
}

// Divide returns, for each slice, the indices of the lists that it holds, in order. With Pick it cuts
// any per-list metric of any scorer, so that all of them are compared on the same lists.
func Divide[T any](lists []T, by []Slice[T]) [][]int {
	out := make([][]int, len(by))
	for s := range by {
		for i, l := range lists {
			if by[s].Holds(l) {
				out[s] = append(out[s], i)
			}
		}
	}
	return out
}

// Pick returns the values at the given indices.
func Pick(values []float64, at []int) []float64 {
	out := make([]float64, len(at))
	for i, k := range at {
		out[i] = values[k]
	}
	return out
}
