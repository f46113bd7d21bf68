package redis

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
)

// Keys begin with "relish:", or "TENANT:relish:", and the hash of the configuration. Replicas that
// count different things therefore never read each other's counters. Then follows:
//
//	{B}u:HASH    a user's state, by features.UserHash
//	{B}i:ID      an item's state
//	{B}c:ID      an item's content
//	{B}d:HASH    which record of which replica counted an event, by event.IDHash
//	{B}p:R       replica R's part of the counters
//	{00}replicas the set of all replicas
//	{00}changes  a stream of what changed: contents of items, erased users
//
// B is one of 256 hash tags, two hexadecimal digits. Keys with the same tag lie on the same node
// of a cluster, so an item's state and content can be written by one script.
type keys struct{ prefix [buckets]string }

const buckets = 256

func newKeys(prefix string, layout uint64) *keys {
	k := &keys{}
	for b := range k.prefix {
		k.prefix[b] = fmt.Sprintf("%s%08x:{%02x}", tenantPrefix(prefix), uint32(layout), b)
	}
	return k
}

func bucket(id string) int { return int(xxhash.Sum64String(id) % buckets) }

func (k *keys) user(hash string) string  { return k.prefix[bucket(hash)] + "u:" + hash }
func (k *keys) item(id string) string    { return k.prefix[bucket(id)] + "i:" + id }
func (k *keys) content(id string) string { return k.prefix[bucket(id)] + "c:" + id }
func (k *keys) claim(e *ranker.Event) string {
	h := event.IDHash(e)
	return fmt.Sprintf("%sd:%016x", k.prefix[h%buckets], h)
}
func (k *keys) counterPart(replica string) string {
	return k.prefix[bucket(replica)] + "p:" + replica
}
func (k *keys) replicas() string { return k.prefix[0] + "replicas" }
func (k *keys) changes() string  { return k.prefix[0] + "changes" }

// pattern matches all keys of one kind: "u:", "i:", "c:", "d:" or "p:".
func (k *keys) pattern(kind string) string {
	return escapeGlob(strings.TrimSuffix(k.prefix[0], "{00}")) + "{*}" + kind + "*"
}

// statePattern matches all keys of a tenant, whatever the configuration, except the claims of
// events.
func statePattern(prefix string) string {
	return escapeGlob(tenantPrefix(prefix)) + "????????:{??}[^d]*"
}

func tenantPrefix(prefix string) string {
	if prefix != "" {
		prefix += ":"
	}
	return prefix + "relish:"
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}

// entityKey names a user by hash or an item by id.
type entityKey struct {
	user bool
	id   string
}

func userKey(id string) entityKey { return entityKey{true, features.UserHash(id)} }
func itemKey(id string) entityKey { return entityKey{false, id} }

func (k *keys) state(e entityKey) string {
	if e.user {
		return k.user(e.id)
	}
	return k.item(e.id)
}

// entityOf returns the user or item whose state a key of Redis holds.
func entityOf(key string) entityKey {
	_, rest, _ := strings.Cut(key, "}")
	if id, ok := strings.CutPrefix(rest, "u:"); ok {
		return entityKey{true, id}
	}
	return entityKey{false, strings.TrimPrefix(rest, "i:")}
}

// A value holds the state of one user or item:
//
//	0  "RR"
//	2  format version
//	3  zero
//	4  revision: 8 random bytes, new at each write; compare-and-set compares them
//	12 CRC-32C of everything else
//	16 when the user was last erased or the item deleted: arrival in ms, 0 = never (uvarint)
//	.. the records that are included, by replica
//	.. the packed state; nothing if the user was erased or the item deleted
//
// The revision is random rather than a counter. A counter would start again after a key expires,
// and a writer that had read the old value could then overwrite a value that it never saw.
const (
	valueMagic      = "RR"
	valueVersion    = 1
	revOffset       = 4
	revSize         = 8
	valueHeaderSize = revOffset + revSize + 4

	// maxAppliedSeqs bounds the replicas that one value remembers. A replay of the log of one that
	// was dropped would count its records again.
	maxAppliedSeqs = 1024
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged says that a value in Redis cannot be decoded, and why. what is the kind of the value.
func errDamaged(what, reason string) error {
	return fmt.Errorf("%s in Redis is damaged: %s", what, reason)
}

// Parts of the messages of errDamaged: kinds of values, and reasons.
const (
	userValue = "the state of a user"
	itemValue = "the state of an item"

	wrongChecksum  = "its checksum is wrong"
	truncated      = "it is truncated"
	foreignContent = "another program wrote it"
)

// storedValue is a decoded value. The zero value stands for a key that does not exist.
type storedValue struct {
	rev      string
	erasedAt int64 // arrival in ms, 0 = never
	applied  []appliedSeqs
	packed   string // "" for a user or item that is unknown, erased or deleted
}

// appliedSeqs says which records of one replica's log are included: all up to upTo, and those from
// first to last. Live records extend last. Records that are applied again, because Redis may have
// lost them, extend upTo.
type appliedSeqs struct {
	replica           uint64
	upTo, first, last uint64
}

func (s *appliedSeqs) includes(seq uint64) bool {
	return seq <= s.upTo || seq >= s.first && seq <= s.last
}

// include adds a record. Live records must come in ascending order, and so must repeated ones.
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

// includes reports whether the value includes the record.
func (v *storedValue) includes(replica, seq uint64) bool {
	i := slices.IndexFunc(v.applied, func(s appliedSeqs) bool { return s.replica == replica })
	return i >= 0 && v.applied[i].includes(seq)
}

// include adds the record. If more than maxAppliedSeqs replicas wrote to the value, the one whose
// last write is the oldest is dropped.
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

// encodeHeader appends everything before the packed state, under a new revision. The caller
// appends the packed state and calls seal.
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

// seal writes the checksum into a complete value.
func seal(v []byte) []byte {
	binary.LittleEndian.PutUint32(v[revOffset+revSize:], checksumOf(v))
	return v
}

func checksumOf(v []byte) uint32 {
	beforeSum := crc32.Checksum(v[:revOffset+revSize], castagnoli)
	return crc32.Update(beforeSum, castagnoli, v[valueHeaderSize:])
}

// revisionOf returns the bytes that compare-and-set compares. raw may be anything.
func revisionOf(raw string) string {
	return raw[min(revOffset, len(raw)):min(revOffset+revSize, len(raw))]
}

// decodeValue decodes a value. On an error the result has the revision, so that the value can be
// replaced. kind is userValue or itemValue. The error names the kind only, because an id may
// identify a user.
func decodeValue(kind, raw string) (storedValue, error) {
	v := storedValue{rev: revisionOf(raw)}
	if len(raw) < valueHeaderSize {
		return v, errDamaged(kind, truncated)
	}
	if raw[:2] != valueMagic {
		return v, errDamaged(kind, foreignContent)
	}
	if raw[2] > valueVersion {
		return v, fmt.Errorf("a value in Redis has format version %d, this relish reads up to %d: "+
			"upgrade relish, or use another prefix", raw[2], valueVersion)
	}
	b := []byte(raw)
	if checksumOf(b) != binary.LittleEndian.Uint32(b[revOffset+revSize:]) {
		return v, errDamaged(kind, wrongChecksum)
	}
	d := varintReader{b: b[valueHeaderSize:]}
	v.erasedAt = int64(d.uvarint())
	n := d.uvarint()
	if n > maxAppliedSeqs {
		return v, errDamaged(kind, fmt.Sprintf("it has records of %d replicas, more than %d", n,
			maxAppliedSeqs))
	}
	for range n {
		s := appliedSeqs{replica: d.fixed64(), upTo: d.uvarint(), first: d.uvarint()}
		s.last = s.first + d.uvarint()
		v.applied = append(v.applied, s)
	}
	if d.bad {
		return storedValue{rev: v.rev}, errDamaged(kind, truncated)
	}
	v.packed = raw[len(raw)-len(d.b):]
	return v, nil
}

// varintReader reads numbers and byte strings. After a failure it returns zeros, and bad stays
// true.
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

// bytes reads a byte string behind its length.
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
