package wordpiece

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Codes in Tokenizer.fold for characters that do not simply become a letter of the word. They are
// surrogates, which no text holds.
const (
	gone  = 0xD800 + iota // removed
	space                 // ends the word
	alone                 // a word of its own: punctuation, ideographs
	other                 // several characters, or one beyond the table: see scratch.other
)

// classify fills the tables with what normal says of every character of the basic plane.
func (t *Tokenizer) classify() {
	var buf [8]rune
	for r := range rune(len(t.fold)) {
		t.fold[r] = other
		out, apart := t.normal(buf[:0], string(r))
		switch {
		case len(out) == 0:
			t.fold[r] = gone
		case len(out) > 1:
		case unicode.Is(spaces, out[0]):
			t.fold[r] = space
		case apart || unicode.Is(punctuation, out[0]):
			if out[0] == r {
				t.fold[r] = alone
			}
		case int(out[0]) < len(t.fold):
			t.fold[r] = uint16(out[0])
		}
		if f := t.fold[r]; r < utf8.RuneSelf && f < utf8.RuneSelf {
			t.ascii[r] = byte(f)
		}
	}
}

// normal appends what the character that s begins with is after normalisation, nothing if it is
// dropped, and says whether it is an ideograph to be set apart.
//
// Marks need no reordering here: the reference drops the non-spacing ones right after it, and the few
// spacing ones with a combining class (U+302E, musical stems) swap only with one another, which shows
// only where a vocabulary spells two of them in a row.
func (t *Tokenizer) normal(dst []rune, s string) (out []rune, apart bool) {
	r, _ := utf8.DecodeRuneInString(s)
	if t.clean && unicode.Is(removed, r) {
		return dst, false
	}
	apart = t.ideographs && unicode.Is(ideograph, r)
	if !t.strip {
		return t.lowered(dst, r), apart
	}
	if lead, vowel, tail, ok := hangul(r); ok {
		dst = append(dst, lead, vowel)
		if tail != 0 {
			dst = append(dst, tail)
		}
		return dst, apart
	}
	d := norm.NFD.PropertiesString(s).Decomposition()
	if d == nil {
		return t.unmarked(dst, r), apart
	}
	for len(d) > 0 {
		x, size := utf8.DecodeRune(d)
		dst, d = t.unmarked(dst, x), d[size:]
	}
	return dst, apart
}

func (t *Tokenizer) unmarked(dst []rune, r rune) []rune {
	if unicode.Is(mark, r) {
		return dst
	}
	return t.lowered(dst, r)
}

func (t *Tokenizer) lowered(dst []rune, r rune) []rune {
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

// hangul decomposes a syllable (The Unicode Standard, section 3.12); tail is 0 for one without.
func hangul(r rune) (lead, vowel, tail rune, ok bool) {
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
	t      *Tokenizer
	dst    []int32
	room   int    // ids that may still come
	word   []byte // the word so far, normalised; what exceeds maxChars is left out
	chars  int    // its characters
	hashes []uint32
	runes  [8]rune
}

func (s *scratch) run(text string) {
	t := s.t
	for i := 0; i < len(text) && s.room > 0; {
		if t.ascii[text[i]] != 0 {
			i += s.letters(text[i:])
			continue
		}
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(text[i:])
		}
		if int(r) >= len(t.fold) {
			s.other(text[i : i+size])
			i += size
			continue
		}
		switch f := t.fold[r]; f {
		case gone:
		case space:
			s.endWord()
		case alone:
			s.alone(r)
		case other:
			s.other(text[i : i+size])
		default:
			s.letter(rune(f))
		}
		i += size
	}
	s.endWord()
}

// letters takes the ASCII letters that text begins with and returns how many they are.
func (s *scratch) letters(text string) int {
	ascii, n := &s.t.ascii, 0
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

func (s *scratch) letter(r rune) {
	if s.chars++; s.chars <= s.t.maxChars {
		s.word = utf8.AppendRune(s.word, r)
	}
}

func (s *scratch) alone(r rune) {
	s.endWord()
	s.letter(r)
	s.endWord()
}

// other takes a character that the table has no single answer for.
func (s *scratch) other(char string) {
	out, apart := s.t.normal(s.runes[:0], char)
	if apart {
		s.endWord()
	}
	for _, r := range out {
		switch {
		case unicode.Is(spaces, r):
			s.endWord()
		case unicode.Is(punctuation, r):
			s.alone(r)
		default:
			s.letter(r)
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
	if chars == 0 || s.room <= 0 {
		return
	}
	start, from := len(s.dst), &s.t.whole
	known := chars <= s.t.maxChars
	for at := 0; known && at < len(word); {
		n, id := from.match(word[at:], s.hashes)
		known = n > 0
		s.dst = append(s.dst, id)
		at += n
		from = &s.t.rest
	}
	if !known {
		s.dst = append(s.dst[:start], s.t.unk)
	}
	if n := len(s.dst) - start; n > s.room { // the last word ran over the room
		s.dst = s.dst[:start+s.room]
	}
	s.room -= len(s.dst) - start
}
