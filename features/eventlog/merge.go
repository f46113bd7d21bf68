package eventlog

import (
	"cmp"
	"iter"

	"relish/features/event"
)

// Merge yields the records of several replicas' logs as one, in the order in which state is made: by arrival, then
// replica, then sequence. Each log's own order is kept. Errors are as for Read.
func Merge(dirs ...string) iter.Seq2[event.Record, error] {
	return func(yield func(event.Record, error) bool) {
		var logs []*cursor
		defer func() {
			for _, l := range logs {
				l.stop()
			}
		}()
		for _, dir := range dirs {
			l := &cursor{}
			l.next, l.stop = iter.Pull2(Read(dir, 1))
			if l.advance(); l.ok {
				logs = append(logs, l)
			} else {
				l.stop()
			}
		}
		for len(logs) > 0 {
			first := 0
			for i := range logs {
				if logs[i].before(logs[first]) {
					first = i
				}
			}
			l := logs[first]
			if !yield(l.rec, l.err) {
				return
			}
			if l.advance(); !l.ok {
				l.stop()
				logs = append(logs[:first], logs[first+1:]...)
			}
		}
	}
}

// cursor is the next record of a log.
type cursor struct {
	next func() (event.Record, error, bool)
	stop func()
	rec  event.Record
	err  error
	ok   bool
}

func (h *cursor) advance() { h.rec, h.err, h.ok = h.next() }

// before says whose record comes first. Damage, which has no arrival, is told at once.
func (h *cursor) before(o *cursor) bool {
	if h.err != nil || o.err != nil {
		return h.err != nil && o.err == nil
	}
	return cmp.Or(cmp.Compare(h.rec.Arrival, o.rec.Arrival), cmp.Compare(h.rec.Replica, o.rec.Replica), cmp.Compare(h.rec.Seq, o.rec.Seq)) < 0
}
