package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// firstTail is how many bytes at the end of a segment are searched first for its last record. Most
// records are smaller.
const firstTail = 64 << 10

// CheckEnds yields the sealed segments of the log in dir that end before the sequence upTo and lack
// their last record: somebody cut them short. It reads only their ends, so that it is quick. Read
// finds all damage.
func CheckEnds(dir string, upTo uint64) (cut []*Damage, err error) {
	segs, err := segments(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for i := range segs {
		if i+1 == len(segs) || segs[i+1].first > upTo {
			break
		}
		last := segs[i+1].first - 1
		if last < segs[i].first {
			continue // no record of it was acknowledged
		}
		found, size, err := segs[i].endsWith(last)
		if errors.Is(err, fs.ErrNotExist) {
			continue // retention has just dropped it
		}
		if err != nil {
			return nil, err
		}
		if !found {
			cut = append(cut, &Damage{
				File: segs[i].name(), Offset: size,
				Reason: fmt.Sprintf("its end is missing or damaged: record %d is not in it", last),
			})
		}
	}
	return cut, nil
}

// endsWith reports whether the segment has the record last near its end, and returns its size.
// Leftovers of a failed append may follow.
func (s segment) endsWith(last uint64) (found bool, size int64, err error) {
	f, err := os.Open(s.path)
	if err != nil {
		return false, 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return false, 0, err
	}
	size = st.Size()
	for tail := int64(firstTail); ; tail *= 8 {
		from := max(0, size-tail)
		data := make([]byte, size-from)
		if _, err := f.ReadAt(data, from); err != nil {
			return false, size, err
		}
		if hasFrame(data, last) {
			return true, size, nil
		}
		if from == 0 {
			return false, size, nil
		}
	}
}

// hasFrame reports whether data has an intact frame with the sequence.
func hasFrame(data []byte, seq uint64) bool {
	for at := 0; at+frameSize <= len(data); at++ {
		if binary.LittleEndian.Uint64(data[at+8:]) != seq {
			continue
		}
		if _, _, ok := parseFrame(data[at:]); ok {
			return true
		}
	}
	return false
}
