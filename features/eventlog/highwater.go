package eventlog

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"relish/internal/durable"
)

// highWater says how far the sequences of a log may have been used. It is a file beside the log's
// folder, so that it stays when the folder or its newest segment is lost. Without it a log that
// lost its end would number new records like the lost ones, and whatever remembers a sequence would
// take the new records for known ones.
type highWater struct {
	Replica string `json:"replica"`
	Segment uint64 `json:"segment"` // first sequence of the newest segment
	Limit   uint64 `json:"limit"`   // no record has had this sequence or a later one
	// Bytes is the size of the newest segment if the log was closed after it was written, else 0.
	// All of them are durable: damage in them is not the rest of an incomplete batch.
	Bytes int64 `json:"bytes,omitzero"`
}

// durable returns how many bytes of the segment are known to be durable.
func (h *highWater) durable(s segment) int {
	if s.first != h.Segment {
		return 0
	}
	if own, err := s.header(); err == nil && hex.EncodeToString(own.replica[:]) != h.Replica {
		return 0
	}
	return int(h.Bytes)
}

// reservedRecords is how many sequences one write of the file reserves.
const reservedRecords = 1 << 20

func highWaterPath(dir string) string { return filepath.Clean(dir) + ".highwater" }

// readHighWater returns the high-water mark of the log in dir. It is zero if there is none, as for
// a log of an earlier version, or a copy of the folder.
func readHighWater(dir string) (h highWater, err error) {
	data, err := os.ReadFile(highWaterPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(data, &h); err != nil {
		return highWater{}, fmt.Errorf("%s: %w: %w; restore it from a backup, or remove it: then "+
			"it cannot be told whether the end of the log is missing", highWaterPath(dir),
			errHighWater, err)
	}
	return h, nil
}

var errHighWater = errors.New("the high-water mark of the log is damaged")

// openHighWater reads the high-water mark. If it is damaged and the log has segments, it is
// removed, and the next record writes it again. Without segments it is the only witness of the
// records that are missing, so the log does not open.
func (l *Log) openHighWater(segs []segment) (err error) {
	l.high, err = readHighWater(l.dir)
	if !errors.Is(err, errHighWater) || len(segs) == 0 {
		return err
	}
	l.highWaterLost = true
	return durable.Remove(l.fs, highWaterPath(l.dir))
}

// missing reports that the newest segment is gone. It is nil if the newest of the segments is the
// one that the mark names, or if the mark belongs to another log.
func (h *highWater) missing(segs []segment) *Damage {
	if len(segs) > 0 {
		newest := segs[len(segs)-1]
		if newest.first >= h.Segment {
			return nil
		}
		own, err := newest.header()
		if err == nil && hex.EncodeToString(own.replica[:]) != h.Replica {
			return nil
		}
	}
	if h.Segment == 0 {
		return nil
	}
	return &Damage{
		File:   filepath.Base(segmentPath("", h.Segment)),
		Reason: fmt.Sprintf("this segment is missing, with all records from %d on", h.Segment),
	}
}

// reserve makes sure that the high-water mark covers the active segment and the sequences below
// next, before a record with such a sequence is written.
func (l *Log) reserve(next uint64) error {
	if l.high.Segment == l.activeFirst && next <= l.high.Limit {
		return nil
	}
	return l.writeHighWater(highWater{
		Replica: l.replicaID, Segment: l.activeFirst, Limit: next + reservedRecords,
	})
}

// recordSize writes the size of the newest segment when the log is closed. Without it, damage at
// its end is taken for an incomplete batch.
func (l *Log) recordSize() error {
	if l.abandoned || l.high.Segment == 0 || l.high.Bytes > 0 {
		return nil
	}
	st, err := os.Stat(segmentPath(l.dir, l.high.Segment))
	if err != nil {
		return err
	}
	h := l.high
	h.Bytes = st.Size()
	return l.writeHighWater(h)
}

// forgetSize undoes recordSize, because the segment is about to be rewritten.
func (l *Log) forgetSize() error {
	if l.high.Bytes == 0 {
		return nil
	}
	h := l.high
	h.Bytes = 0
	return l.writeHighWater(h)
}

func (l *Log) writeHighWater(h highWater) error {
	data, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(l.fs, highWaterPath(l.dir), data); err != nil {
		return err
	}
	l.high = h
	return nil
}
