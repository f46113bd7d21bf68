package features

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// UserHash returns what stands for a user where the id must not be: the first half of its SHA-256
// in hex. Whoever has a list of ids can compute it, so files have it encrypted, see event.UserKeys.
func UserHash(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

// hashIndex finds the slots of users by UserHash. It keeps four bytes of a hash, and the caller
// compares the rest. A nil hashIndex is always empty.
type hashIndex struct{ index idIndex }

// grow makes room for n users in an empty index.
func (x *hashIndex) grow(n int) {
	if x != nil {
		x.index.grow(n)
	}
}

func indexKey(id string) uint32 {
	sum := sha256.Sum256([]byte(id))
	return binary.BigEndian.Uint32(sum[:])
}

func (x *hashIndex) add(id string, slot uint32) {
	if x != nil {
		x.index.add(indexKey(id), slot)
	}
}

func (x *hashIndex) remove(id string, slot uint32) {
	if x != nil {
		x.index.remove(indexKey(id), slot)
	}
}

// find returns the slots whose users may have the hash.
func (x *hashIndex) find(hash string) (slots []uint32) {
	var raw [4]byte
	if len(hash) < 8 {
		return nil
	}
	if _, err := hex.Decode(raw[:], []byte(hash[:8])); err != nil {
		return nil
	}
	slot, at := x.index.first(binary.BigEndian.Uint32(raw[:]))
	for ; slot != noSlot; slot = at.next() {
		slots = append(slots, slot)
	}
	return slots
}
