package match

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"relish/ranker"
)

// Learned is a matcher whose tables were learned from a log: training fills its exported parts, the bundle keeps them
// as a file of its kind.
type Learned interface {
	ranker.Matcher
	Kind() string
	Encode() []byte
}

// The kinds that have nothing to learn, and so no file.
const (
	KindText  = "text"
	KindWords = "words"
)

// Opener makes matchers from bundle files. Matchers that know the same items share one table of them. The zero
// value is ready to use, by any number of goroutines.
type Opener struct {
	mu    sync.Mutex
	items *ranker.ItemTable // of the file opened last
}

type decoder func(data []byte, shared *ranker.ItemTable) (Learned, *ranker.ItemTable, error)

var decoders = map[string]decoder{
	KindCooccurrence: decodeCooccurrence,
	KindFactors:      decodeFactors,
	KindTaste:        decodeTaste,
	KindContent:      decodeContent,
	KindTerms:        decodeTerms,
	KindNeural:       decodeNeural,
}

// Open makes the matcher of the kind; data is its file, nil for a kind without one. Damage is an error, never a panic.
func (o *Opener) Open(kind string, data []byte) (ranker.Matcher, error) {
	if plain := map[string]ranker.Matcher{KindText: TextPoolings{}, KindWords: TokenOverlap{}}[kind]; plain != nil {
		if data != nil {
			return nil, fmt.Errorf("matcher kind %q has no file", kind)
		}
		return plain, nil
	}
	decode, known := decoders[kind]
	if !known {
		return nil, fmt.Errorf("matcher kind %q is unknown; this server has %s", kind, strings.Join(Kinds(), ", "))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	m, items, err := decode(data, o.items)
	if err != nil {
		return nil, fmt.Errorf("matcher %s: %w", kind, err)
	}
	if items != nil {
		o.items = items
	}
	return m, nil
}

// Kinds returns the kinds that Open knows, sorted.
func Kinds() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(decoders)), KindText, KindWords)))
}

// Group returns the group of a matcher's column: that of text for what reads the items' content, of behaviour for what
// reads who took what.
func Group(column string) string {
	kind, _, _ := strings.Cut(column, ".")
	if kind == KindCooccurrence || kind == KindFactors || kind == KindTaste && column != tasteColumns[1] {
		return "behaviour"
	}
	return ranker.GroupText
}
