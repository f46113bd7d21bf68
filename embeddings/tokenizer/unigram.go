package tokenizer

import (
	"bytes"
	"math"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// unigram is the Tokenizer of XLM-RoBERTa and multilingual E5: a unigram language model (Kudo 2018,
// Subword regularization). A text is normalized by a charsMap and split into words. Each word has
// the pieces whose scores have the largest sum, which Viterbi's algorithm finds. Its time is the
// length of the word times that of the longest piece.
//
// As in the reference library, special tokens are pieces like others here: "<s>" in a text gets its
// id.
type unigram struct {
	pieces        *pieceTrie
	scores        []float64 // by id: log probabilities
	before, after []int32   // the special tokens around a text
	unk           int32
	unkScore      float64 // of a character that no piece has

	// Settings of normalizer and pre-tokenizer.
	chars      *charsMap
	trimRight  bool   // remove white space at the end
	joined     string // replaces two spaces or more; "": nothing does
	splitSpace bool   // white space separates, and is in no word
	space      string // replaces a space
	prepend    bool   // each word, or the text, begins with space
	split      bool   // words begin at each space
	states     sync.Pool
}

// Unknown implements Tokenizer.
func (t *unigram) Unknown() int32 { return t.unk }

// bytesPerToken is how many bytes of a text are read for each token that may be returned. Few
// pieces are longer.
const bytesPerToken = 64

// Encode implements Tokenizer. Of a text of more than 64 bytes for each of maxTokens it reads the
// beginning.
func (t *unigram) Encode(dst []int32, text string, maxTokens int) []int32 {
	dst = append(dst, t.before...)
	if room := maxTokens - len(t.before) - len(t.after); room > 0 {
		s := t.states.Get().(*unigramState)
		dst = s.encode(dst, cut(text, room), room)
		t.states.Put(s)
	}
	return append(dst, t.after...)
}

// cut returns the part of a text that is read for at most the given number of tokens.
func cut(text string, tokens int) string {
	if tokens >= len(text)/bytesPerToken {
		return text
	}
	return prefix(text, bytesPerToken*tokens)
}

// UnknownShare implements Tokenizer.
func (t *unigram) UnknownShare(text string) float64 {
	s := t.states.Get().(*unigramState)
	s.letters = &letterCounts{}
	s.encode(nil, beginning(text), math.MaxInt)
	share := s.letters.unknownShare()
	s.letters = nil
	t.states.Put(s)
	return share
}

// unigramState is the state of one Encode. Its size follows the text.
type unigramState struct {
	t       *unigram
	text    []byte
	word    []byte
	ends    []pathEnd // by byte of the word: the best path that ends before it
	path    []int32   // ends of the pieces of the best path, last first
	letters *letterCounts
}

// pathEnd is the last piece of the best path that ends at a place.
type pathEnd struct {
	score float64
	from  int32 // where the piece begins; -1: no path ends here
	id    int32
}

// encode appends the ids of a text, at most room.
func (s *unigramState) encode(dst []int32, text string, room int) []int32 {
	limit := len(dst) + room
	if room > math.MaxInt-len(dst) {
		limit = math.MaxInt
	}
	s.normalize(text)
	rest := s.text
	for len(rest) > 0 && len(dst) < limit {
		word := rest
		if s.t.splitSpace {
			if i := bytes.IndexFunc(rest, isWhiteSpace); i >= 0 {
				_, size := utf8.DecodeRune(rest[i:])
				word, rest = rest[:i], rest[i+size:]
			} else {
				rest = nil
			}
		} else {
			rest = nil
		}
		if len(word) > 0 {
			dst = s.appendWord(dst, word, limit)
		}
	}
	return dst[:min(len(dst), limit)]
}

// isWhiteSpace reports whether a character is white space in Unicode.
func isWhiteSpace(r rune) bool { return unicode.Is(unicode.White_Space, r) }

// normalize sets s.text to the normalized text.
func (s *unigramState) normalize(text string) {
	text = strings.ToValidUTF8(text, "\ufffd")
	s.text = s.t.chars.appendNormalized(s.text[:0], text)
	if s.t.trimRight {
		s.text = bytes.TrimRightFunc(s.text, isWhiteSpace)
	}
	if s.t.joined == "" || !bytes.Contains(s.text, []byte("  ")) {
		return
	}
	var out []byte
	for i := 0; i < len(s.text); {
		n := 0
		for i+n < len(s.text) && s.text[i+n] == ' ' {
			n++
		}
		switch {
		case n > 1:
			out = append(out, s.t.joined...)
			i += n
		default:
			out = append(out, s.text[i])
			i++
		}
	}
	s.text = out
}

// appendWord appends the ids of what white space has separated: with its spaces replaced, and split
// before each of them.
func (s *unigramState) appendWord(dst []int32, text []byte, limit int) []int32 {
	t := s.t
	s.word = s.word[:0]
	if t.prepend && text[0] != ' ' && !bytes.HasPrefix(text, []byte(t.space)) {
		s.word = append(s.word, t.space...)
	}
	for _, c := range text {
		if c == ' ' {
			s.word = append(s.word, t.space...)
		} else {
			s.word = append(s.word, c)
		}
	}
	for rest := s.word; len(rest) > 0 && len(dst) < limit; {
		n := len(rest)
		if t.split {
			if i := bytes.Index(rest[1:], []byte(t.space)); i >= 0 {
				n = 1 + i
			}
		}
		dst = s.appendPieces(dst, rest[:n])
		rest = rest[n:]
	}
	return dst
}

// appendPieces appends the ids of the best path through a word. Neighbouring characters that no
// piece has are one unknown token.
func (s *unigramState) appendPieces(dst []int32, word []byte) []int32 {
	s.findPaths(word)
	s.path = s.path[:0]
	for at := int32(len(word)); at > 0; at = s.ends[at].from {
		s.path = append(s.path, at)
	}
	unknown := false
	for k := len(s.path) - 1; k >= 0; k-- {
		end := s.ends[s.path[k]]
		isUnknown := end.id == s.t.unk
		if !isUnknown || !unknown {
			dst = append(dst, end.id)
		}
		unknown = isUnknown
		if s.letters != nil {
			s.letters.add(word[end.from:s.path[k]], !isUnknown)
		}
	}
	return dst
}

// findPaths sets s.ends for a word.
func (s *unigramState) findPaths(word []byte) {
	t := s.t
	if cap(s.ends) <= len(word) {
		s.ends = make([]pathEnd, 2*len(word)+1)
	}
	s.ends = s.ends[:len(word)+1]
	for i := range s.ends {
		s.ends[i] = pathEnd{from: -1}
	}
	offer := func(at int, score float64, from int, id int32) {
		if e := &s.ends[at]; e.from < 0 || score > e.score {
			*e = pathEnd{score, int32(from), id}
		}
	}
	for from := 0; from < len(word); {
		_, size := utf8.DecodeRune(word[from:])
		score, single := s.ends[from].score, false
		node := uint32(0)
		for at := from; at < len(word); {
			if node = t.pieces.child(node, word[at]); node == 0 {
				break
			}
			at++
			if id := t.pieces.ids[node]; id >= 0 {
				offer(at, t.scores[id]+score, from, id)
				single = single || at == from+size
			}
		}
		if !single {
			offer(from+size, t.unkScore+score, from, t.unk)
		}
		from += size
	}
}
