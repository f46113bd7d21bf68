package embeddings

import (
	"container/list"
	"sync"
	"time"

	"relish/ranker"
)

// Lanes of the queue, most urgent first: a lane is served only while those before it are empty.
const (
	priorityRequest    = iota // a request waits
	priorityBulk              // an import waits
	priorityBackground        // nobody waits
	priorities
)

const (
	// minLookahead is the least number of texts that a lane keeps tokenized ahead of the runs: enough to
	// find batches of like length, few enough that the first run starts soon.
	minLookahead = 128
	// tokenizeGroup is how many texts a worker tokenizes at a time.
	tokenizeGroup = 16
	// maxRequested bounds the texts that requests wait for.
	maxRequested = 100_000
	// maxOvertakes is how many windows of texts may be tokenized after one before its batch is no longer
	// held back for being short.
	maxOvertakes = 4
	// failureMemory and maxFailed bound the memory of texts that could not be encoded.
	failureMemory = time.Minute
	maxFailed     = 4096
)

// job is one text on its way to a vector; there is at most one per key. Fields below the line
// belong to the queue's lock, those above are fixed or belong to the worker that holds the flight.
type job struct {
	key    uint64
	item   *ranker.ItemInfo // whose text it is, nil when text is set
	text   string
	tokens []int32
	vec    []float32
	err    error

	bucket     int
	priority   int
	seq        uint64        // order of being tokenized, within its lane
	keep       bool          // an item's text: goes to the table, and to the background when given up
	withWorker bool          // by a worker: in no list
	list       *list.List    // where it waits
	element    *list.Element // its place there
	waiters    []*waiter
	done       bool
}

func (f *job) body() string {
	if f.item != nil {
		return f.item.Body()
	}
	return f.text
}

// waiter is one caller waiting for some flights.
type waiter struct {
	left int
	done chan struct{} // closed when left reaches 0
}

type jobList struct {
	untokenized list.List // not tokenized yet
	ready       map[int]*list.List
	waiting     int // flights in ready
	seq         uint64
	tokenizing  int // flights with a worker that tokenizes
}

func (l *jobList) empty() bool { return l.untokenized.Len()+l.waiting+l.tokenizing == 0 }

// queue decides what is encoded next. It is the one owner of all waiting texts: callers join or
// start flights, workers ask it for the next thing to do, and everything happens under its lock.
// There are no timers: a free worker takes what is there, and batches form while workers are busy.
type queue struct {
	model              Model
	backgroundLimit    int // texts waiting in the background lane, at most
	lookahead          int // texts tokenized ahead in each lane: two of the largest batches, or minWindow
	parallel           int // runs at once
	backgroundParallel int // runs at once for the background lane

	mu        sync.Mutex
	workReady sync.Cond
	jobs      map[uint64]*job
	lists     [priorities]jobList
	running   [priorities]int
	failed    map[uint64]time.Time // until when a text is not tried again
	drainers  []chan struct{}
	abandoned uint64
	dropped   uint64
	closed    bool
}

func newQueue(m Model, limit int) *queue {
	q := &queue{model: m, backgroundLimit: limit, parallel: max(1, m.Parallel()),
		jobs: map[uint64]*job{}, failed: map[uint64]time.Time{}}
	// One session stays free for requests where there are several.
	q.backgroundParallel = max(1, q.parallel-1)
	q.lookahead = max(minLookahead, 2*q.batchRows(m.Bucket(1)))
	q.workReady.L = &q.mu
	for l := range q.lists {
		q.lists[l].ready = map[int]*list.List{}
	}
	return q
}

// join adds w (nil: nobody waits) to the flight of key, starting one if there is none, and returns
// it; nil when the text failed lately, or with full set when the lane is. Callers hold mu.
func (q *queue) join(w *waiter, lane int, key uint64, it *ranker.ItemInfo, text string) (f *job, full bool) {
	f = q.jobs[key]
	if f == nil {
		if until, ok := q.failed[key]; q.closed || ok && time.Now().Before(until) {
			return nil, false
		}
		if q.full(lane) {
			q.dropped++
			return nil, true
		}
		f = &job{key: key, item: it, text: text, priority: lane}
		q.jobs[key] = f
		q.insert(f)
	}
	f.keep = f.keep || it != nil
	// One caller joins all its texts under one lock, so its own waiter can only be the last.
	if n := len(f.waiters); w != nil && (n == 0 || f.waiters[n-1] != w) {
		f.waiters = append(f.waiters, w)
		w.left++
	}
	if lane < f.priority {
		q.detach(f)
		f.priority = lane
		q.insert(f)
	}
	return f, false
}

// full reports whether a lane takes no further text. Callers of the bulk lane bound themselves.
func (q *queue) full(lane int) bool {
	n := q.lists[lane].untokenized.Len()
	return lane == priorityBackground && n >= q.backgroundLimit || lane == priorityRequest && n >= maxRequested
}

// insert puts a flight at the end of its lane, among the tokenized ones or the others. One that a
// worker holds is placed when the worker is done.
func (q *queue) insert(f *job) {
	if f.withWorker {
		return
	}
	l := &q.lists[f.priority]
	f.list = &l.untokenized
	if f.tokens != nil {
		if l.ready[f.bucket] == nil {
			l.ready[f.bucket] = list.New()
		}
		f.list = l.ready[f.bucket]
		l.waiting++
		l.seq++
		f.seq = l.seq
	}
	f.element = f.list.PushBack(f)
	q.workReady.Broadcast()
}

// detach takes a flight out of its lane, unless a worker holds it.
func (q *queue) detach(f *job) {
	if f.withWorker {
		return
	}
	l := &q.lists[f.priority]
	f.list.Remove(f.element)
	if f.list != &l.untokenized {
		l.waiting--
	}
	f.list, f.element = nil, nil
}

// abandon takes w off the flights, its caller having given up. What nobody waits for any more goes
// to the background, if it is an item's text and there is room, else it is dropped.
func (q *queue) abandon(w *waiter, flights []*job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, f := range flights {
		if f.done {
			continue
		}
		for i := range f.waiters {
			if f.waiters[i] == w {
				f.waiters = append(f.waiters[:i], f.waiters[i+1:]...)
				break
			}
		}
		if len(f.waiters) > 0 || f.priority == priorityBackground {
			continue
		}
		q.abandoned++
		q.demote(f)
	}
}

// demote moves a flight without waiters to the background or drops it. Callers hold mu.
func (q *queue) demote(f *job) {
	full := q.full(priorityBackground)
	q.detach(f)
	f.priority = priorityBackground
	if !f.withWorker && (full || !f.keep) {
		if f.keep {
			q.dropped++
		}
		q.finish(f, errGivenUp)
		return
	}
	if !f.withWorker {
		f.tokens = nil // the window bounds tokenized texts, so it waits untokenized
	}
	q.insert(f)
}

// finish finishes a flight, with f.vec or an error, and releases its waiters. Callers hold mu.
func (q *queue) finish(f *job, err error) {
	delete(q.jobs, f.key)
	f.done, f.err, f.tokens = true, err, nil
	for _, w := range f.waiters {
		if w.left--; w.left == 0 {
			close(w.done)
		}
	}
	f.waiters = nil
	if len(q.jobs) == 0 {
		for _, c := range q.drainers {
			close(c)
		}
		q.drainers = nil
	}
}

// rememberFailure keeps a text that could not be encoded from being tried again for a while. Callers hold mu.
func (q *queue) rememberFailure(key uint64) {
	now := time.Now()
	if len(q.failed) >= maxFailed {
		for k, until := range q.failed {
			if now.After(until) {
				delete(q.failed, k)
			}
		}
		for k := range q.failed {
			if len(q.failed) < maxFailed {
				break
			}
			delete(q.failed, k)
		}
	}
	q.failed[key] = now.Add(failureMemory)
}

// drained returns a channel that is closed once nothing waits or runs.
func (q *queue) drained() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := make(chan struct{})
	if len(q.jobs) == 0 {
		close(c)
	} else {
		q.drainers = append(q.drainers, c)
	}
	return c
}

// shutDown ends every waiting flight; workers finish what they hold and get nothing more.
func (q *queue) shutDown() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, f := range q.jobs {
		if !f.withWorker {
			q.detach(f)
			q.finish(f, ErrClosed)
		}
	}
	q.workReady.Broadcast()
}
