package trends

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"slices"
)

// The file of Counts. Numbers are uvarints; a string or a list follows its length.
//
//	"RLTR" | version u8 | replica | sequence | newest arrival ms |
//	fields: name, values | sources |
//	hours, then days: number of periods, then for each its number,
//	and its cells with their counts |
//	items: hash of the id u64, time, title, text, packed values | CRC-32C u32 of the bytes before
const (
	fileMagic   = "RLTR"
	fileVersion = 1
	itemBytes   = 8 + 4 // of an item at least
)

// errDamaged says that a file is not the one that was written.
var errDamaged = errors.New("the file is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode returns the content of the file.
func (c *Counts) encode() []byte {
	e := encoder{append([]byte(fileMagic), fileVersion)}
	e.string(c.replica)
	e.uint(c.seq, uint64(c.newest), uint64(len(c.fields)))
	for i := range c.fields {
		e.string(c.fields[i].name)
		e.strings(c.fields[i].values)
	}
	e.strings(c.sources)
	e.buckets(&c.hours)
	e.buckets(&c.days)
	e.uint(uint64(len(c.items)))
	for id, it := range c.items {
		e.b = binary.LittleEndian.AppendUint64(e.b, id)
		e.uint(uint64(it.time), uint64(it.title), uint64(it.text))
		e.string(it.packed)
	}
	return binary.LittleEndian.AppendUint32(e.b, crc32.Checksum(e.b, castagnoli))
}

// encoder appends what is written.
type encoder struct{ b []byte }

func (e *encoder) uint(values ...uint64) {
	for _, v := range values {
		e.b = binary.AppendUvarint(e.b, v)
	}
}

func (e *encoder) string(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) strings(list []string) {
	e.uint(uint64(len(list)))
	for _, s := range list {
		e.string(s)
	}
}

func (e *encoder) buckets(b *buckets) {
	e.uint(uint64(len(b.counts)))
	for _, n := range slices.Sorted(maps.Keys(b.counts)) {
		e.uint(uint64(n), uint64(len(b.counts[n])))
		for key, count := range b.counts[n] {
			e.uint(uint64(key), uint64(count))
		}
	}
}

// readFile returns the counts of a file.
func readFile(path string) (*Counts, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	head := len(fileMagic)
	if len(data) < head+5 || string(data[:head]) != fileMagic {
		return nil, errDamaged
	}
	if data[head] > fileVersion {
		return nil, fmt.Errorf("it has format version %d, and this binary reads up to %d",
			data[head], fileVersion)
	}
	body := data[:len(data)-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(data[len(body):]) {
		return nil, errDamaged
	}
	d := decoder{bytes.NewReader(body[head+1:]), nil}
	c := d.counts()
	if d.err != nil {
		return nil, errDamaged
	}
	return c, nil
}

// decoder reads what encoder has written. After an error it returns zeros.
type decoder struct {
	r   *bytes.Reader
	err error
}

func (d *decoder) uint() uint64 {
	v, err := binary.ReadUvarint(d.r)
	if err != nil {
		d.err = errDamaged
		return 0
	}
	return v
}

// length reads the number of elements that follow, each of at least size bytes.
func (d *decoder) length(size int) int {
	n := d.uint()
	if n > uint64(d.r.Len()/size) {
		d.err = errDamaged
		return 0
	}
	return int(n)
}

func (d *decoder) bytes(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(d.r, b); err != nil {
		d.err = errDamaged
	}
	return b
}

func (d *decoder) string() string { return string(d.bytes(d.length(1))) }

func (d *decoder) strings() []string {
	list := make([]string, d.length(1))
	for i := range list {
		list[i] = d.string()
	}
	return list
}

func (d *decoder) counts() *Counts {
	replica, seq, newest := d.string(), d.uint(), int64(d.uint())
	c := New(nil, nil)
	c.replica, c.seq, c.newest = replica, seq, newest
	c.fields = make([]field, d.length(2))
	for i := range c.fields {
		f := &c.fields[i]
		f.name, f.values, f.ids = d.string(), d.strings(), map[string]uint16{}
		for k, value := range f.values {
			f.ids[value] = firstValue + uint16(k)
		}
	}
	c.sources = d.strings()
	d.buckets(&c.hours)
	d.buckets(&c.days)
	for range d.length(itemBytes) {
		id := binary.LittleEndian.Uint64(d.bytes(8))
		it := itemValues{time: uint32(d.uint()), title: uint32(d.uint()), text: uint32(d.uint())}
		it.packed = d.string()
		c.put(id, it)
	}
	return c
}

func (d *decoder) buckets(b *buckets) {
	for range d.length(2) {
		n, counts := int64(d.uint()), map[cell]uint32{}
		for range d.length(2) {
			key := cell(d.uint())
			counts[key] = uint32(d.uint())
		}
		if len(b.counts) == 0 || n < b.oldest {
			b.oldest = n
		}
		b.counts[n] = counts
		b.cells += len(counts)
	}
}

// adopt takes over what other counts know of the same fields and sources. c must be empty.
func (c *Counts) adopt(from *Counts) {
	c.seq, c.newest = from.seq, from.newest
	fields, sources := map[int]int{}, map[int]int{}
	for i := range from.fields {
		if f := slices.Index(c.Fields(), from.fields[i].name); f >= 0 {
			fields[i] = f
			c.fields[f].ids, c.fields[f].values = from.fields[i].ids, from.fields[i].values
		}
	}
	for i, name := range from.sources {
		if s := slices.Index(c.sources, name); s >= 0 {
			sources[i] = s
		}
	}
	c.hours.adopt(&from.hours, fields, sources)
	c.days.adopt(&from.days, fields, sources)
	for id, it := range from.items {
		kept := itemValues{time: it.time, title: it.title, text: it.text}
		for p := it.packed; len(p) > 0; p = p[3:] {
			if f, found := fields[int(p[0])]; found {
				kept.packed += string([]byte{byte(f), p[1], p[2]})
			}
		}
		c.put(id, kept)
	}
}

func (b *buckets) adopt(from *buckets, fields, sources map[int]int) {
	b.oldest = from.oldest
	for n, counts := range from.counts {
		b.counts[n] = map[cell]uint32{}
		for key, count := range counts {
			f, known := fields[key.field()]
			s, counted := sources[key.source()]
			if known && counted {
				b.counts[n][cellOf(f, s, key.value())] = count
				b.cells++
			}
		}
	}
}
