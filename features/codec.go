package features

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
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

// decoder reads packed values. After the first failure err stays, and every read returns a zero
// value.
type decoder struct {
	b       []byte
	version byte // of the format
	err     error
}

// open checks kind, version, checksum and layout.
func (d *decoder) open(kind byte, layout uint64) {
	const head, tail = 2 + 8, 4
	if len(d.b) < head+tail || d.b[0] != kind {
		d.err = ErrCorrupt
		return
	}
	if d.b[1] > codecVersion {
		d.err = fmt.Errorf(
			"packed state has format version %d, and this binary reads up to %d: "+
				"use a newer relish",
			d.b[1],
			codecVersion,
		)
		return
	}
	body := d.b[:len(d.b)-tail]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(d.b[len(body):]) {
		d.err = ErrCorrupt
		return
	}
	if binary.LittleEndian.Uint64(body[2:]) != layout {
		d.err = ErrLayout
		return
	}
	d.version = d.b[1]
	d.b = body[head:]
}

func (d *decoder) fail() {
	d.b = nil
	if d.err == nil {
		d.err = ErrCorrupt
	}
}

func (d *decoder) uint() uint64 {
	if len(d.b) > 0 && d.b[0] < 0x80 { // the usual case
		v := uint64(d.b[0])
		d.b = d.b[1:]
		return v
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// skipVarint leaves out what uint or int would read.
func (d *decoder) skipVarint() {
	if len(d.b) >= 8 {
		if ends := ^binary.LittleEndian.Uint64(d.b) & 0x8080808080808080; ends != 0 {
			d.b = d.b[bits.TrailingZeros64(ends)/8+1:]
			return
		}
	}
	d.uint()
}

// skip leaves out n bytes.
func (d *decoder) skip(n int) {
	if n > len(d.b) {
		d.fail()
		return
	}
	d.b = d.b[n:]
}

// length reads the number of elements that follow. Each element takes at least one byte, so a
// damaged length cannot demand more memory than the value has bytes.
func (d *decoder) length() int {
	v := d.uint()
	if v > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(v)
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) float() float64 { return math.Float64frombits(d.uint64()) }

func (d *decoder) uint64() uint64 {
	if len(d.b) < 8 {
		d.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *decoder) string() string {
	n := d.length()
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) strings() []string {
	n := d.uint()
	if n == 0 || n-1 > uint64(len(d.b)) {
		if n != 0 {
			d.fail()
		}
		return nil
	}
	out := make([]string, n-1)
	for i := range out {
		out[i] = d.string()
	}
	return out
}

func (d *decoder) counts(l *counterLayout) (c decayedCounts) {
	n := d.uint()
	if n == 0 {
		return c
	}
	if n != uint64(l.size()) {
		d.fail()
		return c
	}
	c.ref = d.int()
	c.values = make([]float64, n)
	for i := 0; i < len(c.values); i += 64 {
		mask := d.uint()
		for k := i; k < min(i+64, len(c.values)); k++ {
			if mask&(1<<(k-i)) != 0 {
				c.values[k] = d.float()
			}
		}
	}
	return c
}

func (d *decoder) newcomers() (c NewcomerCounts) {
	if d.version > 1 {
		c.Impressions, c.Actions = uint32(d.uint()), uint32(d.uint())
	}
	return c
}

func (d *decoder) value() (v ranker.FieldValue) {
	v.Kind = ranker.ValueKind(d.byte())
	switch v.Kind {
	case ranker.NoValue:
	case ranker.Number, ranker.Bool:
		v.Num = d.float()
	case ranker.String:
		v.Str = d.string()
	case ranker.Strings:
		v.List = d.strings()
	case ranker.Numbers:
		for range d.length() {
			v.Nums = append(v.Nums, d.float())
		}
	default:
		d.fail()
	}
	return v
}

func (d *decoder) fields() map[string]ranker.FieldValue {
	n := d.length()
	if n == 0 {
		return nil
	}
	m := make(map[string]ranker.FieldValue, n)
	for range n {
		name := d.string()
		m[name] = d.value()
	}
	return m
}

func (d *decoder) times() map[string]int64 {
	n := d.length()
	if n == 0 {
		return nil
	}
	m := make(map[string]int64, n)
	for range n {
		name := d.string()
		m[name] = d.int()
	}
	return m
}

// done returns the first failure, or ErrCorrupt if bytes are left.
func (d *decoder) done() error {
	if d.err == nil && len(d.b) > 0 {
		return ErrCorrupt
	}
	return d.err
}
