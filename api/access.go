package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
	"sync"

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
