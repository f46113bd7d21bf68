package ranker

import (
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// NumberValue, BoolValue, StringValue and StringsValue build values of their kinds.
func NumberValue(x float64) FieldValue { return FieldValue{Kind: Number, Num: x} }

// BoolValue returns a boolean value.
func BoolValue(b bool) FieldValue {
	if b {
		return FieldValue{Kind: Bool, Num: 1}
	}
	return FieldValue{Kind: Bool}
}

// StringValue returns a string value.
func StringValue(s string) FieldValue { return FieldValue{Kind: String, Str: s} }

// StringsValue returns a list-of-strings value, which keeps the slice it is given.
func StringsValue(s []string) FieldValue { return FieldValue{Kind: Strings, List: s} }

// AsStrings returns the value as words of text: a string itself, a list's members, a number in its
// shortest decimal form. It is what category features compare and what a text is composed of.
func (v FieldValue) AsStrings() []string {
	switch v.Kind {
	case String:
		return []string{v.Str}
	case Strings:
		return v.List
	case Number:
		return []string{strconv.FormatFloat(v.Num, 'g', -1, 64)}
	case Bool:
		return []string{strconv.FormatBool(v.Num != 0)}
	}
	return nil
}

// TextSpec names the parts of an item that make its text, in order. "title", "text" and "tags" are
// the item's own, any other name is a field. The empty spec means DefaultTextSpec.
type TextSpec []string

// DefaultTextSpec puts the title first, since encoders truncate at the end, and the tags before
// the long text for the same reason.
var DefaultTextSpec = TextSpec{"title", "tags", "text"}

// Compose joins the named parts of the item with ". " between parts and ", " between list members.
// An item none of whose parts has a visible character has the empty text.
func (s TextSpec) Compose(it *Item) string {
	if len(s) == 0 {
		s = DefaultTextSpec
	}
	var b strings.Builder
	for _, name := range s {
		var part string
		switch name {
		case "title":
			part = it.Title
		case "text":
			part = it.Text
		case "tags":
			part = strings.Join(it.Tags, ", ")
		default:
			part = strings.Join(it.Fields[name].AsStrings(), ", ")
		}
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(". ")
		}
		b.WriteString(part)
	}
	return b.String()
}

// NewItemInfo prepares an item for ranking. It keeps the item's slices and maps, which must not
// change afterwards.
func NewItemInfo(it Item, spec TextSpec) *ItemInfo {
	info := &ItemInfo{Item: it, spec: spec}
	if body := info.Body(); body != "" {
		info.TextKey = TextKey(body)
	}
	info.Tokens = tokenHashes(&it)
	return info
}

// Body composes the item's text; it allocates, so stages use TextKey where they can.
func (i *ItemInfo) Body() string { return i.spec.Compose(&i.Item) }

// TextKey is the content hash of a text: xxHash64, with 0 kept free for "no text".
func TextKey(body string) uint64 {
	if h := xxhash.Sum64String(body); h != 0 {
		return h
	}
	return 1
}
