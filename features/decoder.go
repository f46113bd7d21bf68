package features

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"

	"relish/ranker"
)

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
