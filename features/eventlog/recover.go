package eventlog

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"relish/internal/durable"
)

// recoverLog finds the end of the log, cuts off an incomplete record, and makes the rest durable.
func (l *Log) recoverLog() error {
	if err := l.makeDir(); err != nil {
		return err
	}
	if err := durable.RemoveTemporary(l.fs, l.dir); err != nil {
		return err
	}
	segs, err := segments(l.dir)
	if err != nil {
		return err
	}
	if err := l.openHighWater(segs); err != nil {
		return err
	}
	if err := l.chooseReplica(); err != nil {
		return err
	}
	l.next.Store(1)
	for _, s := range segs {
		if h, err := s.header(); err == nil {
			l.replica, l.arrival = h.replica, max(l.arrival, h.created)
		}
	}
	if err := l.openUserKeys(segs); err != nil {
		return err
	}
	if len(segs) > 0 {
		if err := l.recoverNewest(segs[len(segs)-1]); err != nil {
			return err
		}
	}
	l.replicaID = fmt.Sprintf("%x", l.replica)
	if l.high.Replica != l.replicaID {
		l.high = highWater{} // of another log
	}
	l.skipMissing(segs)
	l.first.Store(l.next.Load())
	if len(segs) > 0 {
		l.first.Store(segs[0].first)
	}
	return l.measureSize()
}

// skipMissing finds out whether the end of the log is missing. New records then get sequences after
// those of the missing ones: a sequence is never used twice.
func (l *Log) skipMissing(segs []segment) {
	next, used := l.next.Load(), l.opt.UsedUpTo
	if l.missing == nil {
		l.missing = l.high.missing(segs)
	}
	if used >= next && l.missing == nil {
		l.missing = &Damage{
			File:   filepath.Base(segmentPath("", max(l.high.Segment, 1))),
			Reason: fmt.Sprintf("the log ends at record %d, and had record %d", next-1, used),
		}
	}
	if l.missing == nil {
		return
	}
	l.missingFrom = next
	l.next.Store(max(next, used+1, l.high.Limit))
}

// chooseReplica sets the id of a log without segments: the one that Options names, else that of
// the segments which are missing, else a random one.
func (l *Log) chooseReplica() error {
	for _, known := range []string{l.opt.Replica, l.high.Replica} {
		if id, err := hex.DecodeString(known); err == nil && len(id) == len(l.replica) {
			copy(l.replica[:], id)
			return nil
		}
	}
	_, err := rand.Read(l.replica[:])
	return err
}

// makeDir creates the log's folder and makes its name durable in the parent folder.
func (l *Log) makeDir() error {
	if _, err := os.Stat(l.dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return err
	}
	return l.fs.SyncDir(filepath.Dir(l.dir))
}

func (l *Log) recoverNewest(s segment) error {
	data, err := os.ReadFile(s.path)
	if err != nil {
		return err
	}
	var found *Damage
	sc := scanner{each: func(_ *scanner, f frame) bool {
		l.arrival = max(l.arrival, f.arrival)
		return true
	}, damaged: func(d *Damage) bool { found = d; return true }, // Read reports it
		durable: l.high.durable(s)}
	if _, err := sc.segment(s, data, 0); err != nil {
		return err
	}
	if found != nil && sc.end == headerSize && sc.durable == 0 {
		// The frames could be an incomplete end, and the next append would replace the segment.
		return fmt.Errorf("%w, or move it away to continue without its records", found)
	}
	l.next.Store(max(sc.next, s.first))
	if sc.durable > 0 { // nothing was being written
		if sc.end < sc.durable {
			l.missing = found
		}
		return nil
	}
	l.cutBytes = int64(len(data) - sc.end)
	return l.makeDurable(s.path, data[:sc.end])
}

// makeDurable truncates the segment to its intact bytes and makes them durable, whether or not an
// earlier fsync succeeded.
func (l *Log) makeDurable(path string, intact []byte) error {
	f, err := l.fs.Open(path)
	if err != nil {
		return err
	}
	_, err = f.Write(intact)
	if err == nil {
		err = f.Truncate(int64(len(intact)))
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("make %s durable: %w", filepath.Base(path), err)
	}
	return l.fs.SyncDir(l.dir)
}

// measureSize sets the size of the log to the sum of its files.
func (l *Log) measureSize() error {
	segs, err := segments(l.dir)
	if err != nil {
		return err
	}
	total, count := int64(0), int64(0)
	for _, s := range segs {
		st, err := os.Stat(s.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // retention has just dropped it
		}
		if err != nil {
			return err
		}
		total += st.Size()
		count++
	}
	l.total.Store(total)
	l.count.Store(count)
	return nil
}
