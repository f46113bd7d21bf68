// Package api is the HTTP interface of Relish.
//
// A request passes four stages. The middleware gives it an id, measures it and turns a panic into
// an answer. The key's scope and rate are checked. The body is decoded strictly: an unknown field
// is an error, never a guess. Then the handler calls one of the interfaces below and writes the
// answer.
//
// Routes are in server.go, all error codes and messages in errors.go, and the OpenAPI document is
// built from the routes in openapi.go. Besides its own shapes the API speaks those of Metarank
// (/rank, /feedback) and of TEI, Jina and Cohere (/rerank).
//
// Nothing that a client sends reaches a log line or a metric label. Routes are named by their
// template, for example /items/:id; users and items are not named at all.
package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"relish/experiment"
	"relish/ranker"
)

// Ranker ranks the candidates of a request. ranker.Pipeline implements it.
type Ranker interface {
	Rank(ctx context.Context, req *ranker.Request) (*ranker.Response, error)
}

// EventSink stores events.
type EventSink interface {
	// Append makes the events durable and applies them to the feature store before it returns. The
	// outcomes are aligned with the events. Its errors wrap ranker.ErrLogFull or
	// ranker.ErrLogUnavailable; then no event was stored.
	Append(ctx context.Context, events []ranker.Event) ([]ranker.EventOutcome, error)
}

// Catalogue reads and deletes items.
type Catalogue interface {
	Item(id string) (*ranker.Item, bool)
	DeleteItem(ctx context.Context, id string) (known bool, err error)
}

// UserEraser erases users.
type UserEraser interface {
	// EraseUser drops the user's state at once and schedules the erasure of the user's events. An
	// unknown user is no error.
	EraseUser(ctx context.Context, id string) error
}

// TextEncoder encodes texts for /rerank.
type TextEncoder interface {
	// Texts returns the vectors of the texts, of length 1. The vector of a text without a visible
	// character is nil. It fails if one of the others has no vector when ctx ends.
	Texts(ctx context.Context, texts []string) ([][]float32, error)
}

// Models lists the models that can rank, and changes which one is active. Errors wrap
// ranker.ErrUnknownModel, ranker.ErrModelRefused or ranker.ErrNoPreviousModel. After any other
// error of Activate and Rollback nothing has changed.
type Models interface {
	List() ([]ranker.ModelStatus, error)
	// Activate and Rollback record who changes the model, and why. They return when it is in use in
	// this process.
	Activate(ctx context.Context, version, by, why string) error
	Rollback(ctx context.Context, by, why string) (version string, err error)
	// Report returns a bundle's model card, an HTML page.
	Report(version string) ([]byte, error)
}

// Experiments tells which experiments are in effect. experiment.Watcher implements it.
type Experiments interface {
	Status() experiment.SetStatus
	GrowthBook() experiment.Payload
}

// ExperimentReporter analyses experiments from the event log.
type ExperimentReporter interface {
	// Report analyses the named experiment by the metric, or by the experiment's own metric if
	// metric is "". It counts the events of the period; a zero time leaves that side of it
	// open. Its errors wrap ErrUnknownExperiment, ErrInvalidReport or the context's error.
	Report(ctx context.Context, name, metric string, from, to time.Time) (ExperimentReport, error)
}

// ExperimentReport is encoded as JSON, or writes itself as an HTML page.
type ExperimentReport interface {
	WriteHTML(w io.Writer) error
}

// Errors of ExperimentReporter.
var (
	// ErrUnknownExperiment says that the log has no user who was exposed to the experiment.
	ErrUnknownExperiment = errors.New("no user in the log was exposed to this experiment")
	// ErrInvalidReport says that the request cannot be answered. The wrapping message says why;
	// clients see it.
	ErrInvalidReport = errors.New("no report")
)

// ReadinessCheck is one line of /health/ready.
type ReadinessCheck struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitzero"`
}

// Key is an API key. Only its SHA-256 is kept, so that a leaked configuration gives no access.
type Key struct {
	Name   string // names the key in the activation history and separates rate limits
	SHA256 [32]byte
	Scopes []string // of rank, feedback, items, admin; admin does not include the others
}

// Options configures a Server. Ranker, EventSink, Catalogue, UserEraser, Models and Registry are
// required.
type Options struct {
	Ranker             Ranker
	EventSink          EventSink
	Catalogue          Catalogue
	UserEraser         UserEraser
	Models             Models
	TextEncoder        TextEncoder             // nil: /rerank answers 503
	Labeler            Labeler                 // nil: /labels/{classifier} answers 503
	Trends             Trends                  // nil: /trends answers 404
	Alerts             Alerts                  // nil: there are no alerts
	Experiments        Experiments             // nil: there are no experiments
	ExperimentReporter ExperimentReporter      // nil: /experiments/{name}/report answers 404
	Readiness          func() []ReadinessCheck // nil: ready whenever the server does not drain
	Registry           *prometheus.Registry
	Keys               []Key    // none: every request is allowed
	CORSOrigins        []string // origins whose pages may call the API, as https://shop.example
	MaxInFlight        int      // most ranking slots, see admission.Limiter; 0 means 256
	RatePerKey         float64  // requests a second per key; 0 means no limit
	BodyMemory         int64    // bytes that bodies under way may take; 0 means 128 MiB
	MaxConnections     int      // 0 means 4,096
	// RefusalDelay is how long a ranking waits for its refusal while more than three are refused
	// for each one that is admitted; 0 means not at all.
	RefusalDelay time.Duration
	// LogTimeout is how long a request waits for the event log; 0 means 5 s.
	LogTimeout time.Duration
	Logger     *slog.Logger
	Version    string // shown by /health/ready
}
