package terms

import (
	"iter"
	"strings"
	"unicode"
)

// Version is the version of All. It is raised when a text gets other terms. Version 0, of bundles
// that name none, had words of letters and numbers in every script.
const Version = 1

// IsAsBefore reports whether the terms of a text are those of version 0.
func IsAsBefore(text string) bool {
	isSeparator := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) }
	next, stop := iter.Pull(strings.FieldsFuncSeq(text, isSeparator))
	defer stop()
	for term := range All(text) {
		if word, ok := next(); !ok || strings.ToLower(word) != term {
			return false
		}
	}
	_, more := next()
	return !more
}
