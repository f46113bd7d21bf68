package signals

import (
	"slices"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// Projection places items by their content alone: the main directions of their text vectors and of their field values, each
// of unit length, so that a product of two items is the sum of two cosines. It is learned from the catalogue.
type Projection struct {
	TextProjection []float32 // TextDim x the vectors' length: projections of a text vector
	TextOffset     []float32 // TextDim: the mean text's projections, taken off
	FieldValues    []string  // field values as "field=value", sorted
	FieldVectors   []float32 // len(Keys) x FieldDim: what a value adds
	// TextDim and FieldDim are the sizes of the two parts.
	TextDim, FieldDim int
}

// Dim is the length of a place.
func (s *Projection) Dim() int { return s.TextDim + s.FieldDim }

// Project writes the item's place to out, of length Dim; a part that the item has nothing for is zero. vector is its
// text's, nil for none. It reports whether anything is there.
func (s *Projection) Project(info *ranker.ItemInfo, vector, out []float32) (any bool) {
	clear(out)
	if vector != nil && s.TextDim > 0 && len(vector)*s.TextDim == len(s.TextProjection) {
		text := out[:s.TextDim]
		for d := range text {
			text[d] = vek32.Dot(s.TextProjection[d*len(vector):(d+1)*len(vector)], vector) - s.TextOffset[d]
		}
		any = normalize(text)
	}
	if info == nil || s.FieldDim == 0 {
		return any
	}
	field := out[s.TextDim:]
	var room [64]int32
	for _, k := range FieldValueIndices(info, s.FieldValues, room[:0]) {
		at := int(k) * s.FieldDim
		addScaled(field, s.FieldVectors[at:at+s.FieldDim], 1)
	}
	return normalize(field) || any
}

// FieldValueIndices appends to list the places in keys of the values that the item's fields of words and its tags have, in
// ascending order: fields are a map, and no sum may depend on the order of one.
func FieldValueIndices(info *ranker.ItemInfo, keys []string, list []int32) []int32 {
	EachStringField(info, func(name string, values []string) {
		for _, v := range values {
			if at, ok := slices.BinarySearch(keys, FieldValueKey(name, v)); ok {
				list = append(list, int32(at))
			}
		}
	})
	slices.Sort(list)
	return list
}

// EachStringField gives the item's fields of words, in no order, and its tags as one more.
func EachStringField(info *ranker.ItemInfo, f func(name string, values []string)) {
	for name, v := range info.Fields {
		if v.Kind == ranker.String || v.Kind == ranker.Strings {
			f(name, v.AsStrings())
		}
	}
	if len(info.Tags) > 0 {
		f("tags", info.Tags)
	}
}

// FieldValueKey is how Space.Keys writes a field's value.
func FieldValueKey(field, value string) string { return field + "=" + value }

func normalize(v []float32) bool {
	norm := vek32.Norm(v)
	if norm < 1e-6 {
		clear(v)
		return false
	}
	vek32.DivNumber_Inplace(v, norm)
	return true
}

func (s *Projection) encode(w *fileWriter) {
	w.count(s.TextDim)
	w.count(s.FieldDim)
	w.floats(s.TextOffset)
	w.floats(s.TextProjection)
	w.strings(s.FieldValues)
	w.floats(s.FieldVectors)
}

// maxDim bounds what a file may ask for.
const maxDim = 4096

func (r *fileReader) dim() int {
	n := r.count(1)
	if r.err == nil && n > maxDim {
		r.err = errMalformedFile
		return 0
	}
	return n
}

func (r *fileReader) projection() *Projection {
	s := &Projection{TextDim: r.dim(), FieldDim: r.dim()}
	s.TextOffset, s.TextProjection = r.floats(s.TextDim), r.floats(-1)
	s.FieldValues = r.strings()
	s.FieldVectors = r.floats(len(s.FieldValues) * s.FieldDim)
	if r.err == nil && (!slices.IsSorted(s.FieldValues) || s.TextDim == 0 && len(s.TextProjection) > 0 || s.TextDim > 0 && len(s.TextProjection)%s.TextDim != 0) {
		r.err = errMalformedFile
	}
	return s
}
