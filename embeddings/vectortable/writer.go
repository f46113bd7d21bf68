package vectortable

import (
	"encoding/binary"
	"fmt"
)

const (
	// maxPending bounds the bytes that wait for the disk. When it is reached, Append waits too.
	maxPending = 16 << 20
	// syncEvery is how many rows are written between two fsyncs. A killed process loses none of
	// them, a power failure at most these.
	syncEvery = 1024
)

// writer is the state of the one goroutine that writes to the file.
type writer struct {
	wake     chan struct{} // rows are pending
	tasks    chan func()   // functions to run between writes
	stop     chan struct{}
	stopped  chan struct{}
	spare    []byte // the buffer that is neither pending nor writing
	unsynced int
	// writeErr is the error of the last failed write, which the next Sync returns. syncErr stays:
	// after a failed fsync, nobody knows what the disk has.
	writeErr, syncErr error
}

func (t *Table) startWriter() {
	t.wake = make(chan struct{}, 1)
	t.tasks = make(chan func())
	t.stop = make(chan struct{})
	t.stopped = make(chan struct{})
	go func() {
		defer close(t.stopped)
		for {
			select {
			case <-t.wake:
				t.writePending()
				if t.unsynced >= syncEvery {
					t.fsync()
				}
			case op := <-t.tasks:
				op()
			case <-t.stop:
				return
			}
		}
	}()
}

// Append adds vectors under their keys. Each vector must have dim components that are finite in
// float16. Keys that the table has already, and key 0, are skipped. The rows can be read at once
// and are written soon; Sync makes them durable. Append waits while the disk is far behind. It
// does not keep the vectors.
func (t *Table) Append(keys []uint64, vecs [][]float32) error {
	if t.opt.ReadOnly {
		return ErrReadOnly
	}
	row := make([]byte, 0, t.rowSize())
	for i, key := range keys {
		if len(vecs[i]) != t.dim {
			return fmt.Errorf("vector %d has %d components, the table has vectors of %d",
				i, len(vecs[i]), t.dim)
		}
		var finite bool
		if row, finite = appendRow(row[:0], key, vecs[i]); !finite {
			return fmt.Errorf("vector %d is not finite in float16", i)
		}
		if err := t.appendRow(key, row); err != nil {
			return err
		}
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
	return nil
}

// CopyFrom appends the vectors of another table of the same encoder whose keys t lacks, and returns
// their number. It stops at a vector that is not finite. The other table must not be closed
// meanwhile.
func (t *Table) CopyFrom(other *Table) (copied int, err error) {
	if other.layout != t.layout {
		return 0, fmt.Errorf("%s is the vector table of another encoder than %s",
			other.path, t.path)
	}
	vec := make([]float32, t.dim)
	for _, r := range other.liveRows(func(key uint64) bool { return !t.Has(key) }) {
		if !other.Read(r.key, vec) {
			continue // a page that cannot be read costs one vector
		}
		if err := t.Append([]uint64{r.key}, [][]float32{vec}); err != nil {
			return copied, err
		}
		copied++
	}
	return copied, nil
}

func (t *Table) appendRow(key uint64, row []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.pending) >= maxPending && !t.closed {
		select {
		case t.wake <- struct{}{}:
		default:
		}
		t.spaceFreed.Wait()
	}
	if t.closed {
		return ErrClosed
	}
	if _, known := t.index[key]; known || key == 0 {
		return nil
	}
	t.index[key] = int32(t.written + (len(t.writing)+len(t.pending))/len(row))
	t.pending = append(t.pending, row...)
	return nil
}

// writePending writes the pending rows. Rows that cannot be written are dropped: their texts are
// encoded again when they are needed.
func (t *Table) writePending() {
	t.mu.Lock()
	n := len(t.pending) / t.rowSize()
	if n > 0 {
		t.writing, t.pending = t.pending, t.spare[:0]
	}
	t.spaceFreed.Broadcast()
	t.mu.Unlock()
	if n == 0 {
		return
	}
	// The offset is explicit, so that the next write overwrites a failed one.
	_, err := t.file.WriteAt(t.writing, t.fileSize(t.written))
	data := t.data
	if err == nil && t.fileSize(t.written+n) > int64(len(data)) {
		data, err = mapFile(t.file, t.fileSize(t.written+n))
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	t.spare, t.writing = t.writing, nil
	if err != nil {
		t.stats.Lost += n
		if t.writeErr == nil {
			t.opt.Log.Warn("vectors could not be written to the vector table; their texts are "+
				"encoded again later", "rows", n, "error", err)
		}
		t.writeErr = err
		for ; n > 0; n-- {
			delete(t.index, binary.LittleEndian.Uint64(t.spare[(n-1)*t.rowSize():]))
		}
		t.reindexPending()
		return
	}
	t.replaceMap(data)
	t.written += n
	t.unsynced += n
}

// reindexPending updates the index of the pending rows after written has changed. Callers hold mu.
func (t *Table) reindexPending() {
	for at := 0; at < len(t.pending); at += t.rowSize() {
		t.index[binary.LittleEndian.Uint64(t.pending[at:])] = int32(t.written + at/t.rowSize())
	}
}

func (t *Table) fsync() {
	if t.syncErr != nil || t.unsynced == 0 {
		return
	}
	if err := t.file.Sync(); err != nil {
		t.syncErr = fmt.Errorf("fsync of the vector table failed: %w; restart relish to try again",
			err)
		t.opt.Log.Error("cannot sync the vector table; a power failure may lose its new vectors",
			"error", t.syncErr)
		return
	}
	t.unsynced = 0
}

// flush writes and fsyncs everything appended so far. It returns what went wrong since the last
// flush.
func (t *Table) flush() error {
	t.writePending()
	t.fsync()
	err := t.writeErr
	t.writeErr = nil
	if err != nil {
		return fmt.Errorf("write to the vector table: %w", err)
	}
	return t.syncErr
}

// onWriter runs op on the writing goroutine and returns its error.
func (t *Table) onWriter(op func() error) error {
	if t.opt.ReadOnly {
		return ErrReadOnly
	}
	result := make(chan error, 1)
	select {
	case t.tasks <- func() { result <- op() }:
		return <-result
	case <-t.stopped:
		return ErrClosed
	}
}

// Sync returns once every row that was appended before is durable, or with the reason why one is
// not.
func (t *Table) Sync() error { return t.onWriter(t.flush) }

// Close makes everything durable and releases map, file and lock. Later reads find nothing. A
// second call does nothing.
func (t *Table) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	t.spaceFreed.Broadcast()
	t.mu.Unlock()
	var err error
	if !t.opt.ReadOnly {
		err = t.Sync()
		close(t.stop)
		<-t.stopped
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.release()
	return err
}
