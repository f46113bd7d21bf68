// Package admission decides how much work a busy service takes on.
//
// A Limiter bounds the requests that run at once, and finds the bound itself: it admits fewer when
// they run short of time, and more when they do not. A Budget bounds the memory that requests hold.
// Both answer at once. What they refuse is not queued, because a queue only adds latency. A Limiter
// also tells when so many requests are refused that the refusals themselves take the processors.
package admission

import (
	"runtime"
	"sync"
)

// Bounds of a Limiter's limit, in slots for each processor. With fewer than minSlots, processors
// would idle while requests wait for disk or network.
const (
	minSlots   = 8
	startSlots = 16
)

// lateWeight is how many requests in time weigh as much as one that ran short of time. The limit
// settles where one request in ten does.
const lateWeight = 9

// A flood is more than floodRatio refusals for each admitted request, in the mean over the last
// floodMemory admitted ones. A refusal takes about a thirtieth of the processor time of a ranking
// of 1,000 candidates, so that many take a tenth of the processors.
const (
	floodRatio  = 3
	floodMemory = 64
)

// Limiter bounds the slots that requests hold at once. It is safe for concurrent use.
//
// The limit grows by one slot while as many requests as it has slots end in time, and falls by
// lateWeight slots while as many run short of time. So a few late requests, which garbage
// collection or another program may cause, change little. Only requests count that were admitted
// when at least half of the slots were taken: others say nothing about the limit.
//
// A request costs one slot or more. If several clients have requests under way, the last quarter of
// the slots is for clients that hold less than an equal share, so that no client takes them all.
type Limiter struct {
	mu       sync.Mutex
	least    float64
	most     float64
	limit    float64 // from least to most
	taken    int
	byClient map[string]int // slots taken; clients without any are not in it

	refused     int     // requests since the last admitted one
	perAdmitted float64 // mean of refused
}

// NewLimiter returns a limiter whose limit never exceeds most, which is at least 1.
func NewLimiter(most int) *Limiter {
	processors := runtime.GOMAXPROCS(0)
	return &Limiter{
		least:    float64(min(most, minSlots*processors)),
		most:     float64(most),
		limit:    float64(min(most, startSlots*processors)),
		byClient: map[string]int{},
	}
}

// Slot is a request's place. Release must be called once.
type Slot struct {
	limiter *Limiter
	client  string
	cost    int
	busy    bool // at least half of the slots were taken
}

// Acquire takes cost slots for a client, or returns nil if they are not free. A cost above half of
// the limit counts as half of it: otherwise a busy service would never admit a large request.
func (l *Limiter) Acquire(client string, cost int) *Slot {
	l.mu.Lock()
	defer l.mu.Unlock()
	cost = l.bounded(cost)
	if !l.fits(client, cost) {
		return nil
	}
	l.taken += cost
	l.byClient[client] += cost
	l.perAdmitted += (float64(l.refused) - l.perAdmitted) / floodMemory
	l.refused = 0
	return &Slot{
		limiter: l, client: client, cost: cost, busy: 2*l.taken >= int(l.limit),
	}
}

// Free reports whether Acquire would take cost slots for a client now.
func (l *Limiter) Free(client string, cost int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fits(client, l.bounded(cost))
}

// Refuse counts a refused request, and reports whether it is part of a flood.
func (l *Limiter) Refuse() (flood bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused++
	return l.perAdmitted > floodRatio || l.refused > floodRatio*floodMemory
}

// bounded returns how many slots a request of a cost takes. Callers hold mu.
func (l *Limiter) bounded(cost int) int { return max(1, min(cost, int(l.limit)/2)) }

// fits reports whether so many slots more are free for a client. Callers hold mu.
func (l *Limiter) fits(client string, cost int) bool {
	limit := int(l.limit)
	total, own, clients := l.taken+cost, l.byClient[client]+cost, len(l.byClient)
	if own == cost {
		clients++ // it holds none yet
	}
	return total <= limit && (total <= limit-limit/4 || own*clients <= limit)
}

// Release gives the slots back. shortOfTime says that the request ran short of processor time.
func (s *Slot) Release(shortOfTime bool) {
	l := s.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken -= s.cost
	if l.byClient[s.client] -= s.cost; l.byClient[s.client] == 0 {
		delete(l.byClient, s.client)
	}
	switch {
	case !s.busy:
	case shortOfTime:
		l.limit = max(l.least, l.limit-lateWeight/l.limit)
	default:
		l.limit = min(l.most, l.limit+1/l.limit)
	}
}

// Limit returns how many slots there are now.
func (l *Limiter) Limit() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.limit)
}

// Cost returns how many slots the request takes.
func (s *Slot) Cost() int { return s.cost }
