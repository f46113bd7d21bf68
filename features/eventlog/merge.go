package eventlog

import (
	"cmp"
	"iter"

	"relish/features/event"
)

// Merge yields the records of several replicas' logs in the order in which state is computed: by
// arrival, then replica, then sequence. It keeps the order within each log. It yields errors as
// Read does.
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

// cursor is a position in one log.
type cursor struct {
	next func() (event.Record, error, bool)
	stop func()
	rec  event.Record
	err  error
	ok   bool
}

func (c *cursor) advance() { c.rec, c.err, c.ok = c.next() }

// before reports whether c comes first. Damage has no arrival and comes at once.
func (c *cursor) before(o *cursor) bool {
	if c.err != nil || o.err != nil {
		return c.err != nil && o.err == nil
	}
	return cmp.Or(
		cmp.Compare(c.rec.Arrival, o.rec.Arrival), cmp.Compare(c.rec.Replica, o.rec.Replica),
		cmp.Compare(c.rec.Seq, o.rec.Seq),
	) < 0
}
