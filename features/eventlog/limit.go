package eventlog

import (
	"fmt"

	"relish/ranker"
)

// defaultMinFree is Options.MinFreeBytes if that is 0. On disks smaller than 20 times that much it
// is a 20th of the disk.
const defaultMinFree = 256 << 20

// checkLimit fails if the buffer would exceed MaxBytes or take space that MinFreeBytes keeps free,
// before anything is written. Once it has failed, it wants more room than at first, so that a full
// log does not accept and reject alternately.
func (l *Log) checkLimit() error {
	if l.lacksRoom() != nil {
		l.full.Store(true)
		l.applyRetention()
	}
	err := l.lacksRoom()
	l.full.Store(err != nil)
	return err
}

func (l *Log) lacksRoom() error {
	used, more := l.total.Load(), int64(len(l.buf))
	if limit := l.opt.MaxBytes; limit > 0 {
		if l.full.Load() {
			limit -= limit / 64
		}
		if used+more > limit {
			return fmt.Errorf("%w: %d of %d bytes are used; raise the limit or set a retention",
				ranker.ErrLogFull, used, l.opt.MaxBytes)
		}
	}
	free, total, err := l.fs.Space(l.dir)
	if err != nil {
		return nil //nolint:nilerr // an unknown disk may have space; a write finds out
	}
	keep := l.opt.MinFreeBytes
	if keep == 0 {
		keep = min(defaultMinFree, total/20)
	}
	if l.full.Load() {
		keep += keep / 4
	}
	if free-more < keep {
		return fmt.Errorf("%w: the disk has %d free bytes, and %d must stay free for checkpoints "+
			"and models; free space, or set a retention", ranker.ErrLogFull, free, keep)
	}
	return nil
}
