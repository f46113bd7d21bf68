package wordpiece

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// class is what splitting does with a character.
type class uint8

const (
	letter class = iota // anything that belongs to a word
	gone
	space
	punct
)

// classify fills the table of ASCII characters; in the others the slow path looks.
func (t *Tokenizer) classify() {
	for r := rune(0); r < 128; r++ {
		switch {
		case t.clean && unicode.Is(removed, r):
			t.ascii[r] = gone
		case unicode.Is(spaces, r):
			t.ascii[r] = space
		case unicode.Is(punctuation, r):
			t.ascii[r] = punct
		}
	}
}

// scratch is one Encode at work.
type scratch struct {
	t     *Tokenizer
	dst   []int32
	room  int    // ids that may still come
	word  []byte // the word so far, normalised
	chars int    // its characters
	run8  []byte // characters that are normalised together
	nfd   []byte
}

// run walks the text: ASCII by table, everything else in runs that are normalised together, since
// marks may be reordered within them.
func (s *scratch) run(text string) {
	s.word, s.chars, s.run8 = s.word[:0], 0, s.run8[:0]
	for i := 0; i < len(text) && s.room > 0; {
		c := text[i]
		if c < utf8.RuneSelf {
			i++
			if cl := s.t.ascii[c]; cl != gone {
				s.flushRun()
				s.ascii(c, cl)
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		i += size
		s.other(r)
	}
	s.flushRun()
	s.endWord()
}

func (s *scratch) ascii(c byte, cl class) {
	switch cl {
	case space:
		s.endWord()
	case punct:
		s.endWord()
		s.word, s.chars = append(s.word, c), 1
		s.endWord()
	default:
		if s.t.lower && 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		s.add(c)
	}
}

func (s *scratch) add(c byte) {
	if s.chars++; s.chars <= s.t.maxChars {
		s.word = append(s.word, c)
	}
}

// other takes a character beyond ASCII: cleaned, ideographs set apart, the rest kept for normalising.
func (s *scratch) other(r rune) {
	if s.t.clean {
		if r == utf8.RuneError || unicode.Is(removed, r) {
			return
		}
		if unicode.Is(spaces, r) {
			s.flushRun()
			s.endWord()
			return
		}
	}
	if s.t.ideographs && unicode.Is(ideograph, r) {
		s.flushRun()
		s.endWord()
		s.run8 = utf8.AppendRune(s.run8, r)
		s.flushRun()
		s.endWord()
		return
	}
	s.run8 = utf8.AppendRune(s.run8, r)
	// Bounded, cut where no mark can depend on what came before.
	if len(s.run8) > maxRun && norm.NFD.Properties(s.run8[len(s.run8)-utf8.RuneLen(r):]).BoundaryBefore() {
		last := len(s.run8) - utf8.RuneLen(r)
		tail := string(s.run8[last:])
		s.run8 = s.run8[:last]
		s.flushRun()
		s.run8 = append(s.run8, tail...)
	}
}

const maxRun = 1 << 12

// flushRun normalises the kept characters and hands them to the word.
func (s *scratch) flushRun() {
	if len(s.run8) == 0 {
		return
	}
	if s.t.strip {
		s.strip()
	}
	for run := s.run8; len(run) > 0 && s.room > 0; {
		r, size := utf8.DecodeRune(run)
		run = run[size:]
		s.lowerRune(r)
	}
	s.run8 = s.run8[:0]
}

// strip decomposes the run and drops its non-spacing marks. What is left needs no reordering unless
// a spacing mark with a combining class is among it, which is rare: then the library's full
// normalisation, which allocates, does it.
func (s *scratch) strip() {
	s.nfd = s.nfd[:0]
	for run := s.run8; len(run) > 0; {
		r, size := utf8.DecodeRune(run)
		if l, v, t, ok := hangul(r); ok {
			s.nfd = utf8.AppendRune(utf8.AppendRune(s.nfd, l), v)
			if t != 0 {
				s.nfd = utf8.AppendRune(s.nfd, t)
			}
		} else if d := norm.NFD.Properties(run).Decomposition(); d != nil {
			s.nfd = append(s.nfd, d...)
		} else {
			s.nfd = append(s.nfd, run[:size]...)
		}
		run = run[size:]
	}
	kept := s.nfd[:0]
	for run := s.nfd; len(run) > 0; {
		r, size := utf8.DecodeRune(run)
		if !unicode.Is(mark, r) {
			if norm.NFD.Properties(run).CCC() != 0 {
				s.stripFully()
				return
			}
			kept = append(kept, run[:size]...)
		}
		run = run[size:]
	}
	s.run8 = append(s.run8[:0], kept...)
}

func (s *scratch) stripFully() {
	kept := s.nfd[:0]
	for run := norm.NFD.Bytes(s.run8); len(run) > 0; {
		r, size := utf8.DecodeRune(run)
		if !unicode.Is(mark, r) {
			kept = append(kept, run[:size]...)
		}
		run = run[size:]
	}
	s.run8 = append(s.run8[:0], kept...)
}

// hangul decomposes a syllable (The Unicode Standard, section 3.12); t is 0 for one without a tail.
func hangul(r rune) (l, v, t rune, ok bool) {
	const base, vowels, tails = 0xAC00, 21, 28
	i := r - base
	if i < 0 || i >= 19*vowels*tails {
		return 0, 0, 0, false
	}
	if i%tails != 0 {
		t = 0x11A7 + i%tails
	}
	return 0x1100 + i/(vowels*tails), 0x1161 + i%(vowels*tails)/tails, t, true
}

func (s *scratch) lowerRune(r rune) {
	if s.t.lower {
		if l, ok := lowered[r]; ok {
			for _, x := range l {
				s.rune(x)
			}
			return
		}
		r = unicode.ToLower(r)
	}
	s.rune(r)
}

func (s *scratch) rune(r rune) {
	switch {
	case unicode.Is(spaces, r):
		s.endWord()
	case unicode.Is(punctuation, r):
		s.endWord()
		s.word, s.chars = utf8.AppendRune(s.word, r), 1
		s.endWord()
	default:
		if s.chars++; s.chars <= s.t.maxChars {
			s.word = utf8.AppendRune(s.word, r)
		}
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
	if chars > s.t.maxChars {
		s.emit(s.t.unk)
		return
	}
	start, room := len(s.dst), s.room
	pieces := s.t.whole
	for at := 0; at < len(word); {
		end, id, ok := longest(pieces, word[at:], s.t.maxPiece)
		if !ok {
			s.dst, s.room = s.dst[:start], room
			s.emit(s.t.unk)
			return
		}
		s.dst = append(s.dst, id)
		s.room--
		at += end
		pieces = s.t.rest
	}
	if s.room < 0 { // the last word ran over the room
		s.dst = s.dst[:len(s.dst)+s.room]
		s.room = 0
	}
}

func (s *scratch) emit(id int32) {
	s.dst = append(s.dst, id)
	s.room--
}

// longest finds the longest piece that word begins with.
func longest(pieces map[string]int32, word []byte, maxPiece int) (end int, id int32, ok bool) {
	for end = min(len(word), maxPiece); end > 0; end-- {
		if end < len(word) && !utf8.RuneStart(word[end]) {
			continue
		}
		if id, ok = pieces[string(word[:end])]; ok {
			return end, id, true
		}
	}
	return 0, 0, false
}
