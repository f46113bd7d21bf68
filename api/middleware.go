package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"relish/features/event"
)

// requestInfo is what the middleware and the handlers tell each other about a request. It is one
// value, because each value in the context of Gin costs allocations.
type requestInfo struct {
	id         string    // of the request, and of its impression
	traceID    string    // the caller's X-Request-Id, or id
	key        *Key      // that admitted the request, nil if the service has no keys
	candidates int       // texts or items that the request ranks, for the log
	arrived    time.Time // when the request took its ranking slots
	shed       bool      // the request was refused because the service is busy
	bodyRead   bool      // the body was read to its end
}

// contextInfo is the name of the *requestInfo in a request's context.
const contextInfo = "info"

// infoOf returns the information about a request, which observe creates.
func infoOf(c *gin.Context) *requestInfo { return c.MustGet(contextInfo).(*requestInfo) }

// statusClientGone is the status of a request whose client left before the answer, as Nginx logs
// it.
const statusClientGone = 499

const (
	requestIDHeader = "X-Request-Id"
	maxRequestID    = 128 // bytes
)

// observe measures and logs every request by its route's template, never by its path.
func (s *Server) observe(c *gin.Context) {
	start := time.Now()
	info := &requestInfo{}
	c.Set(contextInfo, info)
	c.Next()
	route := c.FullPath()
	if route == "" {
		route = "none"
	}
	took := time.Since(start)
	s.metrics.request(route, c.Writer.Status(), took)
	s.logRequest(c, info, route, took)
}

// logRequest writes the line of an answered request.
func (s *Server) logRequest(c *gin.Context, info *requestInfo, route string, took time.Duration) {
	level := slog.LevelDebug
	// Under overload, a line for each refused request would cost more than the refusal.
	if c.Writer.Status() >= http.StatusInternalServerError && !info.shed {
		level = slog.LevelWarn
	}
	if len(c.Errors) > 0 {
		level = slog.LevelError
	}
	if !s.opt.Logger.Enabled(c, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("route", route),
		slog.Int("status", c.Writer.Status()),
		slog.Float64("ms", float64(took.Microseconds())/1000),
		slog.String("request_id", info.id),
		slog.String("trace_id", info.traceID),
		slog.Int("candidates", info.candidates),
	}
	for _, err := range c.Errors {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	s.opt.Logger.LogAttrs(c, level, "request", attrs...)
}

// recoverPanic answers 500 if a handler panics. It logs the panic's type and stack, not its value:
// the value may hold a client's data.
func (s *Server) recoverPanic(c *gin.Context) {
	defer func() {
		if p := recover(); p != nil {
			info := infoOf(c)
			s.opt.Logger.Error("panic in a handler",
				"request_id", info.id, "trace_id", info.traceID, "route", c.FullPath(),
				"panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			if !c.Writer.Written() {
				fail(c, errInternal)
			}
			c.Abort()
		}
	}()
	c.Next()
}

// decodeParams decodes the parameters of the path, once. The router would take a + for a blank.
func decodeParams(c *gin.Context) {
	for i := range c.Params {
		decoded, err := url.PathUnescape(c.Params[i].Value)
		if err != nil {
			fail(c, errNoRoute)
			return
		}
		c.Params[i].Value = decoded
	}
	c.Next()
}

// requestID creates the request's id, which is also that of its impression: an id of the caller may
// come twice, as proxies send it, and the second impression would be lost. A valid X-Request-Id of
// the caller is kept for tracing only. The answer repeats it; without one it has the new id.
func (s *Server) requestID(c *gin.Context) {
	id := uuid.NewString()
	trace := c.GetHeader(requestIDHeader)
	if len(trace) > maxRequestID || event.CheckID(trace) != nil {
		trace = id
	}
	info := infoOf(c)
	info.id, info.traceID = id, trace
	c.Header(requestIDHeader, trace)
	c.Next()
}

// cors lets pages of the configured origins call the API, and answers their preflight requests.
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
		h.Set("Access-Control-Allow-Headers",
			"Authorization, Content-Type, X-API-Key, X-Request-Id")
		h.Set("Access-Control-Max-Age", "600")
		c.AbortWithStatus(http.StatusNoContent)
		return
	}
	c.Next()
}
