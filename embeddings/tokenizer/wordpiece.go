package tokenizer

import (
	"math"
	"sync"
	"unicode"
	"unicode/utf8"
)

// wordPiece is the Tokenizer of BERT. A text is normalized: control characters are removed,
// ideographs become words of their own, accents are removed (canonical decomposition without
// non-spacing marks), letters become lower case. Then it is split at white space and around
// punctuation. WordPiece cuts each word greedily into the longest pieces of the vocabulary.
//
// All of that happens in one pass over the text. A table that is built when the tokenizer is
// loaded says what each character becomes. The Unicode sets behind it (unicode_tables.go) are read
// off the reference library, whose Unicode version is not Go's.
type wordPiece struct {
	initialPieces      pieceTable // pieces that begin a word
	continuationPieces pieceTable // pieces that continue a word, without their prefix
	before, after      []int32    // the special tokens around a text
	unk                int32      // id of the unknown token
	maxChars           int        // a longer word is unknown

	// Settings of the normalizer.
	clean      bool // remove control characters
	ideographs bool // make ideographs words of their own
	strip      bool // remove accents
	lower      bool // lower-case

	// asciiMap says what a byte becomes in the word, 0 if it does not simply become a letter.
	// charMap says what a character becomes, or has one of the codes in normalize.go.
	asciiMap [256]byte
	charMap  [0x10000]uint16
	states   sync.Pool // of *encodeState
}

// Encode implements Tokenizer. If dst has room, it does not allocate.
func (t *wordPiece) Encode(dst []int32, text string, maxTokens int) []int32 {
	s := t.states.Get().(*encodeState)
	s.dst = dst
	s.dst = append(s.dst, t.before...)
	s.remaining = maxTokens - len(t.before) - len(t.after)
	s.encode(text)
	s.dst = append(s.dst, t.after...)
	dst, s.dst = s.dst, nil
	t.states.Put(s)
	return dst
}

// Unknown implements Tokenizer.
func (t *wordPiece) Unknown() int32 { return t.unk }

// UnknownShare implements Tokenizer.
func (t *wordPiece) UnknownShare(text string) float64 {
	s := t.states.Get().(*encodeState)
	s.letters, s.remaining = &letterCounts{}, math.MaxInt
	s.encode(beginning(text))
	share := s.letters.unknownShare()
	s.dst, s.letters = nil, nil
	t.states.Put(s)
	return share
}

// encodeState is the state of one Encode. The longest word and the longest piece bound its size.
type encodeState struct {
	t         *wordPiece
	dst       []int32
	remaining int           // ids that may still be appended
	word      []byte        // the current word, normalized; characters beyond maxChars are left out
	chars     int           // the number of its characters, all of them
	hashes    []uint32      // for pieceTable.longestMatch
	runes     [8]rune       // for wordPiece.normalize
	letters   *letterCounts // of the text; nil: they are not counted
}

func (s *encodeState) encode(text string) {
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
		switch c := t.charMap[r]; c {
		case charRemoved:
		case charSpace:
			s.endWord()
		case charOwnWord:
			s.ownWord(r)
		case charComplex:
			s.complexChar(text[i : i+size])
		default:
			s.appendChar(rune(c))
		}
		i += size
	}
	s.endWord()
}

// asciiLetters appends the ASCII letters that text begins with to the word, and returns their
// number.
func (s *encodeState) asciiLetters(text string) int {
	asciiMap, n := &s.t.asciiMap, 0
	room := s.t.maxChars - s.chars
	for ; n < len(text); n++ {
		c := asciiMap[text[n]]
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

func (s *encodeState) appendChar(r rune) {
	if s.chars++; s.chars <= s.t.maxChars {
		s.word = utf8.AppendRune(s.word, r)
	}
}

func (s *encodeState) ownWord(r rune) {
	s.endWord()
	s.appendChar(r)
	s.endWord()
}

// complexChar handles a character for which charMap has no single answer.
func (s *encodeState) complexChar(char string) {
	out, isOwnWord := s.t.normalize(s.runes[:0], char)
	if isOwnWord {
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
	if isOwnWord {
		s.endWord()
	}
}

// endWord cuts the word into pieces: the longest piece that the word begins with, and the same
// again for the rest. A word that cannot be cut up to its end is one unknown token.
func (s *encodeState) endWord() {
	word, chars := s.word, s.chars
	s.word, s.chars = s.word[:0], 0
	if chars == 0 || s.remaining <= 0 {
		return
	}
	start, pieces := len(s.dst), &s.t.initialPieces
	known := chars <= s.t.maxChars
	for at := 0; known && at < len(word); {
		n, id := pieces.longestMatch(word[at:], s.hashes)
		known = n > 0
		s.dst = append(s.dst, id)
		at += n
		pieces = &s.t.continuationPieces
	}
	if s.letters != nil {
		s.letters.add(word, known)
	}
	if !known {
		s.dst = append(s.dst[:start], s.t.unk)
	}
	if n := len(s.dst) - start; n > s.remaining {
		s.dst = s.dst[:start+s.remaining] // the last word has more pieces than there is room for
	}
	s.remaining -= len(s.dst) - start
}
