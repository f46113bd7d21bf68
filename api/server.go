package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"relish/internal/admission"
)

// Limits of the HTTP server. They bound what slow or idle clients can hold.
const (
	// headerTimeout counts from the first byte of a request.
	headerTimeout = 2 * time.Second
	bodyTimeout   = 5 * time.Second
	// writeTimeout leaves time to send what was computed in reportTimeout.
	writeTimeout = 30 * time.Second
	// idleTimeout is how long a connection may be without a request, also before its first one.
	idleTimeout    = 2 * time.Minute
	drainTimeout   = 10 * time.Second
	maxHeaderBytes = 64 << 10
)

// defaultMaxInFlight is how many ranking slots there are at most if Options does not say.
const defaultMaxInFlight = 256

// defaultLogTimeout is how long a request waits for the event log if Options does not say.
const defaultLogTimeout = 5 * time.Second

// Server answers HTTP requests. It is safe for concurrent use.
type Server struct {
	opt          Options
	engine       *gin.Engine
	rankings     *admission.Limiter
	bodyMemory   *admission.Budget
	bulkTurns    chan struct{} // holds one value for each large body that is decoded
	connections  *connections
	metrics      *metrics
	rateLimiters rateLimiters
	crossOrigin  *http.CrossOriginProtection // says which pages may change the active model
	draining     atomic.Bool
	reportLock   sync.Mutex // held by the one experiment report under way: it reads the whole log
}

// New returns a server. It fails if a required option is missing or an origin is not valid.
func New(opt Options) (*Server, error) {
	if opt.Ranker == nil || opt.EventSink == nil || opt.Catalogue == nil || opt.UserEraser == nil ||
		opt.Models == nil || opt.Registry == nil {
		return nil, errors.New(
			"api: Ranker, EventSink, Catalogue, UserEraser, Models and Registry are required")
	}
	opt.MaxInFlight = cmp.Or(opt.MaxInFlight, defaultMaxInFlight)
	opt.BodyMemory = cmp.Or(opt.BodyMemory, defaultBodyMemory)
	opt.MaxConnections = cmp.Or(opt.MaxConnections, defaultMaxConnections)
	opt.LogTimeout = cmp.Or(opt.LogTimeout, defaultLogTimeout)
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	gin.SetMode(gin.ReleaseMode)
	s := &Server{
		opt:          opt,
		engine:       gin.New(),
		rankings:     admission.NewLimiter(opt.MaxInFlight),
		bodyMemory:   admission.NewBudget(opt.BodyMemory),
		bulkTurns:    make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		rateLimiters: rateLimiters{rate: opt.RatePerKey},
		crossOrigin:  http.NewCrossOriginProtection(),
	}
	s.metrics = newMetrics(opt.Registry, s.rankings, s.bodyMemory)
	s.connections = newConnections(opt.MaxConnections, s.metrics)
	for _, o := range opt.CORSOrigins {
		if err := s.crossOrigin.AddTrustedOrigin(o); err != nil {
			return nil, fmt.Errorf(
				"--cors-origin %q is not an origin like https://shop.example: %w", o, err)
		}
	}
	s.engine.HandleMethodNotAllowed = true
	// Routes match the path as it was sent, so that an id may hold any character. A redirect would
	// lead a client that follows it to another id: from the user "wu/" to the user "wu".
	s.engine.UseEscapedPath, s.engine.UnescapePathValues = true, false
	s.engine.RedirectTrailingSlash, s.engine.RedirectFixedPath = false, false
	if err := s.engine.SetTrustedProxies(nil); err != nil {
		return nil, err
	}
	s.engine.Use(
		s.bodyDeadline, s.observe, s.recoverPanic, s.requestID, s.cors, decodeParams)
	s.engine.NoRoute(func(c *gin.Context) { fail(c, errNoRoute) })
	s.engine.NoMethod(func(c *gin.Context) {
		fail(c, errMethodNotAllowed.with("this route does not have the method %s: use %s",
			shorten(c.Request.Method), c.Writer.Header().Get("Allow")))
	})
	for _, r := range s.routes() {
		s.engine.Handle(r.method, r.path, s.authorize(r.scope), r.handle)
	}
	return s, nil
}

// Handler returns the handler of all routes, for tests and for embedding.
func (s *Server) Handler() http.Handler { return s.engine }

// route is one route and its documentation. scope is what the caller's key needs; "" needs no key.
type route struct {
	method, path, scope string
	handle              gin.HandlerFunc
	doc                 operation
}

func (s *Server) routes() []route {
	scrape := gin.WrapH(promhttp.HandlerFor(s.opt.Registry, promhttp.HandlerOpts{}))
	rerank := s.withRanking(valuesPerSlotOfTexts, s.rerank)
	return []route{
		{"POST", "/recommend", "rank", s.withRanking(valuesPerSlot, s.recommend), docRecommend},
		{"POST", "/feedback", "feedback", s.withBody(eventBody, s.feedback), docFeedback},
		{"PUT", "/items", "items", s.withBody(itemBodies, s.putItems), docPutItems},
		{"GET", "/items/:id", "items", s.getItem, docGetItem},
		{"DELETE", "/items/:id", "items", s.deleteItem, docDeleteItem},
		{"PUT", "/users/:id", "feedback", s.withBody(userBodies, s.putUser), docPutUser},
		{"DELETE", "/users/:id", "admin", s.deleteUser, docDeleteUser},
		{"POST", "/rerank", "rank", rerank, docRerank},
		{"POST", "/v1/rerank", "rank", rerank, docRerank},
		{"POST", "/v2/rerank", "rank", rerank, docRerank},
		{"POST", "/rank/:model", "rank", s.withRanking(valuesPerSlot, s.rankMetarank),
			docRankMetarank},
		{"POST", "/labels/:classifier", "rank", s.withRanking(valuesPerSlotOfTexts, s.labels),
			docLabels},
		{"GET", "/trends", "admin", s.getTrends, docTrends},
		{"GET", "/trends/fields", "admin", s.trendsFields, docTrendsFields},
		{"GET", "/alerts", "admin", s.listAlerts, docAlerts},
		{"GET", "/models", "admin", s.listModels, docModels},
		{"POST", "/models/:version/activate", "admin", s.activateModel, docActivate},
		{"POST", "/models/rollback", "admin", s.rollbackModel, docRollback},
		{"GET", "/models/:version/report", "admin", s.modelReport, docReport},
		{"GET", "/experiments", "admin", s.listExperiments, docExperiments},
		{"GET", "/experiments/growthbook", "rank", s.growthBook, docGrowthBook},
		{"GET", "/experiments/:name/report", "admin", s.experimentReport, docExperimentReport},
		{"GET", "/health/live", "", live, docLive},
		{"GET", "/health/ready", "", s.ready, docReady},
		{"GET", "/metrics", "", scrape, docMetrics},
		{"GET", "/openapi.json", "", s.openAPI, docOpenAPI},
		{"GET", "/docs", "", servePage("docs.html"), docDocs},
		{"GET", "/", "", servePage("index.html"), docConsole},
		{"GET", "/console", "", servePage("trends.html"), docTrendsPage},
	}
}

// Serve answers on ln until ctx ends, then drains: /health/ready answers 503 and requests under way
// get up to drainTimeout to finish. It closes ln. It returns nil after a clean drain.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s.engine,
		ReadHeaderTimeout: headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState:         s.connections.changed,
		ConnContext:       withConnection,
		ErrorLog:          slog.NewLogLogger(s.opt.Logger.Handler(), slog.LevelWarn),
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(limitedListener{ln, s.connections}) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	s.draining.Store(true)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	s.connections.closeUnused()
	err := srv.Shutdown(drain)
	if err != nil {
		err = errors.Join(err, srv.Close())
	}
	if served := <-done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// live answers /health/live: the process runs.
func live(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "live"}) }

// ready answers /health/ready: 200 if every check is OK and the server does not drain, else 503.
func (s *Server) ready(c *gin.Context) {
	var checks []ReadinessCheck
	if s.opt.Readiness != nil {
		checks = s.opt.Readiness()
	}
	code, status := http.StatusOK, "ready"
	for _, check := range checks {
		if !check.OK {
			code, status = http.StatusServiceUnavailable, "not ready"
		}
	}
	if s.draining.Load() {
		code, status = http.StatusServiceUnavailable, "draining"
	}
	c.JSON(code, gin.H{"status": status, "version": s.opt.Version, "checks": checks})
}
