package eventlog

import (
	"cmp"
	"iter"

	"relish/features/event"
)

// Merge reads the logs of several replicas as one, by (arrival, replica, sequence): the order in which
// shared state is applied. Damage comes in its log's turn. One log is read as by Read.
func Merge(dirs ...string) iter.Seq2[event.Record, error] {
	if len(dirs) == 1 {
		return Read(dirs[0], 1)
	}
	return func(yield func(event.Record, error) bool) {
		heads := make([]*head, 0, len(dirs))
		for _, dir := range dirs {
			next, stop := iter.Pull2(Read(dir, 1))
			defer stop()
			if h := (&head{next: next}); h.advance() {
				heads = append(heads, h)
			}
		}
		for len(heads) > 0 {
			first := 0
			for i, h := range heads {
				if h.before(heads[first]) {
					first = i
				}
			}
			h := heads[first]
			if !yield(h.rec, h.err) {
				return
			}
			if !h.advance() {
				heads = append(heads[:first], heads[first+1:]...)
			}
		}
	}
}

// head is a log's next record.
type head struct {
	next func() (event.Record, error, bool)
	rec  event.Record
	err  error
}

func (h *head) advance() (ok bool) {
	h.rec, h.err, ok = h.next()
	return ok
}

// before puts damage, which has no place, before all.
func (h *head) before(o *head) bool {
	if (h.err != nil) != (o.err != nil) {
		return h.err != nil
	}
	return cmp.Or(cmp.Compare(h.rec.Arrival, o.rec.Arrival), cmp.Compare(h.rec.Replica, o.rec.Replica), cmp.Compare(h.rec.Seq, o.rec.Seq)) < 0
}
