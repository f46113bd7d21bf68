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
	for name, v := range info.Fields {
		s.add(field, name, v.Words(), v.Kind)
	}
	s.add(field, "tags", info.Tags, ranker.Strings)
	return normalise(field) || any
}

func (s *Space) add(to []float32, field string, values []string, kind ranker.ValueKind) {
	if kind != ranker.String && kind != ranker.Strings {
		return
	}
	for _, v := range values {
		if at, ok := slices.BinarySearch(s.Keys, FieldKey(field, v)); ok {
			addScaled(to, s.Field[at*s.FieldDim:(at+1)*s.FieldDim], 1)
		}
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
	s.Shift, s.Text = r.floats(s.TextDim, false), r.floats(-1, false)
	s.Keys = r.texts()
	s.Field = r.floats(len(s.Keys)*s.FieldDim, false)
	if r.err == nil && !slices.IsSorted(s.Keys) {
		r.err = errFile
	}
	return s
}
