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

// nextFrom prefers a full run. Otherwise it tokenizes more texts, which may fill one. If texts of
// any lengths share a run, it tokenizes first: the more texts there are, the more have similar
// lengths. It starts a run that is not full only if nothing could fill it.
func (q *queue) nextFrom(priority int) task {
	l := &q.lists[priority]
	running := q.running[priorityRequest] + q.running[priorityBulk] + q.running[priorityBackground]
	free := max(1, q.model.Parallel()) - running
	if priority == priorityBackground { // if there are several sessions, one is left to requests
		free = min(free, max(1, q.model.Parallel()-1)-q.running[priority])
	}
	canTokenize := l.untokenized.Len() > 0 && l.waiting < q.lookahead
	var run plannedRun
	if free > 0 && l.waiting > 0 && (!canTokenize || !q.model.MixesBuckets()) {
		if run = q.chooseRun(priority, free); run.full {
			return q.startRun(priority, run)
		}
	}
	if canTokenize {
		jobs := q.takeJobs(nil, &l.untokenized, tokenizeGroup)
		l.tokenizing += len(jobs)
		return task{jobs: jobs, priority: priority}
	}
	if run.end > 0 && l.tokenizing == 0 {
		return q.startRun(priority, run)
	}
	return task{}
}

// minSharedRun is the least limit of a run, in padded tokens, if sessions share the texts of
// requests. A run of 32 tokens takes a fifth of the time of 256 tokens.
const minSharedRun = 32

// chooseRun divides the tokenized texts of a priority into runs and returns the next one: of the
// full runs the one with the oldest text, or the one with the oldest text of all if no run is full.
// A text that many later ones have overtaken goes first, and its run counts as full. The texts that
// requests wait for are shared among the sessions that are free, once all of them are tokenized.
func (q *queue) chooseRun(priority, free int) plannedRun {
	l := &q.lists[priority]
	tokens := 0
	q.plan.reset()
	for length := range l.ready {
		if n := l.ready[length].Len(); n > 0 {
			padded := q.model.Bucket(length)
			q.plan.add(n, padded)
			tokens += n * padded
		}
	}
	limit := q.model.BatchTokens()
	if priority == priorityRequest && l.untokenized.Len()+l.tokenizing == 0 {
		limit = min(limit, max(minSharedRun, (tokens+free-1)/free))
	}
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
