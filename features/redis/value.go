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
	valueMagic   = "RR"
	valueVersion = 1
	revAt        = 4
	revSize      = 8
	valueHead    = revAt + revSize + 4
	maxSpans     = 64
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errValue   = errors.New("a value in Redis is damaged")
)

// value is a decoded one. The zero value is that of a key that is not there.
type value struct {
	rev    string
	gone   int64
	spans  []span
	packed string // "" of something unknown, forgotten or deleted
}

// span says which of one replica's records a thing includes: those up to low, and those from first to last.
// Live records move last; records applied again, since Redis may have lost what it had, move low.
type span struct {
	replica          uint64
	low, first, last uint64
}

func (s *span) has(seq uint64) bool { return seq <= s.low || seq >= s.first && seq <= s.last }

// add takes in a record. Records come in order, live ones and repeated ones each.
func (s *span) add(seq uint64) {
	switch {
	case s.last == 0:
		s.first, s.last = seq, seq
	case seq > s.last:
		s.last = seq
	case seq < s.first:
		s.low = max(s.low, seq)
	}
	if s.low+1 >= s.first {
		s.low = s.last
	}
}

// includes reports whether the record is in.
func (v *value) includes(replica, seq uint64) bool {
	i := slices.IndexFunc(v.spans, func(s span) bool { return s.replica == replica })
	return i >= 0 && v.spans[i].has(seq)
}

// include notes the record; of more replicas than fit, the one longest without a record is given up.
func (v *value) include(replica, seq uint64) {
	i := slices.IndexFunc(v.spans, func(s span) bool { return s.replica == replica })
	s := span{replica: replica}
	if i >= 0 {
		s = v.spans[i]
		v.spans = slices.Delete(v.spans, i, i+1)
	} else if len(v.spans) >= maxSpans {
		v.spans = v.spans[1:]
	}
	s.add(seq)
	v.spans = append(v.spans, s)
}

// encode appends the value's head under a new revision; the packed state is appended by seal's caller.
func (v *value) encode(dst []byte) []byte {
	dst = append(dst, valueMagic...)
	dst = append(dst, valueVersion, 0)
	dst = binary.LittleEndian.AppendUint64(dst, rand.Uint64())
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.AppendUvarint(dst, uint64(v.gone))
	dst = binary.AppendUvarint(dst, uint64(len(v.spans)))
	for _, s := range v.spans {
		dst = binary.LittleEndian.AppendUint64(dst, s.replica)
		dst = binary.AppendUvarint(dst, s.low)
		dst = binary.AppendUvarint(dst, s.first)
		dst = binary.AppendUvarint(dst, s.last-s.first)
	}
	return dst
}

// seal writes the checksum of a whole value.
func seal(v []byte) []byte {
	binary.LittleEndian.PutUint32(v[revAt+revSize:], sumOf(v))
	return v
}

func sumOf(v []byte) uint32 {
	return crc32.Update(crc32.Checksum(v[:revAt+revSize], castagnoli), castagnoli, v[valueHead:])
}

// revision returns the bytes that compare-and-set looks at, of whatever stands there.
func revision(raw string) string {
	return raw[min(revAt, len(raw)):min(revAt+revSize, len(raw))]
}

func decodeValue(raw string) (value, error) {
	v := value{rev: revision(raw)}
	if len(raw) < valueHead || raw[:2] != valueMagic {
		return v, errValue
	}
	if raw[2] > valueVersion {
		return v, fmt.Errorf("a value in Redis has format version %d, this binary reads up to %d: use a newer relish, or another prefix", raw[2], valueVersion)
	}
	b := []byte(raw)
	if sumOf(b) != binary.LittleEndian.Uint32(b[revAt+revSize:]) {
		return v, errValue
	}
	d := varints{b: b[valueHead:]}
	v.gone = int64(d.next())
	n := d.next()
	if n > maxSpans {
		return v, errValue
	}
	for range n {
		s := span{replica: d.fixed(), low: d.next(), first: d.next()}
		s.last = s.first + d.next()
		v.spans = append(v.spans, s)
	}
	if d.bad {
		return value{rev: v.rev}, errValue
	}
	v.packed = raw[len(raw)-len(d.b):]
	return v, nil
}

// varints reads numbers; after a failure it gives zeros and stays bad.
type varints struct {
	b   []byte
	bad bool
}

func (d *varints) next() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.b, d.bad = nil, true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *varints) fixed() uint64 {
	if len(d.b) < 8 {
		d.b, d.bad = nil, true
		return 0
	}
	v := binary.LittleEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *varints) bytes() []byte {
	n := d.next()
	if n > uint64(len(d.b)) {
		d.b, d.bad = nil, true
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}
