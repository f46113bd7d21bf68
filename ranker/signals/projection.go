package signals

import (
	"slices"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// Projection has the main directions of the catalogue's texts and of its field values. It is
// learned from the catalogue. It is read-only once built and safe for concurrent use.
type Projection struct {
	TextDim        int       // number of directions of texts
	TextProjection []float32 // TextDim x length of a text vector, row-major
	TextOffset     []float32 // TextDim: the projection of the mean text, which is subtracted
	FieldDim       int       // number of directions of field values
	FieldValues    []string  // FieldValueKeys, sorted
	// FieldVectors holds the place of each value along the directions: len(FieldValues) x FieldDim,
	// row-major.
	FieldVectors []float32
}

// Project writes the place of a text along the directions to out, which has length TextDim. It has
// unit length; zero without a text. vector is that of the text, nil without one. It reports whether
// there is a text.
func (p *Projection) Project(vector, out []float32) bool {
	clear(out)
	if vector == nil || p.TextDim == 0 || len(vector)*p.TextDim != len(p.TextProjection) {
		return false
	}
	for d := range out {
		row := p.TextProjection[d*len(vector) : (d+1)*len(vector)]
		out[d] = vek32.Dot(row, vector) - p.TextOffset[d]
	}
	return normalize(out)
}

// FieldValueIndices appends to list, which is empty, the indices in keys, which is sorted, of the
// item's field values and tags. The indices are distinct, so that a value counts once however often
// an item repeats it, and in ascending order.
func FieldValueIndices(info *ranker.ItemInfo, keys []string, list []int32) []int32 {
	info.EachString(func(name, value string) {
		if i, ok := slices.BinarySearch(keys, FieldValueKey(name, value)); ok {
			list = append(list, int32(i))
		}
	})
	slices.Sort(list)
	return slices.Compact(list)
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
