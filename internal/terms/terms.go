// Package terms splits texts into the terms that lexical signals and classifiers compare. Training
// and serving use the same terms, because both call this package.
//
// In a script with spaces a term is a word: a run of letters, numbers and marks. All other
// characters separate words, so that "can't" has two and "3.14" has two.
//
// Chinese, Japanese, Thai, Lao, Khmer and Myanmar texts have no spaces between words. There a term
// is a bigram: two neighbouring letters of a run, each with its marks. A run of one letter is a
// term itself. Bigrams need no dictionary, and retrieve Chinese about as well as words do (Nie et
// al. 2000, On the use of words and n-grams for Chinese information retrieval).
//
// Korean has spaces, but its terms are bigrams as well, within each word. Particles are attached to
// nouns, and compounds are written with and without spaces. So words often differ where the bigrams
// agree (Lee and Ahn 1996, Using n-grams for Korean text retrieval).
//
// Terms are lower case and have the compatibility forms of Unicode (NFKC), so that full-width,
// half-width and decomposed characters equal the usual ones. Words of characters below U+0300 only
// are not normalized, so that "½" stays one character. Characters that nobody sees, such as the
// zero-width space and the soft hyphen, are left out, as text encoders leave them out.
package terms

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/unicode/rangetable"
)

// Kind says what a term is.
type Kind uint8

// The kinds of terms.
const (
	Word   Kind = iota // of a script with spaces
	Bigram             // two letters of a script with bigrams, or one that stands alone
)

// All yields the terms of a text in order, with their kinds. A term may occur several times. It
// takes memory for the longest word or run of the text, however many terms there are.
func All(text string) iter.Seq2[string, Kind] {
	return func(yield func(string, Kind) bool) {
		for field := range strings.FieldsFuncSeq(text, isSeparator) {
			word, simple := simpleWord(field)
			if simple && !yield(word, Word) || !simple && !split(fold(field), yield) {
				return
			}
		}
	}
}

// isSeparator reports whether a character is a part of no term. Enclosing marks separate: they
// belong to symbols.
func isSeparator(r rune) bool {
	if r < utf8.RuneSelf {
		return (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
	}
	return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.In(r, unicode.Mn, unicode.Mc) &&
		!unicode.Is(ignorable, r)
}

// ignorable has the characters without a glyph of their own, variation selectors among them.
var ignorable = rangetable.Merge(
	unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)

// softHyphen is the only ignorable character below firstNormalized.
const softHyphen = 0xAD

// firstNormalized is the first character that is normalized, with everything beside it.
const firstNormalized = 0x300

// simpleWord returns the term of a field that is one word in normal form, as most fields in scripts
// with spaces are. It takes half of the time of fold and split.
func simpleWord(field string) (word string, ok bool) {
	first, largest := rune(-1), rune(0)
	for _, r := range field {
		if r == softHyphen || r >= firstNormalized && unicode.Is(ignorable, r) {
			return "", false
		}
		if first < 0 {
			first = r
		}
		largest = max(largest, r)
	}
	if largest >= firstBigram || isMark(first) ||
		largest >= firstNormalized && !norm.NFKC.IsNormalString(field) {
		return "", false
	}
	return strings.ToLower(field), true
}

// fold returns the lower case of a field in NFKC, without ignorable characters.
func fold(field string) string {
	isOther := func(r rune) bool { return r >= firstNormalized || r == softHyphen }
	if strings.ContainsFunc(field, isOther) {
		field = strings.Map(dropIgnorable, field)
	}
	if strings.ContainsFunc(field, func(r rune) bool { return r >= firstNormalized }) {
		field = norm.NFKC.String(field)
	}
	return strings.ToLower(field)
}

func dropIgnorable(r rune) rune {
	if unicode.Is(ignorable, r) {
		return -1
	}
	return r
}

// bigramScripts has the letters whose terms are bigrams. The last table has letters of no script
// that stand in Japanese words.
var bigramScripts = rangetable.Merge(
	unicode.Han, unicode.Bopomofo, unicode.Hiragana, unicode.Katakana, unicode.Hangul,
	unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar,
	rangetable.New('〆', '〼', 'ー'),
)

// firstBigram is below all letters of bigramScripts.
const firstBigram = 0xE00

// split yields the terms of a folded field. It returns false if yield did.
func split(field string, yield func(string, Kind) bool) bool {
	for len(field) > 0 {
		run, kind := field[:runLength(field)], Word
		r, size := utf8.DecodeRuneInString(field)
		switch {
		case isBigramLetter(r):
			kind = Bigram
		case isSeparator(r) || isMark(r): // of NFKC, or a mark without a letter
			field = field[size:]
			continue
		}
		if kind == Word && !yield(run, Word) || kind == Bigram && !bigrams(run, yield) {
			return false
		}
		field = field[len(run):]
	}
	return true
}

// runLength returns the number of bytes of the word or the run that a field begins with.
func runLength(field string) int {
	var inBigrams bool
	for i, r := range field {
		switch {
		case i == 0:
			inBigrams = isBigramLetter(r)
		case isMark(r): // of the letter before
		case isSeparator(r) || isBigramLetter(r) != inBigrams:
			return i
		}
	}
	return len(field)
}

// bigrams yields the bigrams of a run. It returns false if yield did.
func bigrams(run string, yield func(string, Kind) bool) bool {
	last := 0 // where the letter before begins
	for i := letterLength(run); i < len(run); {
		next := i + letterLength(run[i:])
		if !yield(run[last:next], Bigram) {
			return false
		}
		last, i = i, next
	}
	return last > 0 || yield(run, Bigram)
}

// letterLength returns the number of bytes of the first letter of a run, with its marks.
func letterLength(run string) int {
	for i, r := range run {
		if i > 0 && !isMark(r) {
			return i
		}
	}
	return len(run)
}

func isBigramLetter(r rune) bool {
	return isIdeograph(r) ||
		r >= firstBigram && unicode.Is(bigramScripts, r) && !isMark(r) && !unicode.IsDigit(r)
}

func isMark(r rune) bool {
	return r >= firstNormalized && !isIdeograph(r) && unicode.In(r, unicode.Mn, unicode.Mc)
}

// isIdeograph reports whether a character is in the block of the most frequent Chinese characters,
// whose ranges need no search in tables.
func isIdeograph(r rune) bool { return 0x4E00 <= r && r <= 0x9FFF }
