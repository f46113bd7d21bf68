package embeddings

import (
	"container/list"
	"errors"
)

// task is what a worker does next: tokenize the jobs, or run them as one batch.
type task struct {
	jobs     []*job
	priority int
	run      bool
}

// next waits for work. ok is false once the queue is closed. The task's jobs belong to the worker
// until it calls tokenizeDone or runDone.
func (q *queue) next() (t task, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.closed {
			return task{}, false
		}
		if t := q.nextOverdue(); t.jobs != nil {
			return t, true
		}
		for priority := range q.lists {
			if t := q.nextFrom(priority); t.jobs != nil {
				return t, true
			}
			if !q.lists[priority].empty() {
				break // lower priorities wait, even if this one has nothing for this worker
			}
		}
		q.workReady.Wait()
	}
}

// nextOverdue returns a task of a priority that higher ones have passed over too often. The task
// has no jobs if there is no such priority, or if it has nothing for this worker.
func (q *queue) nextOverdue() task {
	for priority := range q.lists {
		if q.passedOver[priority] < maxPassedOver {
			continue
		}
		if t := q.nextFrom(priority); t.jobs != nil {
			return t
		}
	}
	return task{}
}

// nextFrom prefers a full batch. Otherwise it tokenizes more texts, which may fill one. It runs a
// batch that is not full only if nothing could fill it.
func (q *queue) nextFrom(priority int) task {
	l := &q.lists[priority]
	running := q.running[priorityRequest] + q.running[priorityBulk] + q.running[priorityBackground]
	parallel := q.model.Parallel()
	free := running < max(1, parallel)
	if priority == priorityBackground { // if there are several sessions, one is left to requests
		free = free && q.running[priority] < max(1, parallel-1)
	}
	if free {
		if b := q.chooseBucket(l, true); b != nil {
			return q.startRun(priority, b)
		}
	}
	if l.untokenized.Len() > 0 && l.waiting < q.lookahead {
		jobs := q.takeJobs(&l.untokenized, tokenizeGroup)
		l.tokenizing += len(jobs)
		return task{jobs: jobs, priority: priority}
	}
	if free && l.tokenizing == 0 {
		if b := q.chooseBucket(l, false); b != nil {
			return q.startRun(priority, b)
		}
	}
	return task{}
}

// chooseBucket chooses the length bucket to run. If full is true, it is one that fills a batch,
// the one with the oldest text first; otherwise the one with the oldest text. A text that many
// later ones have overtaken always goes first.
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

// enoughForFullBatch is the least number of texts of which some fill a batch, whatever their
// lengths are. With this number of tokenized texts, a run that is not full has no better
// alternative.
func (q *queue) enoughForFullBatch() int {
	enough := 1
	for bucket := 0; bucket < q.model.MaxTokens(); {
		bucket = q.model.Bucket(bucket + 1)
		enough += q.batchRows(bucket) - 1
	}
	return enough
}

func (q *queue) startRun(priority int, b *list.List) task {
	q.running[priority]++
	q.passedOver[priority] = 0
	for lower := priority + 1; lower < priorities; lower++ {
		if !q.lists[lower].empty() {
			q.passedOver[lower]++
		}
	}
	return task{jobs: q.takeJobs(b, q.batchRows(first(b).bucket)), priority: priority, run: true}
}

// takeJobs takes up to n jobs off a list for a worker.
func (q *queue) takeJobs(from *list.List, n int) []*job {
	jobs := make([]*job, 0, min(n, from.Len()))
	for len(jobs) < cap(jobs) {
		j := first(from)
		q.detach(j)
		j.withWorker = true
		jobs = append(jobs, j)
	}
	return jobs
}

// tokenizeDone takes jobs back from a worker that has tokenized them, or has set their err. A text
// without tokens has no vector.
func (q *queue) tokenizeDone(t task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lists[t.priority].tokenizing -= len(t.jobs)
	for _, j := range t.jobs {
		j.withWorker = false
		switch {
		case q.closed:
			q.finish(j, ErrClosed)
		case j.err != nil:
			q.rememberFailure(j.key)
			q.finish(j, j.err)
		case len(j.tokens) == 0:
			q.tokenless.add(j.key)
			q.finish(j, errNoTokens)
		case len(j.waiters) == 0 && !j.keep:
			q.finish(j, errGivenUp)
		default:
			j.bucket = q.model.Bucket(len(j.tokens))
			q.insert(j)
		}
	}
	q.workReady.Broadcast()
}

// runDone takes jobs back from a worker that has set their vec or err.
func (q *queue) runDone(t task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running[t.priority]--
	for _, j := range t.jobs {
		if j.err != nil && !q.closed && !errors.Is(j.err, ErrFailing) {
			q.rememberFailure(j.key)
		}
		q.finish(j, j.err)
	}
	q.workReady.Broadcast()
}
