package eventlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"relish/features/event"
)

// file is what the log needs of an open segment; fileSystem makes them. Tests put failing ones in.
type file interface {
	Write(p []byte) (int, error)
	Sync() error
	Close() error
}

type fileSystem interface {
	create(path string) (file, error)
	rename(from, to string) error
	syncDir(dir string) error
}

type osFS struct{}

func (osFS) create(path string) (file, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
}

func (osFS) rename(from, to string) error { return os.Rename(from, to) }

func (osFS) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// begin opens the segment that the next record goes to. It takes its name by a rename, which also
// replaces a segment of the same first sequence that a failed append left without a durable record.
func (l *Log) begin() error {
	h := header{replica: l.replica, first: l.next.Load(), created: l.opt.Clock().UnixMilli()}
	path := segmentPath(l.dir, h.first)
	if st, err := os.Stat(path); err == nil {
		l.total.Add(-st.Size())
		l.count.Add(-1)
	}
	f, err := l.fs.create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(h.append(nil))
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.fs.rename(path+".new", path)
	}
	if err == nil {
		err = l.fs.syncDir(l.dir)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.active, l.activeFirst, l.activeBytes = f, h.first, headerSize
	l.total.Add(headerSize)
	l.count.Add(1)
	return l.retain()
}

// seal closes the active segment; the next record opens another.
func (l *Log) seal() error {
	if l.active == nil {
		return nil
	}
	err := l.active.Close()
	l.active = nil
	return err
}

// abandon gives up a segment whose write or fsync failed.
func (l *Log) abandon() {
	if l.active != nil {
		_ = l.active.Close() // its error would tell nothing new
		l.active = nil
	}
}

// retain drops sealed segments by size and age.
func (l *Log) retain() error {
	if l.opt.RetainBytes == 0 && l.opt.RetainAge == 0 {
		return nil
	}
	if !l.rewrite.TryLock() {
		return nil // a rewrite is under way; the next segment asks again
	}
	defer l.rewrite.Unlock()
	segs, err := segments(l.dir)
	if err != nil {
		return err
	}
	oldest := l.opt.Clock().Add(-l.opt.RetainAge)
	for i, s := range segs[:len(segs)-1] {
		st, err := os.Stat(s.path)
		if err != nil {
			return err
		}
		// A segment's last record arrived when its file was last written.
		tooOld := l.opt.RetainAge > 0 && st.ModTime().Before(oldest)
		tooMuch := l.opt.RetainBytes > 0 && l.total.Load() > l.opt.RetainBytes
		if !tooOld && !tooMuch {
			return nil
		}
		if err := os.Remove(s.path); err != nil {
			return err
		}
		l.total.Add(-st.Size())
		l.count.Add(-1)
		l.first.Store(segs[i+1].first)
	}
	return nil
}

// Rewrite replaces every record of which drop says so by an empty frame that keeps its sequence, and
// returns how many. It seals the active segment first, so that all records acknowledged before the
// call are looked at. Readers and appends go on meanwhile.
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
	upTo := l.LastSeq()
	segs, err := segments(l.dir)
	if err != nil {
		return 0, err
	}
	for i, s := range segs {
		if ctx.Err() != nil {
			return removed, ctx.Err()
		}
		if s.first > upTo {
			break
		}
		end := upTo + 1
		if i+1 < len(segs) {
			end = min(end, segs[i+1].first)
		}
		n, err := l.rewriteSegment(s, end, drop)
		removed += n
		if err != nil {
			return removed, fmt.Errorf("rewriting %s: %w", filepath.Base(s.path), err)
		}
	}
	return removed, nil
}

func (l *Log) rewriteSegment(s segment, end uint64, drop func(*event.Record) bool) (removed int, err error) {
	data, err := os.ReadFile(s.path)
	if err != nil {
		return 0, err
	}
	h, err := parseHeader(data)
	if err != nil {
		return 0, err
	}
	out := h.append(make([]byte, 0, len(data)))
	var damage *Damage
	sc := scanner{each: func(replica string, f frame) bool {
		payload := f.payload
		if len(payload) > 0 {
			e, err := event.DecodeLog(payload)
			rec := event.Record{Seq: f.seq, Arrival: f.arrival, Replica: replica, Event: e}
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
	if damage != nil {
		return 0, damage
	}
	if removed == 0 {
		return 0, nil
	}
	return removed, l.replace(s.path, out, int64(len(out)-len(data)))
}

// replace puts new bytes in a segment's place, keeping its time, which retention goes by.
func (l *Log) replace(path string, data []byte, grown int64) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := l.fs.create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Chtimes(path+".new", time.Time{}, st.ModTime()); err != nil {
		return err
	}
	if err := l.fs.rename(path+".new", path); err != nil {
		return err
	}
	l.total.Add(grown)
	return l.fs.syncDir(l.dir)
}
