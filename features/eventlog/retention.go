package eventlog

import (
	"os"

	"relish/internal/durable"
)

// applyRetention drops sealed segments by size and age. It counts a failure, and tries again later.
// With Options.BeforeDrop it runs in the background, because that may take long. Only the owner
// goroutine calls it.
func (l *Log) applyRetention() {
	if l.opt.RetainBytes == 0 && l.opt.RetainAge == 0 || !l.rewrite.TryLock() {
		return // nothing to do, or a rewrite is running; the next segment tries again
	}
	oldest := l.now() - l.opt.RetainAge.Milliseconds()
	if err := l.measureSize(); err != nil {
		l.failures.Add(1)
	}
	drop := func() {
		defer l.rewrite.Unlock()
		if err := l.dropExpired(oldest); err != nil {
			l.failures.Add(1)
		}
	}
	if l.opt.BeforeDrop == nil {
		drop()
		return
	}
	l.background.Go(drop)
}

// dropExpired drops the sealed segments that are too old or too much. oldest is the arrival, in
// Unix ms, before which records need not be kept. The caller holds rewrite.
func (l *Log) dropExpired(oldest int64) error {
	segs, err := segments(l.dir)
	if err != nil {
		return err
	}
	total, drop := l.total.Load(), 0
	sizes := make([]int64, len(segs))
	for ; drop+1 < len(segs) && l.expired(segs[drop+1], total, oldest); drop++ {
		st, err := os.Stat(segs[drop].path)
		if err != nil {
			return err
		}
		sizes[drop] = st.Size()
		total -= st.Size()
	}
	if drop == 0 {
		return nil
	}
	if l.opt.BeforeDrop != nil {
		if err := l.opt.BeforeDrop(segs[drop].first); err != nil {
			return err
		}
	}
	for i, s := range segs[:drop] {
		// One after the other: a power loss must not bring back an older segment than one that it
		// leaves out.
		if err := durable.Remove(l.fs, s.path); err != nil {
			return err
		}
		l.total.Add(-sizes[i])
		l.count.Add(-1)
		l.first.Store(segs[i+1].first)
	}
	return nil
}

// expired reports whether the segment before next may be dropped if the log has total bytes.
func (l *Log) expired(next segment, total, oldest int64) bool {
	if l.opt.RetainBytes > 0 && total > l.opt.RetainBytes {
		return true
	}
	if l.opt.RetainAge == 0 {
		return false
	}
	h, err := next.header()
	return err == nil && h.created < oldest
}
