package ranker_test

import (
	"slices"
	"testing"

	"github.com/go-json-experiment/json"

	"relish/ranker"
)

func TestCompose(t *testing.T) {
	it := ranker.Item{
		Title: " Sea Bread ",
		Text:  "On a boat.",
		Tags:  []string{"bread", "sea"},
		Fields: map[string]ranker.FieldValue{
			"author": ranker.StringsValue([]string{"A", "B"}),
			"year":   ranker.NumberValue(2020),
		},
	}
	for want, spec := range map[string]ranker.TextSpec{
		"Sea Bread. bread, sea. On a boat.": nil,
		"On a boat.. Sea Bread":             {"text", "title"},
		"Sea Bread. A, B. 2020":             {"title", "author", "nothing", "year"},
	} {
		if got := spec.Compose(&it); got != want {
			t.Errorf("%v: %q, want %q", spec, got, want)
		}
	}
	blank := ranker.NewItemInfo(ranker.Item{Title: " \n", Tags: []string{""}}, nil)
	if blank.TextKey != 0 || blank.Body() != "" {
		t.Errorf("blank parts make the text %q", blank.Body())
	}
}

// Parts of invisible characters only are left out of the text. An item with no other part has no
// text.
func TestInvisibleTextIsNoText(t *testing.T) {
	for _, s := range []string{
		"\u200b", "\ufe0f", "\u00ad", "\x00", "\u0301", "\ufffd", "\u3164", "\u2060\u202e", "\xff",
		" \u200d\t\u00a0", "\ue000", "\U000e0041",
	} {
		it := ranker.NewItemInfo(ranker.Item{Title: s, Text: s, Tags: []string{s, s}}, nil)
		if it.TextKey != 0 || it.Body() != "" {
			t.Errorf("%q is the text %q with key %x", s, it.Body(), it.TextKey)
		}
		it = ranker.NewItemInfo(ranker.Item{Title: s, Text: "Sea"}, nil)
		if it.Body() != "Sea" {
			t.Errorf("%q and a text make %q", s, it.Body())
		}
	}
	for _, s := range []string{"a", "7", "!", "海", "🥰", "क्", "\u200bx"} {
		if ranker.NewItemInfo(ranker.Item{Title: s}, nil).TextKey == 0 {
			t.Errorf("%q is no text", s)
		}
	}
}

func TestTextKeyDependsOnTextAlone(t *testing.T) {
	a := ranker.NewItemInfo(ranker.Item{ID: "a", Title: "same"}, nil)
	b := ranker.NewItemInfo(ranker.Item{ID: "b", Title: "same"}, nil)
	c := ranker.NewItemInfo(ranker.Item{ID: "c", Title: "other"}, nil)
	if a.TextKey != b.TextKey || a.TextKey == c.TextKey {
		t.Errorf("keys %x, %x of one text and %x of another", a.TextKey, b.TextKey, c.TextKey)
	}
}

func TestTokensAreSortedAndDistinct(t *testing.T) {
	it := ranker.NewItemInfo(
		ranker.Item{Title: "The Sea, the SEA!", Tags: []string{"sea side"}},
		nil,
	)
	if len(it.Tokens) != 3 || !slices.IsSorted(it.Tokens) {
		t.Errorf("tokens %v, want 3 in ascending order", it.Tokens)
	}
}

func TestFieldValueJSON(t *testing.T) {
	for _, text := range []string{`1.5`, `true`, `"word"`, `["a","b"]`, `[1,2.5]`} {
		var v ranker.FieldValue
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if back, err := json.Marshal(v); err != nil || string(back) != text {
			t.Errorf("%s was written as %s (error %v)", text, back, err)
		}
	}
	for text, want := range map[string]string{
		`null`: `null`, `9007199254740992`: `9007199254740992`,
		`18446744073709551616`: `18446744073709552000`, `["a",null,"b"]`: `["a","b"]`,
		`[null,1]`: `[1]`, `[null]`: `[]`,
	} {
		v := ranker.NumberValue(7)
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if back, err := json.Marshal(v); err != nil || string(back) != want {
			t.Errorf("%s was written as %s (error %v), want %s", text, back, err, want)
		}
	}
	for _, text := range []string{
		`{}`, `[1,"a"]`, `[[1]]`, `[true]`, `9007199254740993`, `[18446744073709551615]`,
	} {
		var v ranker.FieldValue
		if err := json.Unmarshal([]byte(text), &v); err == nil {
			t.Errorf("%s was read as %+v, want an error", text, v)
		}
	}
}

// An item remembers the number of the owner who gave one last.
func TestItemRemembers(t *testing.T) {
	it := ranker.NewItemInfo(ranker.Item{Title: "a title"}, nil)
	if x, ok := it.Remembered(1, 0); ok {
		t.Errorf("a new item remembers %v", x)
	}
	it.Remember(1, 0, 0.25)
	it.Remember(1, 1, 4)
	if x, ok := it.Remembered(1, 0); !ok || x != 0.25 {
		t.Errorf("owner 1 has %v, %v", x, ok)
	}
	it.Remember(2, 0, -3)
	if x, ok := it.Remembered(2, 0); !ok || x != -3 {
		t.Errorf("owner 2 has %v, %v", x, ok)
	}
	if x, ok := it.Remembered(1, 0); ok {
		t.Errorf("owner 1 still has %v", x)
	}
	if x, ok := it.Remembered(1, 1); !ok || x != 4 {
		t.Errorf("owner 1 has %v, %v as its other number", x, ok)
	}
}
