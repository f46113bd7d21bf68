package tokenizer

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Codes in wordPiece.charMap for characters that do not become one letter of the word. They are
// surrogates, which no text contains.
const (
	charRemoved = 0xD800 + iota // is removed
	charSpace                   // ends the word
	charOwnWord                 // is a word of its own: punctuation, ideographs
	charComplex                 // becomes several characters or one beyond the table: normalize
)

// buildCharMaps fills charMap and asciiMap with what normalize returns for every character below
// U+10000.
func (t *wordPiece) buildCharMaps() {
	var buf [8]rune
	for r := range rune(len(t.charMap)) {
		t.charMap[r] = charComplex
		out, isOwnWord := t.normalize(buf[:0], string(r))
		switch {
		case len(out) == 0:
			t.charMap[r] = charRemoved
		case len(out) > 1:
		case unicode.Is(spaces, out[0]):
			t.charMap[r] = charSpace
		case isOwnWord || unicode.Is(punctuation, out[0]):
			if out[0] == r {
				t.charMap[r] = charOwnWord
			}
		case int(out[0]) < len(t.charMap):
			t.charMap[r] = uint16(out[0])
		}
		if c := t.charMap[r]; r < utf8.RuneSelf && c < utf8.RuneSelf {
			t.asciiMap[r] = byte(c)
		}
	}
}

// normalize appends the normalized form of the first character of s to dst: nothing if the
// character is removed. isOwnWord is true for an ideograph that must be a word of its own.
//
// Marks need no canonical reordering. The reference library removes the non-spacing ones right
// afterwards. The few spacing marks with a combining class (U+302E, musical stems) only swap with
// one another, which makes a difference only if a vocabulary contains two of them in a row.
func (t *wordPiece) normalize(dst []rune, s string) (out []rune, isOwnWord bool) {
	r, _ := utf8.DecodeRuneInString(s)
	if t.clean && unicode.Is(removed, r) {
		return dst, false
	}
	isOwnWord = t.ideographs && unicode.Is(ideograph, r)
	if !t.strip {
		return t.appendLower(dst, r), isOwnWord
	}
	if lead, vowel, tail, ok := decomposeHangul(r); ok {
		dst = append(dst, lead, vowel)
		if tail != 0 {
			dst = append(dst, tail)
		}
		return dst, isOwnWord
	}
	decomposed := norm.NFD.PropertiesString(s).Decomposition()
	if decomposed == nil {
		return t.appendWithoutMarks(dst, r), isOwnWord
	}
	for len(decomposed) > 0 {
		x, size := utf8.DecodeRune(decomposed)
		dst, decomposed = t.appendWithoutMarks(dst, x), decomposed[size:]
	}
	return dst, isOwnWord
}

func (t *wordPiece) appendWithoutMarks(dst []rune, r rune) []rune {
	if unicode.Is(mark, r) {
		return dst
	}
	return t.appendLower(dst, r)
}

func (t *wordPiece) appendLower(dst []rune, r rune) []rune {
	if !t.lower {
		return append(dst, r)
	}
	if l, ok := lowered[r]; ok {
		for _, x := range l {
			dst = append(dst, x)
		}
		return dst
	}
	return append(dst, unicode.ToLower(r))
}

// decomposeHangul decomposes a Hangul syllable (The Unicode Standard, section 3.12). tail is 0 if
// the syllable has none. ok is false if r is no Hangul syllable.
func decomposeHangul(r rune) (lead, vowel, tail rune, ok bool) {
	const base, leads, vowels, tails = 0xAC00, 19, 21, 28
	i := r - base
	if i < 0 || i >= leads*vowels*tails {
		return 0, 0, 0, false
	}
	if i%tails != 0 {
		tail = 0x11A7 + i%tails
	}
	return 0x1100 + i/(vowels*tails), 0x1161 + i%(vowels*tails)/tails, tail, true
}
