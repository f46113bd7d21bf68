package tokenizer

import "math/bits"

// pieceTable is an immutable hash table from pieces (byte strings) to ids. It finds the longest
// piece that a word begins with. The hash is FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/),
// which gives the hashes of all beginnings of a word in one walk. Each length then costs one
// probe, while the built-in map would hash each beginning from its start.
type pieceTable struct {
	slots   []slot // a power of two, at most half of them taken; linear probing
	longest int    // bytes of the longest piece
}

type slot struct {
	piece string // "" in a free slot
	hash  uint32
	id    int32
}

const (
	fnvOffset = 2166136261
	fnvPrime  = 16777619
)

// newPieceTable returns a table of the pieces. The empty piece is left out.
func newPieceTable(ids map[string]int32) pieceTable {
	p := pieceTable{slots: make([]slot, 1<<bits.Len(uint(2*len(ids))))}
	for piece, id := range ids {
		if piece == "" {
			continue
		}
		h := uint32(fnvOffset)
		for i := range len(piece) {
			h = (h ^ uint32(piece[i])) * fnvPrime
		}
		i := p.firstSlot(h)
		for p.slots[i].piece != "" {
			i = (i + 1) & (len(p.slots) - 1)
		}
		p.slots[i] = slot{piece, h, id}
		p.longest = max(p.longest, len(piece))
	}
	return p
}

// firstSlot is the slot where probing for a hash starts.
func (p *pieceTable) firstSlot(h uint32) int { return int(h^h>>15) & (len(p.slots) - 1) }

// longestMatch returns the longest piece that word begins with: its number of bytes and its id. n
// is 0 if there is none. hashes must have room for p.longest hashes.
func (p *pieceTable) longestMatch(word []byte, hashes []uint32) (n int, id int32) {
	word = word[:min(len(word), p.longest)]
	h := uint32(fnvOffset)
	for i, c := range word {
		h = (h ^ uint32(c)) * fnvPrime
		hashes[i] = h
	}
	for n = len(word); n > 0; n-- {
		h = hashes[n-1]
		for i := p.firstSlot(h); ; i = (i + 1) & (len(p.slots) - 1) {
			s := &p.slots[i]
			if s.piece == "" {
				break
			}
			if s.hash == h && s.piece == string(word[:n]) {
				return n, s.id
			}
		}
	}
	return 0, 0
}
