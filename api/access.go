package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/time/rate"
)

// authorize checks that the request's key has the scope and is within its rate. Without configured
// keys everybody has every scope, and all requests share one rate.
func (s *Server) authorize(scope string) gin.HandlerFunc {
	return func(c *gin.Context) {
		if scope == "" {
			return
		}
		if len(s.opt.Keys) == 0 {
			if !s.rateLimiters.allow("") {
				fail(c, errRateLimited)
			}
			return
		}
		key := s.findKey(c.Request)
		switch {
		case key == nil:
			c.Header("WWW-Authenticate", "Bearer")
			fail(c, errUnauthorized)
		case !slices.Contains(key.Scopes, scope):
			fail(c, errForbidden.with("this key lacks the scope %s: use a key that has it, "+
				"or add the scope in relish.yaml", scope))
		case !s.rateLimiters.allow(key.Name):
			fail(c, errRateLimited)
		default:
			infoOf(c).key = key
		}
	}
}

// findKey returns the request's key, or nil. It compares hashes with every known key in constant
// time, so that the time of an answer tells nothing about the keys.
func (s *Server) findKey(r *http.Request) *Key {
	sent := r.Header.Get("X-API-Key")
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		sent = bearer
	}
	sum := sha256.Sum256([]byte(sent))
	var found *Key
	for i := range s.opt.Keys {
		if subtle.ConstantTimeCompare(sum[:], s.opt.Keys[i].SHA256[:]) == 1 {
			found = &s.opt.Keys[i]
		}
	}
	return found
}

// requestKey returns the key of an admitted request, nil if the service has no keys.
func requestKey(c *gin.Context) *Key { return infoOf(c).key }

// valuesPerSlot is how many JSON values of a body cost one ranking slot. A ranking of 5,000 ids
// costs ten times as much as one of a few.
const valuesPerSlot = 500

// valuesPerSlotOfTexts is the same for bodies whose values are texts to encode.
const valuesPerSlotOfTexts = 20

// withRanking reads the body, and passes it to handle if enough ranking slots are free. It answers
// 503 if not, and never waits: a queue only adds latency. The body comes first, so that clients
// that send slowly hold no slot. handle reports whether the ranking ran short of time.
func (s *Server) withRanking(
	perSlot int, handle func(*gin.Context, body) (shortOfTime bool),
) gin.HandlerFunc {
	return s.withBody(rankingBody, func(c *gin.Context, b body) {
		client := ""
		if key := requestKey(c); key != nil {
			client = key.Name
		}
		slot := s.rankings.Acquire(client, 1+b.values/perSlot)
		if slot == nil {
			s.metrics.refusedRankings.Inc()
			fail(c, errOverloaded)
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
}

// rateLimiters holds a token bucket for each key name. There are at most as many as configured
// keys.
type rateLimiters struct {
	rate  float64 // requests a second; 0 means no limit
	mu    sync.Mutex
	byKey map[string]*rate.Limiter
}

// allow takes a token of the key's bucket and reports whether there was one. A bucket holds the
// tokens of one second, at least one.
func (l *rateLimiters) allow(name string) bool {
	if l.rate <= 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byKey == nil {
		l.byKey = map[string]*rate.Limiter{}
	}
	limiter := l.byKey[name]
	if limiter == nil {
		limiter = rate.NewLimiter(rate.Limit(l.rate), max(1, int(l.rate)))
		l.byKey[name] = limiter
	}
	return limiter.Allow()
}
