package match

import (
	"fmt"

	"relish/ranker"
)

// Kinds of matchers, as a bundle's manifest names them. These have no file: they learn nothing.
const (
	KindText  = "text"
	KindWords = "words"
)

// Open makes the matcher of a kind from its file's bytes, which it may keep; nil for a kind without a file. What
// is in the file is checked: a damaged one is an error and never a panic.
func Open(kind string, data []byte) (ranker.Matcher, error) {
	var m ranker.Matcher
	switch kind {
	case KindText:
		m = TextPoolings{}
	case KindWords:
		m = TokenOverlap{}
	default:
		return nil, fmt.Errorf("matcher kind %q is unknown to this binary: use a newer relish", kind)
	}
	if data != nil {
		return nil, fmt.Errorf("matcher kind %q has no file", kind)
	}
	return m, nil
}
