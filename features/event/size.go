package event

import (
	"unsafe"

	"relish/ranker"
)

// Size returns about how many bytes of memory an event takes.
func Size(e *ranker.Event) int {
	n := int(unsafe.Sizeof(*e)) + len(e.ID) + len(e.ItemID) + len(e.UserID) + len(e.Session) +
		len(e.Action) + len(e.ImpressionID) + sizeOfStrings(e.Tags) + sizeOfFields(e.Fields)
	if e.Title != nil {
		n += len(*e.Title)
	}
	if e.Text != nil {
		n += len(*e.Text)
	}
	imp := e.Impression
	if imp == nil {
		return n
	}
	n += int(unsafe.Sizeof(*imp)) + sizeOfStrings(imp.Items) + sizeOfFields(imp.Context) +
		8*(len(imp.Scores)+len(imp.Propensity)) + 4*len(imp.Matrix)
	if s := imp.Scored; s != nil {
		n += int(unsafe.Sizeof(*s)) + sizeOfStrings(s.Others) + 8*(len(s.OtherScores)+len(s.Stats))
		for i := range s.Inline {
			it := &s.Inline[i]
			n += int(unsafe.Sizeof(*it)) + len(it.Title) + len(it.Text) + sizeOfStrings(it.Tags) +
				sizeOfFields(it.Fields)
		}
	}
	return n
}

// sizeOfStrings returns the bytes that a list of strings takes.
func sizeOfStrings(list []string) int {
	n := 0
	for _, s := range list {
		n += int(unsafe.Sizeof(s)) + len(s)
	}
	return n
}

// sizeOfFields returns the bytes that fields take. A map has about twice the room that its entries
// need.
func sizeOfFields(f map[string]ranker.FieldValue) int {
	n := 0
	for name, v := range f {
		n += 2*int(unsafe.Sizeof(name)+unsafe.Sizeof(v)) + len(name) + len(v.Str) +
			sizeOfStrings(v.List) + 8*len(v.Nums)
	}
	return n
}
