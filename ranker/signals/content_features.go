package signals

import (
	"slices"
	"sort"

	"relish/ranker"
)

// ContentFeatures turns an item's content into numbers:
//
//   - for each field with strings the item's values, by rarity and of unit length,
//   - the main directions of its text, of unit length,
//   - for each numeric field its place among the values of the catalogue.
//
// They are learned from the catalogue. A ContentFeatures is read-only once built and safe for
// concurrent use.
type ContentFeatures struct {
	Projection *Projection
	// ValueWeights and ValueFields are aligned with Projection.FieldValues: the rarity of the
	// value, above 0, and the index of its field, below FieldCount.
	ValueWeights []float32
	ValueFields  []int32
	FieldCount   int
	// FieldLimits has, by field, the number of values that nearly all items of the catalogue keep
	// to, at least 1. More values together count as much as that many: an item cannot gain by
	// listing every value. Empty, for files of earlier versions: no limits.
	FieldLimits []float32
	Numbers     []NumberScale
}

// NumberScale says where a value lies among those of a numeric field.
type NumberScale struct {
	Name string
	// Knots are values of the field, in ascending order. At least one.
	Knots []float32
	// Quantiles are the shares of the catalogue's values below each knot, 0 to 1; of values that
	// equal it, half.
	Quantiles []float32
}

// Locate returns the knot at or below x and how far x is on the way to the next one, 0 to 1. Values
// beyond the first or last knot are at that knot.
func (s *NumberScale) Locate(x float64) (knot int, fraction float32) {
	knot = sort.Search(len(s.Knots), func(k int) bool { return float64(s.Knots[k]) > x }) - 1
	switch {
	case knot < 0:
		return 0, 0
	case knot == len(s.Knots)-1:
		return knot, 0
	}
	low, high := float64(s.Knots[knot]), float64(s.Knots[knot+1])
	return knot, float32((x - low) / (high - low))
}

// Interpolate returns the value at x of a function that is linear between the knots, where it has
// the given values.
func (s *NumberScale) Interpolate(x float64, atKnots []float32) float32 {
	knot, fraction := s.Locate(x)
	if fraction == 0 {
		return atKnots[knot]
	}
	return (1-fraction)*atKnots[knot] + fraction*atKnots[knot+1]
}

// NumberOf returns an item's value of a numeric field.
func NumberOf(info *ranker.ItemInfo, field string) (x float64, ok bool) {
	v, ok := info.Field(field)
	if !ok || v.Kind != ranker.Number && v.Kind != ranker.Bool {
		return 0, false
	}
	return v.Num, true
}

// IsEmpty reports whether no item of the catalogue has content.
func (f *ContentFeatures) IsEmpty() bool {
	return f.Projection.TextDim == 0 && len(f.ValueWeights) == 0 && len(f.Numbers) == 0
}

// KnotCount returns the number of knots of all numeric fields.
func (f *ContentFeatures) KnotCount() (n int) {
	for i := range f.Numbers {
		n += len(f.Numbers[i].Knots)
	}
	return n
}

// ContentReader holds the field values and the text of one item, and the memory for the next one.
// It is not safe for concurrent use.
type ContentReader struct {
	Values  []int32   // indices in Projection.FieldValues, in ascending order
	Entries []float32 // aligned with Values: of unit length for each field
	Text    []float32 // Projection.TextDim values; zero without a text

	features *ContentFeatures
	norms    []float32 // memory of writeEntries
}

// NewReader returns a reader of the features.
func (f *ContentFeatures) NewReader() *ContentReader {
	return &ContentReader{
		features: f, norms: make([]float32, 2*f.FieldCount),
		Text: make([]float32, f.Projection.TextDim),
	}
}

// Read reads an item. vector is that of the item's text, nil without one.
func (r *ContentReader) Read(info *ranker.ItemInfo, vector []float32) {
	f := r.features
	r.Values = FieldValueIndices(info, f.Projection.FieldValues, r.Values[:0])
	r.Entries = slices.Grow(r.Entries[:0], len(r.Values))[:len(r.Values)]
	f.writeEntries(r.Values, r.norms, r.Entries)
	f.Projection.Project(vector, r.Text)
}

// writeEntries writes the entries of an item's field values to out. norms is memory, two numbers
// for each field.
//
// The entries of a field have unit length up to the field's limit of values. Beyond it their sum
// stays what it is at the limit, so the entries get shorter. Up to the limit, the sum of n equal
// weights is sqrt(n) times their length; the second norm is the larger one beyond that only.
func (f *ContentFeatures) writeEntries(values []int32, norms, out []float32) {
	clear(norms)
	squares, sums := norms[:f.FieldCount], norms[f.FieldCount:2*f.FieldCount]
	for _, v := range values {
		squares[f.ValueFields[v]] += f.ValueWeights[v] * f.ValueWeights[v]
		sums[f.ValueFields[v]] += f.ValueWeights[v]
	}
	for field, square := range squares {
		squares[field] = sqrt32(square)
		if len(f.FieldLimits) > 0 {
			squares[field] = max(squares[field], sums[field]/sqrt32(f.FieldLimits[field]))
		}
	}
	for j, v := range values {
		out[j] = f.ValueWeights[v] / squares[f.ValueFields[v]]
	}
}

func (f *ContentFeatures) encode(w *fileWriter) {
	f.Projection.encode(w)
	w.floats(f.ValueWeights)
	w.count(f.FieldCount)
	w.ints(f.ValueFields)
	w.floats(f.FieldLimits)
	w.count(len(f.Numbers))
	for i := range f.Numbers {
		n := &f.Numbers[i]
		w.text(n.Name)
		w.floats(n.Knots)
		w.floats(n.Quantiles)
	}
}

// contentFeatures reads what encode wrote.
func (r *fileReader) contentFeatures() *ContentFeatures {
	f := &ContentFeatures{Projection: r.projection()}
	values := len(f.Projection.FieldValues)
	f.ValueWeights = r.boundedFloats(values, 1e-6)
	f.FieldCount = r.dim()
	f.ValueFields = r.ints(values, 0, f.FieldCount)
	if r.version >= 4 {
		f.FieldLimits = r.boundedFloats(-1, 1)
		if n := len(f.FieldLimits); r.err == nil && n != 0 && n != f.FieldCount {
			r.err = malformed("%d limits for %d fields", n, f.FieldCount)
		}
	}
	for range r.count(minNumberBytes) {
		n := NumberScale{Name: r.text(), Knots: r.floats(-1)}
		n.Quantiles = r.boundedFloats(len(n.Knots), 0)
		isRising := func(x []float32) bool {
			return slices.IsSorted(x) && len(slices.Compact(slices.Clone(x))) == len(x)
		}
		if r.err == nil && (len(n.Knots) == 0 || !isRising(n.Knots)) {
			r.err = malformed("the knots of the field %q are not in ascending order", n.Name)
		}
		f.Numbers = append(f.Numbers, n)
	}
	return f
}

// minNumberBytes is the size of the smallest NumberScale in a file: three counts.
const minNumberBytes = 3 * 8
