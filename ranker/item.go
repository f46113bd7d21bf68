package ranker

import (
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/cespare/xxhash/v2"

	"relish/internal/terms"
)

// Item is what the catalogue says of one item. All strings are valid UTF-8.
type Item struct {
	ID     string
	Title  string
	Text   string
	Tags   []string
	Fields map[string]FieldValue
}

// ItemInfo is an item prepared for ranking. It is immutable, except for what Remember keeps, and
// may be shared by any number of goroutines. NewItemInfo makes it. The item's parts are packed, see
// packed_item.go.
type ItemInfo struct {
	ID string
	// TextKey is the content hash of the composed text; 0 exactly if the text is empty.
	TextKey uint64
	// Tokens holds the sorted, distinct hashes of the terms of title and tags (package terms), at
	// most MaxTokens of them.
	Tokens []uint32
	// Transient is true if the text came with a request: a search text or inline content. It may be
	// personal, so its vector is kept in memory only.
	Transient bool

	packed string    // the parts of the item
	spec   *TextSpec // shared by the items with the same one
	// see Remember: the owner and the bits of its number
	remembered [RememberedNumbers]atomic.Uint64
}

// RememberedNumbers is how many numbers an item can remember.
const RememberedNumbers = 2

// Remember keeps the k-th number, below RememberedNumbers, that a signal has computed from the
// item's content. owner identifies the signal in this process and is above 0. An item remembers
// each number of one owner only, so a signal must be able to compute it again.
func (i *ItemInfo) Remember(owner uint32, k int, x float32) {
	i.remembered[k].Store(uint64(owner)<<32 | uint64(math.Float32bits(x)))
}

// Remembered returns the k-th number that the owner last gave to Remember. It returns false if
// another owner has been there since.
func (i *ItemInfo) Remembered(owner uint32, k int) (x float32, ok bool) {
	bits := i.remembered[k].Load()
	return math.Float32frombits(uint32(bits)), bits>>32 == uint64(owner)
}

// MaxTokens bounds the tokens kept of one item, so that token overlap costs the same for any title.
// A word counts as two, so that there are 24 words or 48 bigrams, which say about as much.
const MaxTokens = 48

// NewItemInfo prepares an item for ranking; spec says what its text is, and must not change
// afterwards. Of the item only the string of the id is kept, the rest is copied.
func NewItemInfo(it Item, spec TextSpec) *ItemInfo {
	info := &ItemInfo{ID: it.ID, packed: packItem(&it), spec: sharedSpec(spec)}
	if body := spec.Compose(&it); body != "" {
		info.TextKey = TextKey(body)
	}
	info.Tokens = tokenHashes(&it)
	return info
}

// lastSpec is the spec that was used last. A process has one, or a few.
var lastSpec atomic.Pointer[TextSpec]

// sharedSpec returns the address of an equal spec, which many items share.
func sharedSpec(spec TextSpec) *TextSpec {
	if last := lastSpec.Load(); last != nil && slices.Equal(*last, spec) {
		return last
	}
	lastSpec.Store(&spec)
	return &spec
}

// Body composes the item's text. It allocates, so stages use TextKey where they can.
func (i *ItemInfo) Body() string {
	it := i.Item()
	return i.spec.Compose(&it)
}

// TextKey returns the content hash of a text: xxHash64. It is never 0, which means "no text".
func TextKey(body string) uint64 {
	if h := xxhash.Sum64String(body); h != 0 {
		return h
	}
	return 1
}

// tokenHashes returns the sorted, distinct hashes of the first terms of title and tags.
func tokenHashes(it *Item) []uint32 {
	var memory [MaxTokens]uint32
	tokens, room := memory[:0], MaxTokens
	add := func(s string) {
		for term, kind := range terms.All(s) {
			if room--; kind == terms.Word {
				room--
			}
			if room < 0 {
				return
			}
			tokens = append(tokens, uint32(xxhash.Sum64String(term)))
		}
	}
	add(it.Title)
	for _, t := range it.Tags {
		add(t)
	}
	slices.Sort(tokens)
	tokens = slices.Compact(tokens)
	return append(make([]uint32, 0, len(tokens)), tokens...)
}

// TextSpec names the parts of an item that make its text, in order. "title", "text" and "tags" are
// the item's own parts; any other name is a field. The empty spec means DefaultTextSpec.
type TextSpec []string

// DefaultTextSpec puts the title first and the tags before the long text, because encoders truncate
// at the end.
var DefaultTextSpec = TextSpec{"title", "tags", "text"}

// IsVisible reports whether a text has a visible character: a letter, a number, punctuation or a
// symbol. White space, control and format characters, marks without a letter, and the replacement
// character of broken encodings are not visible. A text without a visible character is no text.
func IsVisible(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool {
		return r != unicode.ReplacementChar &&
			unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S) &&
			!unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
	})
}

// Compose joins the named parts of the item with ". " between parts and ", " between list members.
// It returns "" if no part has a visible character.
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
			part = joinVisible(it.Tags)
		default:
			part = joinVisible(it.Fields[name].AsStrings())
		}
		if !IsVisible(part) {
			continue
		}
		part = strings.TrimSpace(part)
		if b.Len() > 0 {
			b.WriteString(". ")
		}
		b.WriteString(part)
	}
	return b.String()
}

// joinVisible joins the visible texts of a list.
func joinVisible(texts []string) string {
	isInvisible := func(s string) bool { return !IsVisible(s) }
	if slices.ContainsFunc(texts, isInvisible) {
		texts = slices.DeleteFunc(slices.Clone(texts), isInvisible)
	}
	return strings.Join(texts, ", ")
}
