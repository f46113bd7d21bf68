package eventlog

import (
	"context"
	"errors"
	"fmt"
	"os"

	"relish/features/event"
	"relish/internal/durable"
)

// createSegment writes data to a temporary file, makes it durable and renames it to path. The file
// stays open.
func (l *Log) createSegment(path string, data []byte) (durable.File, error) {
	f, err := l.fs.Create(path + durable.TempSuffix)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.fs.Rename(path+durable.TempSuffix, path)
	}
	if err == nil {
		err = l.fs.SyncDir(l.dir)
	}
	if err != nil {
		err = errors.Join(err, f.Close())
		_ = l.fs.Remove(path + durable.TempSuffix) // it may be renamed already; Open removes it too
		return nil, err
	}
	return f, nil
}

// openSegment opens the segment for the next record. It may replace a segment with the same first
// sequence, which a failed append left without a durable record.
func (l *Log) openSegment() error {
	// No record of an earlier segment arrived after created. Retention and recovery rely on it.
	h := header{
		replica: l.replica,
		first:   l.next.Load(),
		created: l.now(),
	}
	path := segmentPath(l.dir, h.first)
	f, err := l.createSegment(path, h.appendTo(nil))
	if err != nil {
		return err
	}
	l.active, l.activeBytes = f, headerSize
	l.activePath, l.activeFirst, l.abandoned = path, h.first, false
	l.applyRetention()
	return l.measureSize()
}

// checkLinked fails if the active segment no longer has its name. Somebody has then removed or
// replaced the file or its folder, and what is synced to the file is lost when it is closed.
func (l *Log) checkLinked() error {
	written, err := l.active.Stat()
	if err != nil {
		return err
	}
	named, err := os.Stat(l.activePath)
	if err != nil || !os.SameFile(written, named) {
		return fmt.Errorf("%s was removed or replaced while the service wrote to it: put the log "+
			"back and restart the service", l.activePath)
	}
	return nil
}

// sealSegment closes the active segment. The next record opens another one.
func (l *Log) sealSegment() error {
	if l.active == nil {
		return nil
	}
	err := l.active.Close()
	l.active = nil
	return err
}

// abandonSegment gives up the active segment after a failed write or fsync. Its errors do not
// matter: if the file cannot be truncated, the next segment still hides what was not acknowledged.
func (l *Log) abandonSegment() {
	if l.active == nil {
		return
	}
	_ = l.active.Truncate(l.activeBytes)
	_ = l.active.Sync()
	_ = l.active.Close()
	l.active, l.abandoned = nil, true
}

// Rewrite replaces every record for which drop returns true by an empty frame with the same
// sequence, and returns the number of these records. It seals the active segment first, so that it
// covers all records that were acknowledged before the call. Reads and appends continue meanwhile.
// A damaged segment stays as it is and the error (a *Damage) names it; the other segments are
// rewritten.
func (l *Log) Rewrite(ctx context.Context, drop func(*event.Record) bool) (removed int, err error) {
	r := &request{seal: true, done: make(chan struct{})}
	if err := l.enqueue(r); err != nil {
		return 0, err
	}
	<-r.done
	if r.err != nil {
		return 0, r.err
	}
	l.rewrite.Lock()
	defer l.rewrite.Unlock()
	segs, err := segments(l.dir)
	if err != nil {
		return 0, err
	}
	var errs []error
	for i, s := range segs {
		// Later appends may have opened a segment. The owner writes to it, so Rewrite leaves it
		// alone.
		if s.first > r.upTo {
			break
		}
		if ctx.Err() != nil {
			errs = append(errs, ctx.Err())
			break
		}
		end := r.upTo + 1
		if i+1 < len(segs) {
			end = min(end, segs[i+1].first)
		}
		n, err := l.rewriteSegment(s, end, drop)
		removed += n
		if err != nil {
			errs = append(errs, fmt.Errorf("rewrite %s: %w", s.name(), err))
		}
	}
	return removed, errors.Join(errs...)
}

func (l *Log) rewriteSegment(
	s segment,
	end uint64,
	drop func(*event.Record) bool,
) (removed int, err error) {
	data, err := os.ReadFile(s.path)
	if err != nil {
		return 0, err
	}
	h, _ := parseHeader(data) // the scanner reports damage
	out := h.appendTo(make([]byte, 0, len(data)))
	var damage *Damage
	sc := scanner{dir: l.dir, each: func(sc *scanner, f frame) bool {
		payload := f.payload
		if len(payload) > 0 {
			rec, err := sc.record(f)
			if err == nil && drop(&rec) {
				payload = nil
				removed++
			}
		}
		out = appendFrame(out, f.seq, f.arrival, payload)
		return true
	}, damaged: func(d *Damage) bool { damage = d; return false }}
	if _, err := sc.segment(s, data, end); err != nil {
		return 0, err
	}
	// A segment that only lacks records at its end is intact: they are in a lost segment.
	if size := len(data); damage != nil && (damage.Offset < int64(size) || sc.end < size) {
		return 0, damage
	}
	if len(out) == len(data) {
		return 0, nil // nothing to drop, and no leftovers of a failed append
	}
	f, err := l.createSegment(s.path, out)
	if err != nil {
		return 0, err
	}
	l.total.Add(int64(len(out) - len(data)))
	return removed, f.Close()
}
