package ranker

import (
	"bytes"
	"slices"
	"testing"
)

// fileItems are items of every form.
func fileItems() []*ItemInfo {
	items := []Item{
		{ID: "empty"},
		{ID: "a", Title: "The Sea, the sea", Text: "A long text.", Tags: []string{"b", "a"}},
		{ID: "b", Title: "ü", Tags: []string{}, Fields: map[string]FieldValue{
			"price": NumberValue(-1.5), "on": BoolValue(true), "brand": StringValue("x"),
			"genres": StringsValue([]string{"one", "", "two"}), "none": {},
			"nums": {Kind: Numbers, Nums: []float64{1, 2}}, "empty": StringsValue(nil),
		}},
	}
	infos := make([]*ItemInfo, len(items))
	for i := range items {
		infos[i] = NewItemInfo(items[i], DefaultTextSpec)
	}
	return infos
}

// What AppendPacked packs is the same item again, and anything shorter or longer is refused.
func TestItemsOfAFile(t *testing.T) {
	for _, want := range fileItems() {
		packed := want.AppendPacked(nil)
		got, err := UnpackItemInfo(want.ID, packed, DefaultTextSpec)
		if err != nil {
			t.Fatalf("%s: %v", want.ID, err)
		}
		if got.TextKey != want.TextKey || !slices.Equal(got.Tokens, want.Tokens) ||
			got.Body() != want.Body() || !bytes.Equal(got.AppendPacked(nil), packed) {
			t.Errorf("%s: %+v, want %+v", want.ID, got, want)
		}
		for n := range packed {
			if _, err := UnpackItemInfo(want.ID, packed[:n], DefaultTextSpec); err == nil {
				t.Errorf("%s: accepted %d of %d bytes", want.ID, n, len(packed))
			}
		}
		if _, err := UnpackItemInfo(want.ID, append(packed, 0), DefaultTextSpec); err == nil {
			t.Errorf("%s: accepted an additional byte", want.ID)
		}
	}
}

// Files have text keys and tokens. If they change for the same item, the files need a new version.
func TestDerivedPartsOfAFileAreFixed(t *testing.T) {
	info := fileItems()[1]
	tokens := []uint32{0x1af39f9b, 0x1f8b5f26, 0xa98c6e5b, 0xcc7b81a6}
	if info.TextKey != 0xa7da05da6388b683 || !slices.Equal(info.Tokens, tokens) {
		t.Errorf("text key %#x, tokens %#x", info.TextKey, info.Tokens)
	}
}

// Whatever bytes are accepted can be read.
func FuzzUnpackItemInfo(f *testing.F) {
	for _, info := range fileItems() {
		f.Add(info.AppendPacked(nil))
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		info, err := UnpackItemInfo("id", packed, DefaultTextSpec)
		if err != nil {
			return
		}
		info.Body()
		it := info.Item()
		info.EachString(func(_, _ string) {})
		info.Field("x")
		if len(it.Fields) != info.FieldCount() {
			t.Errorf("%d fields, want %d", len(it.Fields), info.FieldCount())
		}
	})
}
