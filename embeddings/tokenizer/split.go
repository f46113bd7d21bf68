package tokenizer

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Codes in Tokenizer.fold for characters that do not simply become a letter of the word. They are
// surrogates, which no text holds.
const (
	charRemoved = 0xD800 + iota // removed
	charSpace                   // ends the word
	charOwnWord                 // a word of its own: punctuation, ideographs
	charComplex                 // several characters, or one beyond the table: see scratch.other
)

// buildCharMaps fills the tables with what normal says of every character of the basic plane.
func (t *Tokenizer) buildCharMaps() {
	var buf [8]rune
	for r := range rune(len(t.charMap)) {
		t.charMap[r] = charComplex
		out, apart := t.normalize(buf[:0], string(r))
		switch {
		case len(out) == 0:
			t.charMap[r] = charRemoved
		case len(out) > 1:
		case unicode.Is(spaces, out[0]):
			t.charMap[r] = charSpace
		case apart || unicode.Is(punctuation, out[0]):
			if out[0] == r {
				t.charMap[r] = charOwnWord
			}
		case int(out[0]) < len(t.charMap):
			t.charMap[r] = uint16(out[0])
		}
		if f := t.charMap[r]; r < utf8.RuneSelf && f < utf8.RuneSelf {
			t.asciiMap[r] = byte(f)
		}
	}
}

// normalize appends what the character that s begins with is after normalisation, nothing if it is
// dropped, and says whether it is an ideograph to be set apart.
//
// Marks need no reordering here: the reference drops the non-spacing ones right after it, and the few
// spacing ones with a combining class (U+302E, musical stems) swap only with one another, which shows
// only where a vocabulary spells two of them in a row.
func (t *Tokenizer) normalize(dst []rune, s string) (out []rune, apart bool) {
	r, _ := utf8.DecodeRuneInString(s)
	if t.clean && unicode.Is(removed, r) {
		return dst, false
	}
	apart = t.ideographs && unicode.Is(ideograph, r)
	if !t.strip {
		return t.appendLower(dst, r), apart
	}
	if lead, vowel, tail, ok := decomposeHangul(r); ok {
		dst = append(dst, lead, vowel)
		if tail != 0 {
			dst = append(dst, tail)
		}
		return dst, apart
	}
	d := norm.NFD.PropertiesString(s).Decomposition()
	if d == nil {
		return t.appendWithoutMarks(dst, r), apart
	}
	for len(d) > 0 {
		x, size := utf8.DecodeRune(d)
		dst, d = t.appendWithoutMarks(dst, x), d[size:]
	}
	return dst, apart
}

func (t *Tokenizer) appendWithoutMarks(dst []rune, r rune) []rune {
	if unicode.Is(mark, r) {
		return dst
	}
	return t.appendLower(dst, r)
}

func (t *Tokenizer) appendLower(dst []rune, r rune) []rune {
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

// decomposeHangul decomposes a syllable (The Unicode Standard, section 3.12); tail is 0 for one without.
func decomposeHangul(r rune) (lead, vowel, tail rune, ok bool) {
	const base, vowels, tails = 0xAC00, 21, 28
	i := r - base
	if i < 0 || i >= 19*vowels*tails {
		return 0, 0, 0, false
	}
	if i%tails != 0 {
		tail = 0x11A7 + i%tails
	}
	return 0x1100 + i/(vowels*tails), 0x1161 + i%(vowels*tails)/tails, tail, true
}

// scratch is one Encode at work. Its size is bounded by the longest word and piece.
type scratch struct {
	t         *Tokenizer
	dst       []int32
	remaining int    // ids that may still come
	word      []byte // the word so far, normalised; what exceeds maxChars is left out
	chars     int    // its characters
	hashes    []uint32
	runes     [8]rune
}

func (s *scratch) run(text string) {
	t := s.t
	for i := 0; i < len(text) && s.remaining > 0; {
		if t.asciiMap[text[i]] != 0 {
			i += s.asciiLetters(text[i:])
			continue
		}
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(text[i:])
		}
		if int(r) >= len(t.charMap) {
			s.complexChar(text[i : i+size])
			i += size
			continue
		}
		switch f := t.charMap[r]; f {
		case charRemoved:
		case charSpace:
			s.endWord()
		case charOwnWord:
			s.ownWord(r)
		case charComplex:
			s.complexChar(text[i : i+size])
		default:
			s.appendChar(rune(f))
		}
		i += size
	}
	s.endWord()
}

// asciiLetters takes the ASCII letters that text begins with and returns how many they are.
func (s *scratch) asciiLetters(text string) int {
	ascii, n := &s.t.asciiMap, 0
	room := s.t.maxChars - s.chars
	for ; n < len(text); n++ {
		c := ascii[text[n]]
		if c == 0 {
			break
		}
		if n < room {
			s.word = append(s.word, c)
		}
	}
	s.chars += n
	return n
}

func (s *scratch) appendChar(r rune) {
	if s.chars++; s.chars <= s.t.maxChars {
		s.word = utf8.AppendRune(s.word, r)
	}
}

func (s *scratch) ownWord(r rune) {
	s.endWord()
	s.appendChar(r)
	s.endWord()
}

// complexChar takes a character that the table has no single answer for.
func (s *scratch) complexChar(char string) {
	out, apart := s.t.normalize(s.runes[:0], char)
	if apart {
		s.endWord()
	}
	for _, r := range out {
		switch {
		case unicode.Is(spaces, r):
			s.endWord()
		case unicode.Is(punctuation, r):
			s.ownWord(r)
		default:
			s.appendChar(r)
		}
	}
	if apart {
		s.endWord()
	}
}

// endWord cuts the word into pieces: the longest one first, again from where it ends. A word that
// cannot be cut to its end is one unknown token.
func (s *scratch) endWord() {
	word, chars := s.word, s.chars
	s.word, s.chars = s.word[:0], 0
	if chars == 0 || s.remaining <= 0 {
		return
	}
	start, from := len(s.dst), &s.t.initialPieces
	known := chars <= s.t.maxChars
	for at := 0; known && at < len(word); {
		n, id := from.longestMatch(word[at:], s.hashes)
		known = n > 0
		s.dst = append(s.dst, id)
		at += n
		from = &s.t.continuationPieces
	}
	if !known {
		s.dst = append(s.dst[:start], s.t.unk)
	}
	if n := len(s.dst) - start; n > s.remaining { // the last word ran over the room
		s.dst = s.dst[:start+s.remaining]
	}
	s.remaining -= len(s.dst) - start
}
