package signals

import (
	"slices"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// Projection maps an item's content to a content vector. The vector has two parts, each of unit
// length: the main directions of the item's text vector, and those of its field values. The inner
// product of two content vectors is therefore the sum of two cosines. A projection is learned from
// the catalogue. It is read-only once built and safe for concurrent use.
type Projection struct {
	TextDim        int       // length of the text part
	TextProjection []float32 // TextDim x length of a text vector, row-major
	TextOffset     []float32 // TextDim: the projection of the mean text, which is subtracted
	FieldDim       int       // length of the field part
	FieldValues    []string  // FieldValueKeys, sorted
	// FieldVectors holds what each value adds to the field part: len(FieldValues) x FieldDim,
	// row-major.
	FieldVectors []float32
}

// Dim returns the length of a content vector.
func (p *Projection) Dim() int { return p.TextDim + p.FieldDim }

// Project writes the item's content vector to out, which has length Dim. A part for which the item
// has no content is zero. It reports whether the item has any content. info may be nil; vector is
// that of the item's text, nil without one.
func (p *Projection) Project(info *ranker.ItemInfo, vector, out []float32) (hasContent bool) {
	clear(out)
	if vector != nil && p.TextDim > 0 && len(vector)*p.TextDim == len(p.TextProjection) {
		text := out[:p.TextDim]
		for d := range text {
			row := p.TextProjection[d*len(vector) : (d+1)*len(vector)]
			text[d] = vek32.Dot(row, vector) - p.TextOffset[d]
		}
		hasContent = normalize(text)
	}
	if info == nil || p.FieldDim == 0 {
		return hasContent
	}
	field := out[p.TextDim:]
	var memory [64]int32
	for _, k := range FieldValueIndices(info, p.FieldValues, memory[:0]) {
		at := int(k) * p.FieldDim
		addScaled(field, p.FieldVectors[at:at+p.FieldDim], 1)
	}
	return normalize(field) || hasContent
}

// FieldValueIndices appends to list the indices in keys, which is sorted, of the item's field
// values and tags. The indices are in ascending order, so that sums over them do not depend on the
// order of a map.
func FieldValueIndices(info *ranker.ItemInfo, keys []string, list []int32) []int32 {
	EachStringField(info, func(name string, values []string) {
		for _, v := range values {
			if i, ok := slices.BinarySearch(keys, FieldValueKey(name, v)); ok {
				list = append(list, int32(i))
			}
		}
	})
	slices.Sort(list)
	return list
}

// EachStringField calls f for each of the item's fields that hold strings, in no particular order,
// and then for its tags as the field "tags".
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

// FieldValueKey returns a field's value in the form of Projection.FieldValues.
func FieldValueKey(field, value string) string { return field + "=" + value }

func (p *Projection) encode(w *fileWriter) {
	w.count(p.TextDim)
	w.count(p.FieldDim)
	w.floats(p.TextOffset)
	w.floats(p.TextProjection)
	w.strings(p.FieldValues)
	w.floats(p.FieldVectors)
}

func (r *fileReader) projection() *Projection {
	p := &Projection{TextDim: r.dim(), FieldDim: r.dim()}
	p.TextOffset, p.TextProjection = r.floats(p.TextDim), r.floats(-1)
	p.FieldValues = r.strings()
	p.FieldVectors = r.floats(len(p.FieldValues) * p.FieldDim)
	if r.err != nil {
		return p
	}
	n := len(p.TextProjection)
	switch {
	case !slices.IsSorted(p.FieldValues):
		r.err = malformed("its field values are not sorted")
	case p.TextDim == 0 && n > 0, p.TextDim > 0 && n%p.TextDim != 0:
		r.err = malformed("a text projection of %d values does not fit dimension %d", n, p.TextDim)
	}
	return p
}
