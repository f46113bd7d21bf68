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
	// window is how many texts a lane keeps tokenized ahead of the runs: enough to find batches of
	// like length, few enough that the first run starts soon.
	window = 128
	// tokenizeGroup is how many texts a worker tokenizes at a time.
	tokenizeGroup = 16
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
	seq     uint64 // order of arrival
	keep    bool   // an item's text: goes to the table, and to the background when given up
	list    *list.List
	el      *list.Element // nil while a worker holds it
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
	tokenizing int // flights with a worker that tokenizes
}

func (l *laneState) empty() bool { return l.raw.Len()+l.waiting+l.tokenizing == 0 }

// queue decides what is encoded next. It is the one owner of all waiting texts: callers join or
// start flights, workers ask it for the next thing to do, and everything happens under its lock.
// There are no timers: a free worker takes what is there, and batches form while workers are busy.
type queue struct {
	model      Model
	limit      int // texts waiting in a lane, at most
	parallel   int // runs at once
	background int // runs at once for the background lane

	mu        sync.Mutex
	work      sync.Cond
	flights   map[uint64]*flight
	lanes     [lanes]laneState
	running   [lanes]int
	seq       uint64
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
		if until, ok := q.failed[key]; ok && time.Now().Before(until) {
			return nil, false
		}
		if q.closed {
			return nil, false
		}
		if q.lanes[lane].raw.Len() >= q.limit {
			q.dropped++
			return nil, true
		}
		q.seq++
		f = &flight{key: key, item: it, text: text, lane: lane, seq: q.seq}
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

// place puts a flight that no worker holds at the end of its lane: among the tokenized ones or not.
func (q *queue) place(f *flight) {
	l := &q.lanes[f.lane]
	switch {
	case f.el == nil && f.list != nil: // with a worker, which will place it
		return
	case f.tokens == nil:
		f.list = &l.raw
	default:
		if l.ready[f.bucket] == nil {
			l.ready[f.bucket] = list.New()
		}
		f.list = l.ready[f.bucket]
		l.waiting++
	}
	f.el = f.list.PushBack(f)
}

// lift takes a flight out of its lane. A flight that a worker holds keeps its list and has no el.
func (q *queue) lift(f *flight) {
	if f.el == nil {
		return
	}
	f.list.Remove(f.el)
	if l := &q.lanes[f.lane]; f.list != &l.raw {
		l.waiting--
	}
	f.el, f.list = nil, nil
}

// held marks a lifted flight as a worker's.
func (f *flight) held(l *laneState) { f.list = &l.raw }
