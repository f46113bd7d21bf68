package tokenizer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// charsMap is the Precompiled normalizer of SentencePiece: a trie of character sequences with what
// replaces each of them. The zero value replaces nothing.
//
// The trie is a double array (Aoe 1989, An efficient digital search algorithm by using a
// double-array structure) in the form of Darts-clone. A unit has the label of the byte that leads
// to it, the offset of its children, and whether a child is a leaf. A leaf has the position of a
// string in normalized, which ends with a zero byte.
type charsMap struct {
	trie       []uint32
	normalized []byte
}

var errCharsMap = errors.New("normalizer.precompiled_charsmap is damaged")

// newCharsMap reads a precompiled_charsmap: the number of bytes of the trie, the trie, and the
// normalized strings.
func newCharsMap(data []byte) (*charsMap, error) {
	if len(data) < 4 {
		return nil, errCharsMap
	}
	size := binary.LittleEndian.Uint32(data)
	data = data[4:]
	if size%4 != 0 || size == 0 || int64(size) > int64(len(data)) {
		return nil, errCharsMap
	}
	m := &charsMap{trie: make([]uint32, size/4), normalized: data[size:]}
	for i := range m.trie {
		m.trie[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	return m, nil
}

// find returns what replaces the shortest sequence that text begins with and that the map has.
func (m *charsMap) find(text string) (replacement []byte, ok bool) {
	offset := func(unit uint32) uint32 { return unit >> 10 << (unit >> 6 & 8) }
	const leaf, labelMask, valueMask = 1 << 8, 1<<31 | 0xFF, 1<<31 - 1
	at := offset(m.trie[0])
	for i := 0; i < len(text) && text[i] != 0; i++ {
		at ^= uint32(text[i])
		if int64(at) >= int64(len(m.trie)) {
			return nil, false
		}
		unit := m.trie[at]
		if unit&labelMask != uint32(text[i]) {
			return nil, false
		}
		at ^= offset(unit)
		if unit&leaf != 0 && int64(at) < int64(len(m.trie)) {
			from := int64(m.trie[at] & valueMask)
			if from > int64(len(m.normalized)) {
				return nil, false
			}
			rest := m.normalized[from:]
			if end := bytes.IndexByte(rest, 0); end >= 0 {
				rest = rest[:end]
			}
			return rest, true
		}
	}
	return nil, false
}

// maxGraphemeBytes is the longest grapheme cluster that is replaced as a whole.
const maxGraphemeBytes = 5

// appendNormalized appends the normalized text to dst, as the reference library does: what replaces
// the beginning of a short grapheme cluster replaces all of it. Longer clusters, and those whose
// beginning the map does not have, are replaced by character.
func (m *charsMap) appendNormalized(dst []byte, text string) []byte {
	var cluster string
	state := -1
	for len(text) > 0 {
		if text[0] < utf8.RuneSelf && text[0] >= ' ' && (len(text) == 1 ||
			text[1] < utf8.RuneSelf) && text[0] != 0x7f { // the most frequent case, sooner
			cluster, text, state = text[:1], text[1:], -1
		} else {
			cluster, text, _, state = uniseg.FirstGraphemeClusterInString(text, state)
		}
		if len(cluster) <= maxGraphemeBytes {
			if replacement, ok := m.find(cluster); ok {
				dst = append(dst, replacement...)
				continue
			}
		}
		for len(cluster) > 0 {
			_, size := utf8.DecodeRuneInString(cluster)
			if replacement, ok := m.find(cluster[:size]); ok {
				dst = append(dst, replacement...)
			} else {
				dst = append(dst, cluster[:size]...)
			}
			cluster = cluster[size:]
		}
	}
	return dst
}
