package features

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"slices"

	"relish/ranker"
)

// A packed value holds the state of one user or item, or one of the Counters. All numbers are
// little-endian.
//
//	kind u8 | version u8 | layout hash u64 | body | CRC-32C u32 of the bytes before
//
// The layout hash is Config.layoutHash of the configuration that the value was counted with. The
// body consists of varints, float64 bits, and strings after their length. Checkpoints and the Redis
// store consist of packed values.
const (
	codecVersion = 2 // 1 has no counts of newcomers
	kindItem     = 'I'
	kindUser     = 'U'
	kindContent  = 'C'
	kindValue    = 'V'
	kindGlobal   = 'G'
	kindTable    = 'T'

	// The kinds below are in checkpoints only.
	kindSizes      = 'S'
	kindNames      = 'N'
	kindPackedUser = 'P'
	kindPackedItem = 'J'
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Errors of decoding a packed value. They are wrapped with the details.
var (
	// ErrCorrupt says that the bytes are not the ones that were written.
	ErrCorrupt = errors.New("packed state is damaged")
	// ErrLayout says that the value was counted with other actions, fields, half-lives or text
	// fields.
	ErrLayout = errors.New(
		"packed state was counted with other actions, fields, half-lives or text fields",
	)
)

// encoder appends packed values.
type encoder struct{ b []byte }

func (e *encoder) begin(kind byte, layout uint64) {
	e.b = append(e.b, kind, codecVersion)
	e.b = binary.LittleEndian.AppendUint64(e.b, layout)
}

func (e *encoder) uint(v uint64)   { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) uint64(v uint64) { e.b = binary.LittleEndian.AppendUint64(e.b, v) }
func (e *encoder) int(v int64)     { e.b = binary.AppendVarint(e.b, v) }

func (e *encoder) float(
	v float64,
) {
	e.b = binary.LittleEndian.AppendUint64(e.b, math.Float64bits(v))
}
func (e *encoder) string(s string) { e.uint(uint64(len(s))); e.b = append(e.b, s...) }
func (e *encoder) seal(start int) {
	e.b = binary.LittleEndian.AppendUint32(e.b, crc32.Checksum(e.b[start:], castagnoli))
}
func (e *encoder) strings(l []string) {
	// nil and empty differ: nil tags are unknown, empty tags say that there are none.
	if l == nil {
		e.uint(0)
		return
	}
	e.uint(uint64(len(l)) + 1)
	for _, s := range l {
		e.string(s)
	}
}

// counts writes a bit mask of the nonzero values before these, because most values are 0.
func (e *encoder) counts(c *decayedCounts) {
	e.uint(uint64(len(c.values)))
	if len(c.values) == 0 {
		return
	}
	e.int(c.ref)
	var mask uint64
	for i := 0; i < len(c.values); i += 64 {
		mask = 0
		part := c.values[i:min(i+64, len(c.values))]
		for k, v := range part {
			if v != 0 {
				mask |= 1 << k
			}
		}
		e.uint(mask)
		for _, v := range part {
			if v != 0 {
				e.float(v)
			}
		}
	}
}

func (e *encoder) newcomers(c NewcomerCounts) {
	e.uint(uint64(c.Impressions))
	e.uint(uint64(c.Actions))
}

func (e *encoder) value(v ranker.FieldValue) {
	e.b = append(e.b, byte(v.Kind))
	switch v.Kind {
	case ranker.Number, ranker.Bool:
		e.float(v.Num)
	case ranker.String:
		e.string(v.Str)
	case ranker.Strings:
		e.strings(v.List)
	case ranker.Numbers:
		e.uint(uint64(len(v.Nums)))
		for _, x := range v.Nums {
			e.float(x)
		}
	}
}

func (e *encoder) fields(m map[string]ranker.FieldValue) {
	e.uint(uint64(len(m)))
	for _, name := range sortedKeys(m) {
		e.string(name)
		e.value(m[name])
	}
}

func (e *encoder) times(m map[string]int64) {
	e.uint(uint64(len(m)))
	for _, name := range sortedKeys(m) {
		e.string(name)
		e.int(m[name])
	}
}

// sortedKeys allocates once, because a state has millions of keys.
func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
