package embeddings

import "container/list"

// task is what a worker does next: tokenize the flights or run them as one batch.
type task struct {
	flights []*flight
	lane    int
	run     bool
}

// next waits for work; ok is false once the queue is closed. The task's flights are the worker's
// until it hands them to tokenized or ran.
func (q *queue) next() (t task, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.closed {
			return task{}, false
		}
		for lane := range q.lanes {
			if t := q.take(lane); t.flights != nil {
				return t, true
			}
			if !q.lanes[lane].empty() {
				break // less urgent lanes wait, even where this one has nothing for this worker
			}
		}
		q.work.Wait()
	}
}

// take prefers a full batch, then tokenizing more, and runs a batch that is not full only when
// nothing could fill it.
func (q *queue) take(lane int) task {
	l := &q.lanes[lane]
	total := q.running[laneRequest] + q.running[laneBulk] + q.running[laneBackground]
	free := total < q.parallel && (lane != laneBackground || q.running[lane] < q.background)
	if free {
		if b := q.pick(l, true); b != nil {
			return q.start(lane, b)
		}
	}
	if l.raw.Len() > 0 && l.waiting < q.window {
		fs := q.pull(&l.raw, tokenizeGroup)
		l.tokenizing += len(fs)
		return task{flights: fs, lane: lane}
	}
	if free && l.tokenizing == 0 {
		if b := q.pick(l, false); b != nil {
			return q.start(lane, b)
		}
	}
	return task{}
}

// pick chooses the length bucket to run: one that fills a batch, the oldest first, or, if
// full is false, the one whose first text is the oldest. A text that many later ones have overtaken
// goes first all the same.
func (q *queue) pick(l *laneState, full bool) *list.List {
	var best, oldest *list.List
	for bucket, b := range l.ready {
		if b.Len() == 0 {
			continue
		}
		if oldest == nil || first(b).seq < first(oldest).seq {
			oldest = b
		}
		if b.Len() >= q.rows(bucket) && (best == nil || first(b).seq < first(best).seq) {
			best = b
		}
	}
	if oldest != nil && (!full || l.seq-first(oldest).seq > patience*uint64(q.window)) {
		return oldest
	}
	return best
}

func first(l *list.List) *flight { return l.Front().Value.(*flight) }

// rows is how many texts of a bucket one run holds.
func (q *queue) rows(bucket int) int { return max(1, q.model.BatchTokens()/max(1, bucket)) }

func (q *queue) start(lane int, b *list.List) task {
	q.running[lane]++
	return task{flights: q.pull(b, q.rows(first(b).bucket)), lane: lane, run: true}
}

// pull takes up to n flights off a list for a worker.
func (q *queue) pull(from *list.List, n int) []*flight {
	fs := make([]*flight, 0, min(n, from.Len()))
	for len(fs) < cap(fs) {
		f := first(from)
		q.lift(f)
		f.held = true
		fs = append(fs, f)
	}
	return fs
}

// tokenized takes flights back from a worker that has filled in their tokens. A text without tokens
// has no vector.
func (q *queue) tokenized(t task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lanes[t.lane].tokenizing -= len(t.flights)
	for _, f := range t.flights {
		f.held = false
		switch {
		case q.closed:
			q.end(f, ErrClosed)
		case len(f.tokens) == 0:
			q.remember(f.key)
			q.end(f, errNoTokens)
		case len(f.waiters) == 0 && !f.keep:
			q.end(f, errGivenUp)
		default:
			f.bucket = q.model.Bucket(len(f.tokens))
			q.place(f)
		}
	}
	q.work.Broadcast()
}

// ran takes flights back from a worker that has filled in vec or err.
func (q *queue) ran(t task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running[t.lane]--
	for _, f := range t.flights {
		if f.err != nil && !q.closed {
			q.remember(f.key)
		}
		q.end(f, f.err)
	}
	q.work.Broadcast()
}
