// Package api is the HTTP edge: it decodes strictly, checks keys and limits, hands the work to the
// interfaces it declares, and answers in the shapes that clients know.
//
// Nothing a client sends reaches a log or a metric's label: routes are named by their template, users
// and items not at all.
package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"relish/experiment"
	"relish/features/event"
	"relish/ranker"
)

// Ranker ranks; ranker.Pipeline is one.
type Ranker interface {
	Rank(ctx context.Context, req *ranker.Request) (*ranker.Response, error)
}

// EventSink takes events: durable and applied on return, outcomes aligned with the events. Its errors wrap
// event.ErrFull or event.ErrUnavailable.
type EventSink interface {
	Append(ctx context.Context, events []event.Event) ([]event.EventOutcome, error)
}

// Catalogue knows the items.
type Catalogue interface {
	Item(id string) (*ranker.Item, bool)
	DeleteItem(ctx context.Context, id string) (known bool, err error)
}

// UserEraser forgets users.
type UserEraser interface {
	Forget(ctx context.Context, id string) error
}

// TextEncoder encodes a text into a unit-length vector, for /rerank.
type TextEncoder interface {
	Text(ctx context.Context, text string) ([]float32, error)
}

// Experiments says which experiments are in effect; experiment.Keeper does.
type Experiments interface {
	Status() experiment.Status
	GrowthBook() experiment.Payload
}

// ExperimentReporter makes reports on experiments from the event log.
type ExperimentReporter interface {
	// Report reports on the named experiment by the metric ("" is the experiment's own). Its errors wrap
	// ErrNoExperiment or ErrReport, or the context's.
	Report(ctx context.Context, name, metric string, from, to time.Time) (ExperimentReport, error)
}

// ExperimentReport is marshalled as JSON, or writes itself as a page.
type ExperimentReport interface {
	WriteHTML(w io.Writer) error
}

// Errors of Reports.
var (
	// ErrUnknownExperiment: nobody in the log was exposed to an experiment of this name.
	ErrUnknownExperiment = errors.New("no exposure to this experiment is in the log")
	// ErrInvalidReport: what is asked for cannot be reported on; the message says why.
	ErrInvalidReport = errors.New("no report")
)

// ReadinessCheck is one line of /health/ready.
type ReadinessCheck struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitzero"`
}

// Key is an API key by its SHA-256, with what it may do: rank, feedback, items, admin.
type Key struct {
	Name   string
	SHA256 [32]byte
	Scopes []string
}

// Options of a Server. Ranker, Events, Catalogue, Users, Models and Registry are required.
type Options struct {
	Ranker             Ranker
	EventSink          EventSink
	Catalogue          Catalogue
	UserEraser         UserEraser
	TextEncoder        TextEncoder // nil: /rerank answers 503
	Models             Models
	Experiments        Experiments        // nil: there are none
	ExperimentReporter ExperimentReporter // nil: /experiments/{name}/report answers 404
	Readiness          func() []ReadinessCheck
	Registry           *prometheus.Registry
	Keys               []Key // none: open
	CORSOrigins        []string
	MaxInFlight        int     // rankings at once before 503; 0 = 256
	RatePerKey         float64 // requests a second per key; 0 = unlimited
	Logger             *slog.Logger
	Version            string
}

// Server is the HTTP edge. It is safe for concurrent use.
type Server struct {
	opt          Options
	engine       *gin.Engine
	rankingSlots chan struct{}
	metrics      *metrics
	rateLimiters rateLimiters
	crossOrigin  *http.CrossOriginProtection // of pages that may change what is active
	draining     atomic.Bool
	reportLock   sync.Mutex // one report at a time: it reads the whole log
}

// New returns a server over the given parts.
func New(opt Options) (*Server, error) {
	if opt.Ranker == nil || opt.EventSink == nil || opt.Catalogue == nil || opt.UserEraser == nil || opt.Models == nil || opt.Registry == nil {
		return nil, errors.New("api: Ranker, Events, Catalogue, Users, Models and Registry are required")
	}
	if opt.MaxInFlight == 0 {
		opt.MaxInFlight = 256
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	gin.SetMode(gin.ReleaseMode)
	s := &Server{opt: opt, engine: gin.New(), rankingSlots: make(chan struct{}, opt.MaxInFlight),
		metrics: newMetrics(opt.Registry, opt.MaxInFlight), rateLimiters: rateLimiters{rate: opt.RatePerKey}, crossOrigin: http.NewCrossOriginProtection()}
	for _, o := range opt.CORSOrigins {
		if err := s.crossOrigin.AddTrustedOrigin(o); err != nil {
			return nil, fmt.Errorf("api: origin %q: %w", o, err)
		}
	}
	s.engine.HandleMethodNotAllowed = true
	if err := s.engine.SetTrustedProxies(nil); err != nil {
		return nil, err
	}
	s.engine.Use(s.observe, s.recoverPanic, s.requestID, s.cors)
	s.engine.NoRoute(func(c *gin.Context) { fail(c, errNoRoute) })
	s.engine.NoMethod(func(c *gin.Context) { fail(c, errMethodNotAllowed) })
	for _, r := range s.routes() {
		s.engine.Handle(r.method, r.path, s.authorize(r.scope), r.handle)
	}
	return s, nil
}

// Handler returns the routes, for tests and embedding.
func (s *Server) Handler() http.Handler { return s.engine }

// route is one route with the scope a key needs; "" is free for all.
type route struct {
	method, path, scope string
	handle              gin.HandlerFunc
	doc                 operation
}

func (s *Server) routes() []route {
	return []route{
		{"POST", "/recommend", "rank", s.withRankingSlot(s.recommend), docRecommend},
		{"POST", "/feedback", "feedback", s.feedback, docFeedback},
		{"PUT", "/items", "items", s.putItems, docPutItems},
		{"GET", "/items/:id", "items", s.getItem, docGetItem},
		{"DELETE", "/items/:id", "items", s.deleteItem, docDeleteItem},
		{"PUT", "/users/:id", "feedback", s.putUser, docPutUser},
		{"DELETE", "/users/:id", "admin", s.deleteUser, docDeleteUser},
		{"POST", "/rerank", "rank", s.withRankingSlot(s.rerank), docRerank},
		{"POST", "/v1/rerank", "rank", s.withRankingSlot(s.rerank), docRerank},
		{"POST", "/v2/rerank", "rank", s.withRankingSlot(s.rerank), docRerank},
		{"POST", "/rank/:model", "rank", s.withRankingSlot(s.rankMetarank), docRankMetarank},
		{"GET", "/models", "admin", s.listModels, docModels},
		{"POST", "/models/:version/activate", "admin", s.activateModel, docActivate},
		{"POST", "/models/rollback", "admin", s.rollbackModel, docRollback},
		{"GET", "/models/:version/report", "admin", s.modelReport, docReport},
		{"GET", "/experiments", "admin", s.listExperiments, docExperiments},
		{"GET", "/experiments/growthbook", "rank", s.growthBook, docGrowthBook},
		{"GET", "/experiments/:name/report", "admin", s.experimentReport, docExperimentReport},
		{"GET", "/health/live", "", s.live, docLive},
		{"GET", "/health/ready", "", s.ready, docReady},
		{"GET", "/metrics", "", gin.WrapH(promhttp.HandlerFor(s.opt.Registry, promhttp.HandlerOpts{})), docMetrics},
		{"GET", "/openapi.json", "", s.openAPI, docOpenAPI},
		{"GET", "/docs", "", servePage("docs.html"), docPage},
		{"GET", "/", "", servePage("index.html"), docPage},
	}
}

// Times of the HTTP server: what a client that dawdles gets.
const (
	headerTimeout  = 2 * time.Second
	bodyTimeout    = 5 * time.Second
	idleTimeout    = 2 * time.Minute
	drainTimeout   = 10 * time.Second
	maxHeaderBytes = 64 << 10
)

// Serve answers on ln until ctx ends, then drains: readiness turns 503, requests under way finish, 10
// seconds at most. It closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{Handler: s.engine, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		WriteTimeout: 30 * time.Second, ErrorLog: slog.NewLogLogger(s.opt.Logger.Handler(), slog.LevelWarn)}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	s.draining.Store(true)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err := srv.Shutdown(drain)
	if err != nil {
		err = errors.Join(err, srv.Close())
	}
	if served := <-done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

func (s *Server) live(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "live"}) }

func (s *Server) ready(c *gin.Context) {
	var checks []ReadinessCheck
	if s.opt.Readiness != nil {
		checks = s.opt.Readiness()
	}
	ok := !s.draining.Load()
	for _, check := range checks {
		ok = ok && check.OK
	}
	status, word := http.StatusOK, "ready"
	if !ok {
		status, word = http.StatusServiceUnavailable, "not ready"
	}
	if s.draining.Load() {
		word = "draining"
	}
	c.JSON(status, gin.H{"status": word, "version": s.opt.Version, "checks": checks})
}
