package classifier

import (
	"fmt"
	"strings"
	"testing"
)

// The memory of a training does not grow with labels x words.
func TestVocabularyIsBounded(t *testing.T) {
	var texts []string
	for i := range 3000 {
		words := []string{"often"}
		for k := range 10 {
			words = append(words, fmt.Sprint("w", i/2*10+k)) // in two texts each
		}
		texts = append(texts, strings.Join(words, " "))
	}
	texts = append(texts, "often seen", "often seen", "often seen")
	few, many := newVocabulary(texts, 2), newVocabulary(texts, 500)
	if few.size*500 <= maxWordWeights {
		t.Fatalf("%d buckets are too few for this test", few.size)
	}
	if many.size == 0 || many.size*500 > maxWordWeights {
		t.Errorf("%d buckets for 500 labels", many.size)
	}
	if n := len(many.features("often")); n != 1 {
		t.Errorf("%d features of the most frequent word", n)
	}
}
