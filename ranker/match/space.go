package match

import (
	"slices"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// Space places items by their content alone: the main directions of their text vectors and of their field values, each
// of unit length, so that a product of two items is the sum of two cosines. It is learned from the catalogue.
type Space struct {
	Text  []float32 // TextDim x the vectors' length: projections of a text vector
	Shift []float32 // TextDim: the mean text's projections, taken off
	Keys  []string  // field values as "field=value", sorted
	Field []float32 // len(Keys) x FieldDim: what a value adds
	// TextDim and FieldDim are the sizes of the two parts.
	TextDim, FieldDim int
}

// Dim is the length of a place.
func (s *Space) Dim() int { return s.TextDim + s.FieldDim }

// Place writes the item's place to out, of length Dim; a part that the item has nothing for is zero. vector is its
// text's, nil for none. It reports whether anything is there.
func (s *Space) Place(info *ranker.ItemInfo, vector, out []float32) (any bool) {
	clear(out)
	if vector != nil && s.TextDim > 0 && len(vector)*s.TextDim == len(s.Text) {
		text := out[:s.TextDim]
		for d := range text {
			text[d] = vek32.Dot(s.Text[d*len(vector):(d+1)*len(vector)], vector) - s.Shift[d]
		}
		any = normalise(text)
	}
	if info == nil || s.FieldDim == 0 {
		return any
	}
	field := out[s.TextDim:]
	var room [64]int32
	for _, k := range KnownValues(info, s.Keys, room[:0]) {
		at := int(k) * s.FieldDim
		addScaled(field, s.Field[at:at+s.FieldDim], 1)
	}
	return normalise(field) || any
}

// KnownValues appends to list the places in keys of the values that the item's fields of words and its tags have, in
// ascending order: fields are a map, and no sum may depend on the order of one.
func KnownValues(info *ranker.ItemInfo, keys []string, list []int32) []int32 {
	EachField(info, func(name string, values []string) {
		for _, v := range values {
			if at, ok := slices.BinarySearch(keys, FieldKey(name, v)); ok {
				list = append(list, int32(at))
			}
		}
	})
	slices.Sort(list)
	return list
}

// EachField gives the item's fields of words, in no order, and its tags as one more.
func EachField(info *ranker.ItemInfo, f func(name string, values []string)) {
	for name, v := range info.Fields {
		if v.Kind == ranker.String || v.Kind == ranker.Strings {
			f(name, v.Words())
		}
	}
	if len(info.Tags) > 0 {
		f("tags", info.Tags)
	}
}

// FieldKey is how Space.Keys writes a field's value.
func FieldKey(field, value string) string { return field + "=" + value }

func normalise(v []float32) bool {
	norm := vek32.Norm(v)
	if norm < 1e-6 {
		clear(v)
		return false
	}
	vek32.DivNumber_Inplace(v, norm)
	return true
}

func (s *Space) encode(w *writer) {
	w.count(s.TextDim)
	w.count(s.FieldDim)
	w.floats(s.Shift)
	w.floats(s.Text)
	w.texts(s.Keys)
	w.floats(s.Field)
}

// maxDim bounds what a file may ask for.
const maxDim = 4096

func (r *reader) dim() int {
	n := r.count(1)
	if r.err == nil && n > maxDim {
		r.err = errFile
		return 0
	}
	return n
}

func (r *reader) space() *Space {
	s := &Space{TextDim: r.dim(), FieldDim: r.dim()}
	s.Shift, s.Text = r.floats(s.TextDim), r.floats(-1)
	s.Keys = r.texts()
	s.Field = r.floats(len(s.Keys) * s.FieldDim)
	if r.err == nil && (!slices.IsSorted(s.Keys) || s.TextDim == 0 && len(s.Text) > 0 || s.TextDim > 0 && len(s.Text)%s.TextDim != 0) {
		r.err = errFile
	}
	return s
}
