package embeddings

import "container/list"

// task is what a worker does next: tokenize the flights or run them as one batch.
type task struct {
	jobs     []*job
	priority int
	run      bool
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
		for lane := range q.lists {
			if t := q.nextFrom(lane); t.jobs != nil {
				return t, true
			}
			if !q.lists[lane].empty() {
				break // less urgent lanes wait, even where this one has nothing for this worker
			}
		}
		q.workReady.Wait()
	}
}

// nextFrom prefers a full batch, then tokenizing more, and runs a batch that is not full only when
// nothing could fill it.
func (q *queue) nextFrom(lane int) task {
	l := &q.lists[lane]
	total := q.running[priorityRequest] + q.running[priorityBulk] + q.running[priorityBackground]
	free := total < q.parallel && (lane != priorityBackground || q.running[lane] < q.backgroundParallel)
	if free {
		if b := q.chooseBucket(l, true); b != nil {
			return q.startRun(lane, b)
		}
	}
	if l.untokenized.Len() > 0 && l.waiting < q.lookahead {
		fs := q.takeJobs(&l.untokenized, tokenizeGroup)
		l.tokenizing += len(fs)
		return task{jobs: fs, priority: lane}
	}
	if free && l.tokenizing == 0 {
		if b := q.chooseBucket(l, false); b != nil {
			return q.startRun(lane, b)
		}
	}
	return task{}
}

// chooseBucket chooses the length bucket to run: one that fills a batch, the oldest first, or, if
// full is false, the one whose first text is the oldest. A text that many later ones have overtaken
// goes first all the same.
func (q *queue) chooseBucket(l *jobList, full bool) *list.List {
	var best, oldest *list.List
	for bucket, b := range l.ready {
		if b.Len() == 0 {
			continue
		}
		if oldest == nil || first(b).seq < first(oldest).seq {
			oldest = b
		}
		if b.Len() >= q.batchRows(bucket) && (best == nil || first(b).seq < first(best).seq) {
			best = b
		}
	}
	if oldest != nil && (!full || l.seq-first(oldest).seq > maxOvertakes*uint64(q.lookahead)) {
		return oldest
	}
	return best
}

func first(l *list.List) *job { return l.Front().Value.(*job) }

// batchRows is how many texts of a bucket one run holds.
func (q *queue) batchRows(bucket int) int { return max(1, q.model.BatchTokens()/max(1, bucket)) }

func (q *queue) startRun(lane int, b *list.List) task {
	q.running[lane]++
	return task{jobs: q.takeJobs(b, q.batchRows(first(b).bucket)), priority: lane, run: true}
}

// takeJobs takes up to n flights off a list for a worker.
func (q *queue) takeJobs(from *list.List, n int) []*job {
	fs := make([]*job, 0, min(n, from.Len()))
	for len(fs) < cap(fs) {
		f := first(from)
		q.detach(f)
		f.withWorker = true
		fs = append(fs, f)
	}
	return fs
}

// tokenizeDone takes flights back from a worker that has filled in their tokens. A text without tokens
// has no vector.
func (q *queue) tokenizeDone(t task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lists[t.priority].tokenizing -= len(t.jobs)
	for _, f := range t.jobs {
		f.withWorker = false
		switch {
		case q.closed:
			q.finish(f, ErrClosed)
		case len(f.tokens) == 0:
			q.rememberFailure(f.key)
			q.finish(f, errNoTokens)
		case len(f.waiters) == 0 && !f.keep:
			q.finish(f, errGivenUp)
		default:
			f.bucket = q.model.Bucket(len(f.tokens))
			q.insert(f)
		}
	}
	q.workReady.Broadcast()
}

// runDone takes flights back from a worker that has filled in vec or err.
func (q *queue) runDone(t task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running[t.priority]--
	for _, f := range t.jobs {
		if f.err != nil && !q.closed {
			q.rememberFailure(f.key)
		}
		q.finish(f, f.err)
	}
	q.workReady.Broadcast()
}
