package api

import (
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
)

// valuesPerSlot is how many JSON values of a body cost one ranking slot. A ranking of 5,000 ids
// costs ten times as much as one of a few.
const valuesPerSlot = 500

// valuesPerSlotOfTexts is the same for bodies whose values are texts to encode.
const valuesPerSlotOfTexts = 20

// withRanking reads the body, and passes it to handle if enough ranking slots are free. It answers
// 503 if not, and never waits: a queue only adds latency. The slots are taken when the body has
// arrived, so that clients that send slowly hold none. If as many as the request probably needs are
// not free when its headers arrive, it is refused then: reading the body would take processor time
// from the rankings. handle reports whether the ranking ran short of time.
func (s *Server) withRanking(
	perSlot int, handle func(*gin.Context, body) (shortOfTime bool),
) gin.HandlerFunc {
	bodies := &costEstimate{perSlot: perSlot}
	read := s.withBody(rankingBody, func(c *gin.Context, b body) {
		slot := s.rankings.Acquire(clientOf(c), bodies.exact(b))
		if slot == nil {
			s.refuseRanking(c)
			return
		}
		start := time.Now()
		s.metrics.inFlight.Inc()
		infoOf(c).arrived = start
		// Let the requests that have arrived meanwhile take their slots, or be refused, before this
		// one computes. Otherwise they would queue for a processor, where no limit sees them.
		runtime.Gosched()
		shortOfTime := false
		defer func() {
			s.metrics.inFlight.Dec()
			s.metrics.slotSeconds.Add(time.Since(start).Seconds() * float64(slot.Cost()))
			slot.Release(shortOfTime)
		}()
		shortOfTime = handle(c, b)
	})
	return func(c *gin.Context) {
		if !s.rankings.Free(clientOf(c), bodies.estimate(c.Request.ContentLength)) {
			s.refuseRanking(c)
			return
		}
		read(c)
	}
}

// clientOf returns who shares ranking slots: the name of the request's key.
func clientOf(c *gin.Context) string {
	if key := requestKey(c); key != nil {
		return key.Name
	}
	return ""
}

// refuseRanking answers 503. In a flood it does so after Options.RefusalDelay: a client that sends
// the next request as soon as one is refused then sends less, and leaves more of the processors to
// rankings. Meanwhile its connection may be closed to make room for another one.
func (s *Server) refuseRanking(c *gin.Context) {
	s.metrics.refusedRankings.Inc()
	if s.rankings.Refuse() && s.opt.RefusalDelay > 0 {
		s.metrics.delayedRefusals.Inc()
		s.connections.refused(c.Request.Context().Value(connectionKey{}))
		time.Sleep(s.opt.RefusalDelay)
	}
	// Without full duplex, http.Server would read the rest of the body before it answers. A test
	// recorder does not have it, nor needs it: the error does not matter.
	_ = http.NewResponseController(c.Writer).EnableFullDuplex()
	fail(c, errOverloaded)
}

// costEstimate estimates what requests of a route cost before their body is read. It is safe for
// concurrent use.
type costEstimate struct {
	perSlot int // values for each slot

	mu            sync.Mutex
	bytes, values float64 // of the last bodies; each counts 15/16 as much as the one after it
}

// estimateMargin makes most estimates too high rather than too low: what is too much is given back,
// but a request that needs more than its estimate may be refused after its body was read.
const estimateMargin = 1.1

// unknownLength is what a body counts as whose length is not announced.
const unknownLength = 8 << 10

// exact returns what a body costs, and learns from it.
func (e *costEstimate) exact(b body) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bytes += float64(len(b.data)) - e.bytes/16
	e.values += float64(b.values) - e.values/16
	return 1 + b.values/e.perSlot
}

// estimate returns what a request with so many bytes costs. It is 1 before the first body.
func (e *costEstimate) estimate(contentLength int64) int {
	if contentLength < 0 {
		contentLength = unknownLength
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	values := estimateMargin * float64(contentLength) * e.values / max(1, e.bytes)
	return 1 + int(values)/e.perSlot
}
