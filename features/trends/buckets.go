package trends

import "time"

// The ids of a field's values in cells.
const (
	totalID    = 0 // all events of items with a value
	otherID    = 1 // values beyond MaxValues
	firstValue = 2
)

// maxSources bounds the sources of a cell.
const maxSources = 32

// cell names one count of a bucket: a field, a source and a value.
type cell uint32

func cellOf(f, source int, value uint16) cell {
	return cell(f)<<21 | cell(source)<<16 | cell(value)
}

func (k cell) field() int    { return int(k >> 21) }
func (k cell) source() int   { return int(k >> 16 & (maxSources - 1)) }
func (k cell) value() uint16 { return uint16(k) }

// buckets are the counts of periods of the same length. A period is named by the number of periods
// since 1970 in UTC.
type buckets struct {
	size   int64 // length of a period in ms
	counts map[int64]map[cell]uint32
	cells  int // in all periods
	oldest int64
}

func newBuckets(size time.Duration) buckets {
	return buckets{size: size.Milliseconds(), counts: map[int64]map[cell]uint32{}}
}

// at returns the period of a time in Unix ms.
func (b *buckets) at(ms int64) int64 {
	n := ms / b.size
	if ms%b.size < 0 {
		n--
	}
	return n
}

// add counts one event, unless its period is not one of the newest kept ones.
func (b *buckets) add(key cell, ms, newest int64, kept int64) {
	n := b.at(ms)
	if n <= b.at(newest)-kept {
		return
	}
	counts := b.counts[n]
	if counts == nil {
		if len(b.counts) == 0 || n < b.oldest {
			b.oldest = n
		}
		counts = map[cell]uint32{}
		b.counts[n] = counts
	}
	if _, known := counts[key]; !known {
		b.cells++
	}
	counts[key]++
}

// remove takes back one event that was counted.
func (b *buckets) remove(key cell, ms int64) {
	counts := b.counts[b.at(ms)]
	switch counts[key] {
	case 0:
	case 1:
		delete(counts, key)
		b.cells--
	default:
		counts[key]--
	}
}

// dropBefore drops the periods before n.
func (b *buckets) dropBefore(n int64) {
	for len(b.counts) > 0 && b.oldest < n {
		b.dropOldest()
	}
}

// dropOldest drops the oldest period. It returns false if none is left.
func (b *buckets) dropOldest() bool {
	if len(b.counts) == 0 {
		return false
	}
	b.cells -= len(b.counts[b.oldest])
	delete(b.counts, b.oldest)
	first := true
	for n := range b.counts {
		if first || n < b.oldest {
			b.oldest, first = n, false
		}
	}
	return len(b.counts) > 0
}
