package features

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// UserHash returns what stands for a user where the id must not be: the first half of its SHA-256
// in hex. Whoever has a list of ids can compute it, so files have it encrypted, see event.UserKeys.
func UserHash(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

// hashIndex finds the slots of users by UserHash, with about 14 bytes for each user. It keeps four
// bytes of a hash; the caller compares the rest. A nil hashIndex is always empty.
type hashIndex struct {
	first map[uint32]uint32
	more  map[uint32][]uint32 // further slots with the same four bytes; few have any
}

func newHashIndex() *hashIndex { return &hashIndex{first: map[uint32]uint32{}} }

// grow makes room for n users in an empty index.
func (x *hashIndex) grow(n int) {
	if x != nil {
		x.first = make(map[uint32]uint32, n)
	}
}

func indexKey(id string) uint32 {
	sum := sha256.Sum256([]byte(id))
	return binary.BigEndian.Uint32(sum[:])
}

func (x *hashIndex) add(id string, slot uint32) {
	if x == nil {
		return
	}
	key := indexKey(id)
	if _, taken := x.first[key]; !taken {
		x.first[key] = slot
		return
	}
	if x.more == nil {
		x.more = map[uint32][]uint32{}
	}
	x.more[key] = append(x.more[key], slot)
}

func (x *hashIndex) remove(id string, slot uint32) {
	if x == nil {
		return
	}
	key := indexKey(id)
	more := x.more[key]
	if x.first[key] != slot {
		more = slices.DeleteFunc(more, func(s uint32) bool { return s == slot })
	} else if len(more) > 0 {
		x.first[key], more = more[0], more[1:]
	} else {
		delete(x.first, key)
	}
	if len(more) > 0 {
		x.more[key] = more
	} else {
		delete(x.more, key)
	}
}

// find returns the slots whose users may have the hash.
func (x *hashIndex) find(hash string) []uint32 {
	var raw [4]byte
	if len(hash) < 8 {
		return nil
	}
	if _, err := hex.Decode(raw[:], []byte(hash[:8])); err != nil {
		return nil
	}
	key := binary.BigEndian.Uint32(raw[:])
	first, known := x.first[key]
	if !known {
		return nil
	}
	return append([]uint32{first}, x.more[key]...)
}
