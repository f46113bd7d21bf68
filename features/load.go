package features

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"slices"

	"relish/internal/parallel"
)

// A loader reads the values of a checkpoint in batches. While the processors decode one batch, one
// of them adds the batch before to the state, and one reads the next.
type loader struct {
	s        *State
	r        valueReader
	names    [interners]uint32 // as loadSizes has them
	checkers chan *userChecker // those that nobody uses
	batches  [3]loadBatch      // reused in turns
	// oldTokens is true if the tokens of items are those of an earlier version.
	oldTokens bool
}

// A loadBatch has at most maxBatchValues packed values, and stops to read more at maxBatchBytes.
const (
	maxBatchValues = 4096
	maxBatchBytes  = 8 << 20
)

// valuesPerPart is the number of values of a batch that one goroutine decodes at a time.
const valuesPerPart = 64

// maxCheckers bounds the goroutines that decode at once, because each counts references to all
// names.
const maxCheckers = 8

// loadBatch is a part of a checkpoint.
type loadBatch struct {
	bytes  []byte // of all values
	values []loadedValue
	last   bool  // nothing follows
	err    error // of reading
}

// loadedValue is one packed value of a checkpoint, and what it is decoded to.
type loadedValue struct {
	from, to int // where it is in loadBatch.bytes
	id       string
	item     *ItemState  // of an item
	user     *UserState  // of a user
	packed   *userRecord // of a packed user
	err      error
}

// loadNames reads the values that come before all others: the sizes, and the names of packed users.
func (l *loader) loadNames() error {
	var buf []byte
	next := func() (packed []byte, err error) {
		if buf, err = l.r.next(buf[:0]); err == nil && len(buf) == 0 {
			err = ErrCorrupt
		}
		return buf, err
	}
	packed, err := next()
	if err != nil {
		return err
	}
	z, err := l.s.decodeSizes(packed)
	if err != nil {
		return err
	}
	l.names = z.names
	for k, n := range l.s.users.packer.interners() {
		for n.numbers() < z.names[k] {
			if packed, err = next(); err != nil {
				return err
			}
			if err := l.s.loadNames(packed, n, z.names[k]); err != nil {
				return err
			}
		}
	}
	l.s.items.grow(int(min(z.items, uint64(l.s.cfg.MaxItems))))
	l.s.users.grow(int(min(z.users, uint64(l.s.cfg.MaxUsers))))
	return nil
}

// loadRest reads all other values. It fails with the error of the first one that is wrong.
func (l *loader) loadRest() error {
	checkers := make([]*userChecker, min(runtime.GOMAXPROCS(0), maxCheckers))
	l.checkers = make(chan *userChecker, len(checkers))
	for i := range checkers {
		checkers[i] = newUserChecker(&l.s.users.packer, l.names)
		l.checkers <- checkers[i]
	}
	before, now, next := &l.batches[0], &l.batches[1], &l.batches[2]
	for l.r.fill(now); ; before, now, next = now, next, before {
		l.step(before, now, next)
		err := before.err
		if now.last && err == nil {
			now.add(l.s)
			err = now.err
		}
		switch {
		case err != nil:
			return err
		case now.last:
			return l.countReferences(checkers)
		}
	}
}

// step adds the batch before to the state, decodes the batch now, and reads the batch next.
func (l *loader) step(before, now, next *loadBatch) {
	const others = 2
	parts := (len(now.values) + valuesPerPart - 1) / valuesPerPart
	parallel.Each(others+parts, func(i int) {
		switch i {
		case 0:
			before.add(l.s)
		case 1:
			if !now.last {
				l.r.fill(next)
			}
		default:
			from := (i - others) * valuesPerPart
			l.decode(now, from, min(from+valuesPerPart, len(now.values)))
		}
	})
}

// decode decodes a range of the values.
func (l *loader) decode(b *loadBatch, from, to int) {
	checker := <-l.checkers
	defer func() { l.checkers <- checker }()
	for i := from; i < to; i++ {
		v := &b.values[i]
		switch packed := b.bytes[v.from:v.to]; packed[0] {
		case kindItem:
			v.id, v.item, v.err = l.s.DecodeItem(packed)
		case kindPackedItem:
			v.id, v.item, v.err = l.s.decodePackedItem(packed, l.oldTokens)
		case kindUser:
			v.id, v.user, v.err = l.s.DecodeUser(packed)
		case kindPackedUser:
			v.packed, v.err = l.s.decodePackedUser(packed, checker)
		}
	}
}

// countReferences gives each name the number of its references that the checkers have counted.
func (l *loader) countReferences(checkers []*userChecker) error {
	for k, n := range l.s.users.packer.interners() {
		var counted [][]uint32
		for _, c := range checkers {
			counted = append(counted, c.refs[k])
		}
		if err := n.addReferences(counted...); err != nil {
			return err
		}
	}
	return nil
}

// add adds the decoded values to s, and sets b.err to the first failure.
func (b *loadBatch) add(s *State) {
	for i := range b.values {
		if err := b.values[i].add(s, b.bytes); err != nil {
			b.err = err
			return
		}
	}
}

func (v *loadedValue) add(s *State, all []byte) (err error) {
	switch packed := all[v.from:v.to]; {
	case v.err != nil:
		return v.err
	case v.item != nil:
		if s.items.get(v.id) != nil {
			return ErrCorrupt // a checkpoint has each item once
		}
		s.items.put(v.id, v.item)
	case v.user != nil:
		if s.users.get(v.id) != nil {
			return ErrCorrupt
		}
		s.users.putState(v.id, v.user)
	case v.packed != nil:
		if s.users.get(v.packed.id) != nil {
			return ErrCorrupt
		}
		s.users.put(v.packed.id, v.packed)
	case packed[0] == kindTable:
		return s.loadTable(packed)
	default:
		_, err = s.LoadCounts(packed)
	}
	return err
}

// ---- Values of a file ----

// valueReader reads the values of a checkpoint.
type valueReader struct {
	br *bufio.Reader
	n  uint64 // values so far
}

// next appends the next value to dst. It appends nothing at the end of the checkpoint.
func (r *valueReader) next(dst []byte) ([]byte, error) {
	size, err := binary.ReadUvarint(r.br)
	if err != nil || size > maxPackedBytes {
		return dst, ErrCorrupt
	}
	if size == 0 {
		if n, err := binary.ReadUvarint(r.br); err != nil || n != r.n {
			return dst, ErrCorrupt
		}
		return dst, nil
	}
	from := len(dst)
	dst = slices.Grow(dst, int(size))[:from+int(size)]
	if _, err := io.ReadFull(r.br, dst[from:]); err != nil {
		return dst[:from], errors.Join(ErrCorrupt, err)
	}
	r.n++
	return dst, nil
}

// fill reads the next values into b, in place of what it has.
func (r *valueReader) fill(b *loadBatch) {
	*b = loadBatch{bytes: b.bytes[:0], values: b.values[:0]}
	for len(b.values) < maxBatchValues && len(b.bytes) < maxBatchBytes {
		from := len(b.bytes)
		b.bytes, b.err = r.next(b.bytes)
		if b.last = b.err != nil || len(b.bytes) == from; b.last {
			return
		}
		b.values = append(b.values, loadedValue{from: from, to: len(b.bytes)})
	}
}
