package redis

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
)

// A value holds one user or one item's state: "RR", a format version, a spare byte, the revision that
// compare-and-set looks at (8 random bytes, new at each write), a CRC-32C of everything else, when the
// user was last forgotten or the item deleted (arrival, ms, 0 = never), which replicas' records it
// includes, and the packed state; of something forgotten or deleted, nothing more.
const (
	valueMagic      = "RR"
	valueVersion    = 1
	revOffset       = 4
	revSize         = 8
	valueHeaderSize = revOffset + revSize + 4
	maxAppliedSeqs  = 64
)

var (
	castagnoli      = crc32.MakeTable(crc32.Castagnoli)
	errDamagedValue = errors.New("a value in Redis is damaged")
)

// storedValue is a decoded one. The zero value is that of a key that is not there.
type storedValue struct {
	rev      string
	erasedAt int64
	applied  []appliedSeqs
	packed   string // "" of something unknown, forgotten or deleted
}

// appliedSeqs says which of one replica's records a thing includes: those up to low, and those from first to last.
// Live records move last; records applied again, since Redis may have lost what it had, move low.
type appliedSeqs struct {
	replica           uint64
	upTo, first, last uint64
}

func (s *appliedSeqs) includes(seq uint64) bool {
	return seq <= s.upTo || seq >= s.first && seq <= s.last
}

// include takes in a record. Records come in order, live ones and repeated ones each.
func (s *appliedSeqs) include(seq uint64) {
	switch {
	case s.last == 0:
		s.first, s.last = seq, seq
	case seq > s.last:
		s.last = seq
	case seq < s.first:
		s.upTo = max(s.upTo, seq)
	}
	if s.upTo+1 >= s.first {
		s.upTo = s.last
	}
}

// includes reports whether the record is in.
func (v *storedValue) includes(replica, seq uint64) bool {
	i := slices.IndexFunc(v.applied, func(s appliedSeqs) bool { return s.replica == replica })
	return i >= 0 && v.applied[i].includes(seq)
}

// include notes the record; of more replicas than fit, the one longest without a record is given up.
func (v *storedValue) include(replica, seq uint64) {
	i := slices.IndexFunc(v.applied, func(s appliedSeqs) bool { return s.replica == replica })
	s := appliedSeqs{replica: replica}
	if i >= 0 {
		s = v.applied[i]
		v.applied = slices.Delete(v.applied, i, i+1)
	} else if len(v.applied) >= maxAppliedSeqs {
		v.applied = v.applied[1:]
	}
	s.include(seq)
	v.applied = append(v.applied, s)
}

// encodeHeader appends the value's head under a new revision; the packed state is appended by seal's caller.
func (v *storedValue) encodeHeader(dst []byte) []byte {
	dst = append(dst, valueMagic...)
	dst = append(dst, valueVersion, 0)
	dst = binary.LittleEndian.AppendUint64(dst, rand.Uint64())
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.AppendUvarint(dst, uint64(v.erasedAt))
	dst = binary.AppendUvarint(dst, uint64(len(v.applied)))
	for _, s := range v.applied {
		dst = binary.LittleEndian.AppendUint64(dst, s.replica)
		dst = binary.AppendUvarint(dst, s.upTo)
		dst = binary.AppendUvarint(dst, s.first)
		dst = binary.AppendUvarint(dst, s.last-s.first)
	}
	return dst
}

// seal writes the checksum of a whole value.
func seal(v []byte) []byte {
	binary.LittleEndian.PutUint32(v[revOffset+revSize:], checksumOf(v))
	return v
}

func checksumOf(v []byte) uint32 {
	return crc32.Update(crc32.Checksum(v[:revOffset+revSize], castagnoli), castagnoli, v[valueHeaderSize:])
}

// revisionOf returns the bytes that compare-and-set looks at, of whatever stands there.
func revisionOf(raw string) string {
	return raw[min(revOffset, len(raw)):min(revOffset+revSize, len(raw))]
}

func decodeValue(raw string) (storedValue, error) {
	v := storedValue{rev: revisionOf(raw)}
	if len(raw) < valueHeaderSize || raw[:2] != valueMagic {
		return v, errDamagedValue
	}
	if raw[2] > valueVersion {
		return v, fmt.Errorf("a value in Redis has format version %d, this binary reads up to %d: use a newer relish, or another prefix", raw[2], valueVersion)
	}
	b := []byte(raw)
	if checksumOf(b) != binary.LittleEndian.Uint32(b[revOffset+revSize:]) {
		return v, errDamagedValue
	}
	d := varintReader{b: b[valueHeaderSize:]}
	v.erasedAt = int64(d.uvarint())
	n := d.uvarint()
	if n > maxAppliedSeqs {
		return v, errDamagedValue
	}
	for range n {
		s := appliedSeqs{replica: d.fixed64(), upTo: d.uvarint(), first: d.uvarint()}
		s.last = s.first + d.uvarint()
		v.applied = append(v.applied, s)
	}
	if d.bad {
		return storedValue{rev: v.rev}, errDamagedValue
	}
	v.packed = raw[len(raw)-len(d.b):]
	return v, nil
}

// varintReader reads numbers; after a failure it gives zeros and stays bad.
type varintReader struct {
	b   []byte
	bad bool
}

func (d *varintReader) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.b, d.bad = nil, true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *varintReader) fixed64() uint64 {
	if len(d.b) < 8 {
		d.b, d.bad = nil, true
		return 0
	}
	v := binary.LittleEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *varintReader) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.b, d.bad = nil, true
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}
