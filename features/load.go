package features

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"relish/internal/parallel"
)

// A loadBatch has at most maxBatchValues packed values of a checkpoint, and stops to read more at
// maxBatchBytes. The values of a batch are decoded on all processors.
const (
	maxBatchValues = 512
	maxBatchBytes  = 16 << 20
)

// minValuesPerWorker is the number of values below which waking another processor takes longer than
// decoding them.
const minValuesPerWorker = 64

type loadBatch struct {
	bytes  []byte // of all values
	values []loadedValue
}

// loadedValue is one packed value of a checkpoint, and what it is decoded to.
type loadedValue struct {
	from, to int // where it is in loadBatch.bytes
	id       string
	item     *ItemState // of an item
	user     *UserState // of a user
	err      error
}

// read reads the next values. total is the number of those before. more is false at the end of the
// checkpoint.
func (b *loadBatch) read(br *bufio.Reader, total uint64) (more bool, err error) {
	b.bytes, b.values = b.bytes[:0], b.values[:0]
	for len(b.values) < maxBatchValues && len(b.bytes) < maxBatchBytes {
		size, err := binary.ReadUvarint(br)
		if err != nil || size > maxPackedBytes {
			return false, ErrCorrupt
		}
		if size == 0 {
			n, err := binary.ReadUvarint(br)
			if err != nil || n != total+uint64(len(b.values)) {
				return false, ErrCorrupt
			}
			return false, nil
		}
		from := len(b.bytes)
		b.bytes = slices.Grow(b.bytes, int(size))[:from+int(size)]
		if _, err := io.ReadFull(br, b.bytes[from:]); err != nil {
			return false, errors.Join(ErrCorrupt, err)
		}
		b.values = append(b.values, loadedValue{from: from, to: len(b.bytes)})
	}
	return true, nil
}

// load adds the values to s. It fails with the error of the first one that cannot be decoded.
func (b *loadBatch) load(s *State) error {
	parallel.Rows(len(b.values), minValuesPerWorker, func(from, to int) {
		for i := from; i < to; i++ {
			v := &b.values[i]
			switch packed := b.bytes[v.from:v.to]; packed[0] {
			case kindItem:
				v.id, v.item, v.err = s.DecodeItem(packed)
			case kindUser:
				v.id, v.user, v.err = s.DecodeUser(packed)
			}
		}
	})
	for i := range b.values {
		v := &b.values[i]
		switch packed := b.bytes[v.from:v.to]; {
		case v.err != nil:
			return v.err
		case v.item != nil:
			s.items.put(v.id, v.item)
		case v.user != nil:
			s.users.putState(v.id, v.user)
		case packed[0] == kindTable:
			if err := s.loadTable(packed); err != nil {
				return err
			}
		default:
			if _, err := s.LoadCounts(packed); err != nil {
				return err
			}
		}
	}
	return nil
}
