package embeddings

import (
	"container/list"
	"sync"
	"time"

	"relish/ranker"
)

// Priorities of jobs, the highest first. A priority is served while those before it have no jobs,
// and after maxPassedOver runs of theirs in any case.
const (
	priorityRequest    = iota // a request waits
	priorityBulk              // an import waits
	priorityBackground        // nobody waits
	priorities
)

const (
	// tokenizeGroup is how many texts a worker tokenizes at a time.
	tokenizeGroup = 16
	// jobOverhead is what a waiting text takes besides its bytes: the job and its tokens.
	jobOverhead = 512
	// maxOvertakes limits how long a text waits for a full batch. Once maxOvertakes times lookahead
	// later texts have been tokenized, the text runs even if its batch is not full.
	maxOvertakes = 4
	// maxPassedOver is how many runs of higher priorities start before a lower one that has jobs
	// gets the next run. Requests that never stop thus leave an import, or the background, a
	// quarter of the runs, and both of them together two fifths.
	maxPassedOver = 3
)

// job is one text on its way to a vector. There is at most one job for each key. The fields above
// the empty line are fixed, or belong to the worker that has the job. Those below belong to the
// queue's lock.
type job struct {
	key    uint64
	item   *ranker.ItemInfo // the item whose text it is; nil if text is set
	text   string
	size   int64 // see sizeOf
	tokens []int32
	vec    []float32
	err    error

	priority   int
	seq        uint64        // order of tokenization, within the priority
	keep       bool          // an item's text: is encoded even if its caller gives up
	store      bool          // a catalogue item's text: its vector is stored and shared
	accepted   bool          // the background has promised to encode it: is never dropped
	withWorker bool          // in no list
	list       *list.List    // the list that the job is in
	element    *list.Element // its element there
	waiters    []*waiter
	done       bool
}

// sizeOf returns about how much memory a waiting text takes.
func sizeOf(item *ranker.ItemInfo, text string) int64 {
	n := jobOverhead + len(text)
	if item != nil {
		n += len(item.Title()) + len(item.Text())
	}
	return int64(n)
}

func (j *job) body() string {
	if j.item != nil {
		return j.item.Body()
	}
	return j.text
}

// waiter is one caller that waits for some jobs.
type waiter struct {
	left int
	done chan struct{} // closed when left reaches 0
}

func newWaiter() *waiter { return &waiter{done: make(chan struct{})} }

// jobList holds the jobs of one priority.
type jobList struct {
	untokenized list.List
	ready       []list.List // tokenized jobs, by their number of tokens
	waiting     int         // number of jobs in ready
	seq         uint64      // of the last tokenized job
	tokenizing  int         // jobs with a worker that tokenizes
	bytes       int64       // of the jobs in untokenized and ready
}

func (l *jobList) empty() bool { return l.untokenized.Len()+l.waiting+l.tokenizing == 0 }

// queue decides what is encoded next. It owns all waiting texts: callers join a job or start one,
// and workers ask for the next task. Everything happens under one lock. There are no timers: a
// free worker takes what is there, and batches form while workers are busy.
type queue struct {
	model     Model
	limit     int64 // bytes of the texts that wait for requests, and of those in the background
	lookahead int   // texts tokenized before they run, for each priority; see enoughForFullBatch

	mu        sync.Mutex
	workReady sync.Cond
	jobs      map[uint64]*job // by key
	lists     [priorities]jobList
	plan      runPlan
	running   [priorities]int // runs
	// passedOver counts, for a priority with jobs, the runs of higher ones since its own last run.
	passedOver [priorities]int
	failed     map[uint64]time.Time // until when a text is not tried again
	tokenless  tokenlessTexts
	// failure is an ErrFailing if the encoder failed when it was used last, else nil. No text is
	// taken before failingUntil then.
	failure      error
	failingUntil time.Time
	drainers     []chan struct{} // closed when no job is left
	abandoned    uint64
	dropped      uint64
	closed       bool
}

func newQueue(m Model, limit int64) *queue {
	q := &queue{
		model: m, limit: limit, jobs: map[uint64]*job{},
		failed: map[uint64]time.Time{},
	}
	q.lookahead = q.enoughForFullBatch()
	q.workReady.L = &q.mu
	for i := range q.lists {
		q.lists[i].ready = make([]list.List, m.MaxTokens()+1)
	}
	return q
}

// join adds w (nil: nobody waits) to the job of key, and starts the job if there is none. It
// returns nil if the text failed recently, and nil with full set if the priority takes no more
// texts. Callers hold mu.
func (q *queue) join(
	w *waiter, priority int, key uint64, item *ranker.ItemInfo, text string,
) (j *job, full bool) {
	j = q.jobs[key]
	if j == nil {
		until, failed := q.failed[key]
		if q.closed || failed && time.Now().Before(until) || q.paused() != nil {
			return nil, false
		}
		if q.full(priority) {
			q.dropped++
			return nil, true
		}
		j = &job{
			key: key, item: item, text: text, size: sizeOf(item, text), priority: priority,
		}
		q.jobs[key] = j
		q.insert(j)
	}
	j.keep = j.keep || item != nil
	j.store = j.store || item != nil && !item.Transient
	j.accepted = j.accepted || priority == priorityBackground
	// A caller joins all its texts under one lock, so if its waiter is there, it is the last one.
	if n := len(j.waiters); w != nil && (n == 0 || j.waiters[n-1] != w) {
		j.waiters = append(j.waiters, w)
		w.left++
	}
	if priority < j.priority {
		q.detach(j)
		j.priority = priority
		q.insert(j)
	}
	return j, false
}

// full reports whether a priority takes no more texts. Callers of the bulk priority bound
// themselves.
func (q *queue) full(priority int) bool {
	return priority != priorityBulk && q.lists[priority].bytes >= q.limit
}

// insert puts a job at the end of a list of its priority. A job with a worker is inserted when the
// worker is done.
func (q *queue) insert(j *job) {
	if j.withWorker {
		return
	}
	l := &q.lists[j.priority]
	j.list = &l.untokenized
	if j.tokens != nil {
		j.list = &l.ready[len(j.tokens)]
		l.waiting++
		l.seq++
		j.seq = l.seq
	}
	l.bytes += j.size
	j.element = j.list.PushBack(j)
	q.workReady.Broadcast()
}

// detach takes a job out of its list, unless a worker has it.
func (q *queue) detach(j *job) {
	if j.withWorker {
		return
	}
	l := &q.lists[j.priority]
	l.bytes -= j.size
	j.list.Remove(j.element)
	if j.list != &l.untokenized {
		l.waiting--
	}
	j.list, j.element = nil, nil
}

// abandon removes w from the jobs, because its caller has given up. A job that nobody waits for
// any more goes to the background if it came from there, or if it is an item's text and there is
// room. Otherwise it is dropped.
func (q *queue) abandon(w *waiter, jobs []*job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range jobs {
		if j.done {
			continue
		}
		for i := range j.waiters {
			if j.waiters[i] == w {
				j.waiters = append(j.waiters[:i], j.waiters[i+1:]...)
				break
			}
		}
		if len(j.waiters) > 0 || j.priority == priorityBackground {
			continue
		}
		q.abandoned++
		q.demote(j)
	}
}

// demote moves a job without waiters to the background, or drops it. Callers hold mu.
func (q *queue) demote(j *job) {
	full := q.full(priorityBackground)
	q.detach(j)
	j.priority = priorityBackground
	if !j.withWorker && !j.accepted && (full || !j.keep) {
		if j.keep {
			q.dropped++
		}
		q.finish(j, errGivenUp)
		return
	}
	if !j.withWorker {
		j.tokens = nil // the lookahead bounds tokenized texts, so the job waits without tokens
	}
	q.insert(j)
}

// finish ends a job, with j.vec or an error, and releases its waiters. Callers hold mu.
func (q *queue) finish(j *job, err error) {
	delete(q.jobs, j.key)
	j.done, j.err, j.tokens = true, err, nil
	for _, w := range j.waiters {
		if w.left--; w.left == 0 {
			close(w.done)
		}
	}
	j.waiters = nil
	if len(q.jobs) == 0 {
		for _, c := range q.drainers {
			close(c)
		}
		q.drainers = nil
	}
}

// drained returns a channel that is closed once no job is left.
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

// shutDown ends every waiting job. Workers finish what they have, and get no more tasks.
func (q *queue) shutDown() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, j := range q.jobs {
		if !j.withWorker {
			q.detach(j)
			q.finish(j, ErrClosed)
		}
	}
	q.workReady.Broadcast()
}
