package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"relish/features/event"
)

const (
	contextRequestID  = "request_id"
	contextCandidates = "candidates"
	requestIDHeader   = "X-Request-Id"
	maxRequestID      = 128
)

// observe measures and logs every request, by its route's template.
func (s *Server) observe(c *gin.Context) {
	start := time.Now()
	c.Next()
	route := c.FullPath()
	if route == "" {
		route = "none"
	}
	took := time.Since(start)
	s.metrics.request(route, c.Writer.Status(), took)
	level := slog.LevelDebug
	if c.Writer.Status() >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("route", route), slog.Int("status", c.Writer.Status()), slog.Float64("ms", float64(took.Microseconds())/1000),
		slog.String("request_id", c.GetString(contextRequestID)), slog.Int("candidates", c.GetInt(contextCandidates))}
	for _, err := range c.Errors {
		attrs = append(attrs, slog.String("error", err.Error()))
		level = slog.LevelError
	}
	s.opt.Logger.LogAttrs(c, level, "request", attrs...)
}

func (s *Server) recoverPanic(c *gin.Context) {
	defer func() {
		if p := recover(); p != nil {
			s.opt.Logger.Error("panic", "request_id", c.GetString(contextRequestID), "route", c.FullPath(), "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			if !c.Writer.Written() {
				fail(c, errInternal)
			}
			c.Abort()
		}
	}()
	c.Next()
}

// requestID takes over a valid X-Request-Id, or makes one, and sends it back.
func (s *Server) requestID(c *gin.Context) {
	id := c.GetHeader(requestIDHeader)
	if len(id) > maxRequestID || event.CheckID(id) != nil {
		id = uuid.NewString()
	}
	c.Set(contextRequestID, id)
	c.Header(requestIDHeader, id)
	c.Next()
}

func (s *Server) cors(c *gin.Context) {
	origin := c.GetHeader("Origin")
	if origin == "" || !slices.Contains(s.opt.CORSOrigins, origin) {
		c.Next()
		return
	}
	h := c.Writer.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Add("Vary", "Origin")
	h.Set("Access-Control-Expose-Headers", requestIDHeader)
	if c.Request.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-API-Key, X-Request-Id")
		h.Set("Access-Control-Max-Age", "600")
		c.AbortWithStatus(http.StatusNoContent)
		return
	}
	c.Next()
}

// authorize checks the key's scope and rate.
func (s *Server) authorize(scope string) gin.HandlerFunc {
	return func(c *gin.Context) {
		if scope == "" || len(s.opt.Keys) == 0 {
			if scope != "" && !s.rateLimiters.allow("") {
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
			fail(c, errForbidden.with("this key may not do that; it needs the scope "+scope, ""))
		case !s.rateLimiters.allow(key.Name):
			fail(c, errRateLimited)
		}
	}
}

// findKey finds the request's key. Every known key is compared, in constant time over hashes, so that the
// time tells nothing.
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

// withRankingSlot admits a ranking if there is room: tried, never awaited, since waiting only adds latency.
func (s *Server) withRankingSlot(handle gin.HandlerFunc) gin.HandlerFunc {
	return func(c *gin.Context) {
		select {
		case s.rankingSlots <- struct{}{}:
			start := time.Now()
			s.metrics.inFlight.Inc()
			defer func() {
				s.metrics.inFlight.Dec()
				s.metrics.slotSeconds.Add(time.Since(start).Seconds())
				<-s.rankingSlots
			}()
			handle(c)
		default:
			s.metrics.refusedRankings.Inc()
			fail(c, errOverloaded)
		}
	}
}

// rateLimiters are token buckets by key name; there are as many as keys.
type rateLimiters struct {
	rate  float64
	mu    sync.Mutex
	byKey map[string]*rate.Limiter
}

func (l *rateLimiters) allow(name string) bool {
	if l.rate <= 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byKey == nil {
		l.byKey = map[string]*rate.Limiter{}
	}
	lim := l.byKey[name]
	if lim == nil {
		lim = rate.NewLimiter(rate.Limit(l.rate), max(1, int(l.rate)))
		l.byKey[name] = lim
	}
	return lim.Allow()
}
