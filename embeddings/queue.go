package embeddings

import (
	"container/list"
	"sync"
	"time"

	"relish/ranker"
)

// Lanes of the queue, most urgent first: a lane is served only while those before it are empty.
const (
	laneRequest    = iota // a request waits
	laneBulk              // an import waits
	laneBackground        // nobody waits
	lanes
)

const (
	// minWindow is the least number of texts that a lane keeps tokenized ahead of the runs: enough to
	// find batches of like length, few enough that the first run starts soon.
	minWindow = 128
	// tokenizeGroup is how many texts a worker tokenizes at a time.
	tokenizeGroup = 16
	// maxRequested bounds the texts that requests wait for.
	maxRequested = 100_000
	// patience is how many windows of texts may be tokenized after one before its batch is no longer
	// held back for being short.
	patience = 4
	// failedFor and maxFailed bound the memory of texts that could not be encoded.
	failedFor = time.Minute
	maxFailed = 4096
)

// flight is one text on its way to a vector; there is at most one per key. Fields below the line
// belong to the queue's lock, those above are fixed or belong to the worker that holds the flight.
type flight struct {
	key    uint64
	item   *ranker.ItemInfo // whose text it is, nil when text is set
	text   string
	tokens []int32
	vec    []float32
	err    error

	bucket  int
	lane    int
	seq     uint64        // order of being tokenized, within its lane
	keep    bool          // an item's text: goes to the table, and to the background when given up
	held    bool          // by a worker: in no list
	list    *list.List    // where it waits
	el      *list.Element // its place there
	waiters []*waiter
	done    bool
}

func (f *flight) body() string {
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

type laneState struct {
	raw        list.List // not tokenized yet
	ready      map[int]*list.List
	waiting    int // flights in ready
	seq        uint64
	tokenizing int // flights with a worker that tokenizes
}

func (l *laneState) empty() bool { return l.raw.Len()+l.waiting+l.tokenizing == 0 }

// queue decides what is encoded next. It is the one owner of all waiting texts: callers join or
// start flights, workers ask it for the next thing to do, and everything happens under its lock.
// There are no timers: a free worker takes what is there, and batches form while workers are busy.
type queue struct {
	model      Model
	limit      int // texts waiting in the background lane, at most
	window     int // texts tokenized ahead in each lane: two of the largest batches, or minWindow
	parallel   int // runs at once
	background int // runs at once for the background lane

	mu        sync.Mutex
	work      sync.Cond
	flights   map[uint64]*flight
	lanes     [lanes]laneState
	running   [lanes]int
	failed    map[uint64]time.Time // until when a text is not tried again
	drainers  []chan struct{}
	abandoned uint64
	dropped   uint64
	closed    bool
}

func newQueue(m Model, limit int) *queue {
	q := &queue{model: m, limit: limit, parallel: max(1, m.Parallel()),
		flights: map[uint64]*flight{}, failed: map[uint64]time.Time{}}
	// One session stays free for requests where there are several.
	q.background = max(1, q.parallel-1)
	q.window = max(minWindow, 2*q.rows(m.Bucket(1)))
	q.work.L = &q.mu
	for l := range q.lanes {
		q.lanes[l].ready = map[int]*list.List{}
	}
	return q
}

// join adds w (nil: nobody waits) to the flight of key, starting one if there is none, and returns
// it; nil when the text failed lately, or with full set when the lane is. Callers hold mu.
func (q *queue) join(w *waiter, lane int, key uint64, it *ranker.ItemInfo, text string) (f *flight, full bool) {
	f = q.flights[key]
	if f == nil {
		if until, ok := q.failed[key]; q.closed || ok && time.Now().Before(until) {
			return nil, false
		}
		if q.full(lane) {
			q.dropped++
			return nil, true
		}
		f = &flight{key: key, item: it, text: text, lane: lane}
		q.flights[key] = f
		q.place(f)
	}
	f.keep = f.keep || it != nil
	// One caller joins all its texts under one lock, so its own waiter can only be the last.
	if n := len(f.waiters); w != nil && (n == 0 || f.waiters[n-1] != w) {
		f.waiters = append(f.waiters, w)
		w.left++
	}
	if lane < f.lane {
		q.lift(f)
		f.lane = lane
		q.place(f)
	}
	return f, false
}

// full reports whether a lane takes no further text. Callers of the bulk lane bound themselves.
func (q *queue) full(lane int) bool {
	n := q.lanes[lane].raw.Len()
	return lane == laneBackground && n >= q.limit || lane == laneRequest && n >= maxRequested
}

// place puts a flight at the end of its lane, among the tokenized ones or the others. One that a
// worker holds is placed when the worker is done.
func (q *queue) place(f *flight) {
	if f.held {
		return
	}
	l := &q.lanes[f.lane]
	f.list = &l.raw
	if f.tokens != nil {
		if l.ready[f.bucket] == nil {
			l.ready[f.bucket] = list.New()
		}
		f.list = l.ready[f.bucket]
		l.waiting++
		l.seq++
		f.seq = l.seq
	}
	f.el = f.list.PushBack(f)
	q.work.Broadcast()
}

// lift takes a flight out of its lane, unless a worker holds it.
func (q *queue) lift(f *flight) {
	if f.held {
		return
	}
	l := &q.lanes[f.lane]
	f.list.Remove(f.el)
	if f.list != &l.raw {
		l.waiting--
	}
	f.list, f.el = nil, nil
}

// abandon takes w off the flights, its caller having given up. What nobody waits for any more goes
// to the background, if it is an item's text and there is room, else it is dropped.
func (q *queue) abandon(w *waiter, flights []*flight) {
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
		if len(f.waiters) > 0 || f.lane == laneBackground {
			continue
		}
		q.abandoned++
		q.retire(f)
	}
}

// retire moves a flight without waiters to the background or drops it. Callers hold mu.
func (q *queue) retire(f *flight) {
	full := q.full(laneBackground)
	q.lift(f)
	f.lane = laneBackground
	if !f.held && (full || !f.keep) {
		if f.keep {
			q.dropped++
		}
		q.end(f, errGivenUp)
		return
	}
	if !f.held {
		f.tokens = nil // the window bounds tokenized texts, so it waits untokenized
	}
	q.place(f)
}

// end finishes a flight, with f.vec or an error, and releases its waiters. Callers hold mu.
func (q *queue) end(f *flight, err error) {
	delete(q.flights, f.key)
	f.done, f.err, f.tokens = true, err, nil
	for _, w := range f.waiters {
		if w.left--; w.left == 0 {
			close(w.done)
		}
	}
	f.waiters = nil
	if len(q.flights) == 0 {
		for _, c := range q.drainers {
			close(c)
		}
		q.drainers = nil
	}
}

// remember keeps a text that could not be encoded from being tried again for a while. Callers hold mu.
func (q *queue) remember(key uint64) {
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
	q.failed[key] = now.Add(failedFor)
}

// drained returns a channel that is closed once nothing waits or runs.
func (q *queue) drained() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := make(chan struct{})
	if len(q.flights) == 0 {
		close(c)
	} else {
		q.drainers = append(q.drainers, c)
	}
	return c
}

// close ends every waiting flight; workers finish what they hold and get nothing more.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, f := range q.flights {
		if !f.held {
			q.lift(f)
			q.end(f, ErrClosed)
		}
	}
	q.work.Broadcast()
}
