package embeddings

import (
	"container/list"
	"errors"
	"iter"
	"math"
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

// nextFrom prefers a full run. Otherwise it tokenizes more texts, which may fill one. It starts a
// run that is not full only if nothing could fill it.
func (q *queue) nextFrom(priority int) task {
	l := &q.lists[priority]
	running := q.running[priorityRequest] + q.running[priorityBulk] + q.running[priorityBackground]
	parallel := q.model.Parallel()
	free := running < max(1, parallel)
	if priority == priorityBackground { // if there are several sessions, one is left to requests
		free = free && q.running[priority] < max(1, parallel-1)
	}
	var run plannedRun
	if free && l.waiting > 0 {
		if run = q.chooseRun(l); run.full {
			return q.startRun(priority, run)
		}
	}
	if l.untokenized.Len() > 0 && l.waiting < q.lookahead {
		jobs := q.takeJobs(nil, &l.untokenized, tokenizeGroup)
		l.tokenizing += len(jobs)
		return task{jobs: jobs, priority: priority}
	}
	if run.end > 0 && l.tokenizing == 0 {
		return q.startRun(priority, run)
	}
	return task{}
}

// chooseRun divides the tokenized texts of a list into runs and returns the next one: of the full
// runs the one with the oldest text, or the one with the oldest text of all if no run is full. A
// text that many later ones have overtaken goes first, and its run counts as full.
func (q *queue) chooseRun(l *jobList) plannedRun {
	q.plan.reset()
	for length := range l.ready {
		if n := l.ready[length].Len(); n > 0 {
			q.plan.add(n, q.model.Bucket(length))
		}
	}
	limit := q.model.BatchTokens()
	q.plan.divide(limit, q.model.MixesBuckets())
	var full, oldest plannedRun
	fullSeq, oldestSeq := uint64(math.MaxUint64), uint64(math.MaxUint64)
	for end := l.waiting; end > 0; {
		run := q.plan.lastRun(end, limit)
		for list := range l.textsOf(run) {
			seq := first(list).seq
			if seq < oldestSeq {
				oldest, oldestSeq = run, seq
			}
			if run.full && seq < fullSeq {
				full, fullSeq = run, seq
			}
		}
		end = run.start
	}
	if l.seq-oldestSeq > maxOvertakes*uint64(q.lookahead) {
		oldest.full = true
		return oldest
	}
	if full.full {
		return full
	}
	return oldest
}

// textsOf yields the lists that have texts of a run, and how many of each the run has.
func (l *jobList) textsOf(run plannedRun) iter.Seq2[*list.List, int] {
	return func(yield func(*list.List, int) bool) {
		position := 0
		for length := range l.ready {
			begin := position
			position += l.ready[length].Len()
			n := min(position, run.end) - max(begin, run.start)
			if n > 0 && !yield(&l.ready[length], n) || position >= run.end {
				return
			}
		}
	}
}

func first(l *list.List) *job { return l.Front().Value.(*job) }

// enoughForFullBatch is the least number of texts of which some fill a run, whatever their lengths
// are. With this number of tokenized texts, a run that is not full has no better alternative.
func (q *queue) enoughForFullBatch() int {
	enough := 1
	for bucket := 0; bucket < q.model.MaxTokens(); {
		bucket = q.model.Bucket(bucket + 1)
		enough += max(1, q.model.BatchTokens()/bucket) - 1
	}
	return enough
}

func (q *queue) startRun(priority int, run plannedRun) task {
	q.running[priority]++
	q.passedOver[priority] = 0
	for lower := priority + 1; lower < priorities; lower++ {
		if !q.lists[lower].empty() {
			q.passedOver[lower]++
		}
	}
	t := task{priority: priority, run: true}
	l := &q.lists[priority]
	for list, n := range l.textsOf(run) {
		t.jobs = q.takeJobs(t.jobs, list, n)
	}
	return t
}

// takeJobs takes up to n jobs off a list for a worker, and appends them to jobs.
func (q *queue) takeJobs(jobs []*job, from *list.List, n int) []*job {
	for range min(n, from.Len()) {
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
