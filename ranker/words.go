package ranker

import (
	"slices"
	"strings"
	"unicode"

	"github.com/cespare/xxhash/v2"
)

// MaxTokens bounds the words kept of one item, so that token overlap costs the same for any title.
const MaxTokens = 24

// tokenHashes returns the sorted distinct hashes of the first MaxWords words of title and tags.
func tokenHashes(it *Item) []uint32 {
	words := make([]uint32, 0, MaxTokens)
	add := func(s string) {
		for w := range strings.FieldsFuncSeq(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) }) {
			if len(words) == MaxTokens {
				return
			}
			words = append(words, uint32(xxhash.Sum64String(strings.ToLower(w))))
		}
	}
	add(it.Title)
	for _, t := range it.Tags {
		add(t)
	}
	slices.Sort(words)
	return slices.Compact(words)
}
