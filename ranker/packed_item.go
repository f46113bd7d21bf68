package ranker

import (
	"encoding/binary"
	"iter"
	"maps"
	"math"
	"slices"
)

// A packed item is one string with everything of an item but its id. Its strings are parts of this
// string, so that reading them allocates nothing, and the garbage collector has one pointer to
// follow instead of one for each tag, field and value.
//
//	title | tags | fields, sorted by name: name, kind, value | text
//
// A string stands after its length, and a list after its length plus 1; 0 stands for nil. Lengths
// are varints, and numbers the bits of a float64, little-endian.

// packItem returns the packed item.
func packItem(it *Item) string {
	b := appendString(make([]byte, 0, 256), it.Title)
	b = appendStrings(b, it.Tags)
	if it.Fields == nil {
		b = append(b, 0)
	} else {
		b = binary.AppendUvarint(b, uint64(len(it.Fields))+1)
	}
	var memory [16]string
	names := slices.AppendSeq(memory[:0], maps.Keys(it.Fields))
	slices.Sort(names)
	for _, name := range names {
		b = appendValue(appendString(b, name), it.Fields[name])
	}
	return string(appendString(b, it.Text))
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendStrings(b []byte, list []string) []byte {
	if list == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(list))+1)
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

func appendValue(b []byte, v FieldValue) []byte {
	b = append(b, byte(v.Kind))
	switch v.Kind {
	case Number, Bool:
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v.Num))
	case String:
		b = appendString(b, v.Str)
	case Strings:
		b = appendStrings(b, v.List)
	case Numbers:
		b = binary.AppendUvarint(b, uint64(len(v.Nums)))
		for _, x := range v.Nums {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
		}
	}
	return b
}

// itemReader reads a packed item from its start. What it reads must be what packItem wrote.
type itemReader struct{ rest string }

func (r *itemReader) uint() (v uint64) {
	for i := 0; ; i++ {
		c := r.rest[i]
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.rest = r.rest[i+1:]
			return v
		}
	}
}

func (r *itemReader) string() string {
	n := r.uint()
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

// length reads the length of a list of strings or of the fields, 0 for nil.
func (r *itemReader) length() (n int, isNil bool) {
	v := r.uint()
	return int(max(v, 1)) - 1, v == 0
}

func (r *itemReader) strings() []string {
	n, isNil := r.length()
	if isNil {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = r.string()
	}
	return list
}

// eachString calls f for each string of a list.
func (r *itemReader) eachString(f func(string)) {
	for n, _ := r.length(); n > 0; n-- {
		f(r.string())
	}
}

func (r *itemReader) skipStrings() {
	n, _ := r.length()
	for range n {
		r.string()
	}
}

func (r *itemReader) float() float64 {
	var bits uint64
	for i := range 8 {
		bits |= uint64(r.rest[i]) << (8 * i)
	}
	r.rest = r.rest[8:]
	return math.Float64frombits(bits)
}

func (r *itemReader) kind() ValueKind {
	k := ValueKind(r.rest[0])
	r.rest = r.rest[1:]
	return k
}

// value reads a value after its kind.
func (r *itemReader) value(kind ValueKind) FieldValue {
	v := FieldValue{Kind: kind}
	switch kind {
	case Number, Bool:
		v.Num = r.float()
	case String:
		v.Str = r.string()
	case Strings:
		v.List = r.strings()
	case Numbers:
		v.Nums = make([]float64, r.uint())
		for i := range v.Nums {
			v.Nums[i] = r.float()
		}
	}
	return v
}

func (r *itemReader) skipValue(kind ValueKind) {
	switch kind {
	case Number, Bool:
		r.rest = r.rest[8:]
	case String:
		r.string()
	case Strings:
		r.skipStrings()
	case Numbers:
		r.rest = r.rest[8*r.uint():]
	}
}

// ---- Reading the parts ----

// Title returns the title, "" without one. It allocates nothing.
func (i *ItemInfo) Title() string {
	r := itemReader{i.packed}
	return r.string()
}

// Tags returns the tags: nil if they are unknown, and empty if there are none. It allocates the
// list, which the caller owns.
func (i *ItemInfo) Tags() []string {
	r := itemReader{i.packed}
	r.string()
	return r.strings()
}

// Text returns the text, "" without one. It allocates nothing.
func (i *ItemInfo) Text() string {
	r := i.fields()
	for n, _ := r.length(); n > 0; n-- {
		r.string()
		r.skipValue(r.kind())
	}
	return r.string()
}

// fields returns a reader at the fields.
func (i *ItemInfo) fields() itemReader {
	r := itemReader{i.packed}
	r.string()
	r.skipStrings()
	return r
}

// FieldCount returns the number of fields.
func (i *ItemInfo) FieldCount() int {
	r := i.fields()
	n, _ := r.length()
	return n
}

// Field returns the value of a field, and whether the item has the field. It allocates only a list,
// which the caller owns.
func (i *ItemInfo) Field(name string) (FieldValue, bool) {
	r := i.fields()
	for n, _ := r.length(); n > 0; n-- {
		is, kind := r.string() == name, r.kind()
		if is {
			return r.value(kind), true
		}
		r.skipValue(kind)
	}
	return FieldValue{}, false
}

// Fields yields the fields in the order of their names, with values as Field returns them.
func (i *ItemInfo) Fields() iter.Seq2[string, FieldValue] {
	return func(yield func(string, FieldValue) bool) {
		r := i.fields()
		for n, _ := r.length(); n > 0; n-- {
			name := r.string()
			if !yield(name, r.value(r.kind())) {
				return
			}
		}
	}
}

// EachString calls f for each string in the fields, with the field's name, and then for each tag,
// with the name "tags". Numbers and booleans are left out. It allocates nothing.
func (i *ItemInfo) EachString(f func(field, value string)) {
	r := i.fields()
	for n, _ := r.length(); n > 0; n-- {
		name, kind := r.string(), r.kind()
		switch kind {
		case String:
			f(name, r.string())
		case Strings:
			for k, _ := r.length(); k > 0; k-- {
				f(name, r.string())
			}
		default:
			r.skipValue(kind)
		}
	}
	i.EachTag(func(tag string) { f("tags", tag) })
}

// EachValue calls f for each string that Field(name).AsStrings() has, and returns whether the item
// has the field. It makes no list, and allocates only the string of a number.
func (i *ItemInfo) EachValue(name string, f func(value string)) (ok bool) {
	r := i.fields()
	for n, _ := r.length(); n > 0; n-- {
		is, kind := r.string() == name, r.kind()
		switch {
		case !is:
			r.skipValue(kind)
			continue
		case kind == Strings:
			r.eachString(f)
		default:
			for _, s := range r.value(kind).AsStrings() {
				f(s)
			}
		}
		return true
	}
	return false
}

// EachValueOrTag is EachValue, but "tags" is the item's tags unless a field has that name.
func (i *ItemInfo) EachValueOrTag(name string, f func(value string)) {
	if !i.EachValue(name, f) && name == "tags" {
		i.EachTag(f)
	}
}

// EachTag calls f for each tag. It allocates nothing.
func (i *ItemInfo) EachTag(f func(tag string)) {
	r := itemReader{i.packed}
	r.string()
	r.eachString(f)
}

// Item returns the item. It allocates its lists and its map, which the caller owns.
func (i *ItemInfo) Item() Item {
	r := itemReader{i.packed}
	it := Item{ID: i.ID, Title: r.string(), Tags: r.strings()}
	n, isNil := r.length()
	if !isNil {
		it.Fields = make(map[string]FieldValue, n)
	}
	for range n {
		name := r.string()
		it.Fields[name] = r.value(r.kind())
	}
	it.Text = r.string()
	return it
}
