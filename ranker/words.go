package ranker

import (
	"slices"
	"strings"
	"unicode"

	"github.com/cespare/xxhash/v2"
)

// MaxWords bounds the words kept of one item, so that token overlap costs the same for any title.
const MaxWords = 24

// wordHashes returns the sorted distinct hashes of the first MaxWords words of title and tags.
func wordHashes(it *Item) []uint32 {
	words := make([]uint32, 0, MaxWords)
	add := func(s string) {
		for w := range strings.FieldsFuncSeq(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) }) {
			if len(words) == MaxWords {
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
