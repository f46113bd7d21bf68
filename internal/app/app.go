// Package app wires Relish together: it opens the data folder, the text encoder and the models, and
// runs the ranking service with its background jobs.
//
// The service is an App. New opens everything, Run serves until its context ends, and Close
// releases everything again:
//
//	store := app.StoreOptions{Data: "data"}
//	a, err := app.New(ctx, app.Options{Config: config.Default(), Store: store})
//	if err != nil { … }
//	defer a.Close(ctx)
//	err = a.Run(ctx, listener)
//
// The other commands use these parts:
//
//   - Engine is a locked data folder with its store and its text vectors.
//   - Loader brings events into a store, and ColumnsImport imports external feature columns.
//   - Trainer and Evaluator read the event log beside a running service.
//   - Rebuild computes the state again, and WriteSnapshot writes it to files.
//   - Simulation compares rankings with the best order of the demo's simulated world.
//   - Doctor checks a data folder, and AskService a running service.
//   - ConfigureReport prepares the report about an experiment.
//
// Nothing here parses flags or prints results; cmd/relish does.
package app

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"relish/api"
	"relish/embeddings/classifier"
	"relish/experiment"
	"relish/features/ingest"
	"relish/features/trends"
	"relish/internal/alerts"
	"relish/internal/config"
	"relish/internal/durable"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/rules"
)

// UsageError is an error that the user corrects on the command line or in the configuration.
type UsageError struct{ Err error }

// Error implements error.
func (e UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e UsageError) Unwrap() error { return e.Err }

// Usagef returns a UsageError with a formatted message; it formats as fmt.Errorf does.
func Usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// shutdownTime bounds how long closing may take after the work is done.
const shutdownTime = 15 * time.Second

// Options configure the ranking service. Config and Store.Data are required.
type Options struct {
	Config  *config.Config
	Store   StoreOptions
	Encoder EncoderOptions
	// Bundles is the folder of trained bundles. If it is empty, it is "bundles" in the data folder.
	Bundles string
	// BundleKeys is a file of public keys, of which one must have signed each bundle. If it is
	// empty, bundles need no signature.
	BundleKeys string
	// Experiments is the experiments file; empty: no experiments.
	Experiments string
	// ReadAgain makes the service read the experiments file again at each value; nil: only when the
	// file changes.
	ReadAgain <-chan os.Signal
	// CORSOrigins are the origins whose pages may call the service from a browser.
	CORSOrigins []string
	// LogFeatures is the share of rankings whose feature matrix is logged, 0 to 1.
	LogFeatures float64
	// Limits bound what clients can make the service hold.
	Limits Limits
	// MaxLogBytes is the size of the event log from which events are refused; 0: no limit.
	MaxLogBytes int64
	// MinFreeBytes of the disk are left free: events are refused below that. 0: 256 MiB, but at
	// most a 20th of the disk.
	MinFreeBytes int64
	// RetainBytes and RetainAge bound the sealed segments of the event log; 0: keep all.
	RetainBytes int64
	RetainAge   time.Duration
	// EraseAfter is the longest time until an erased user's events leave the log; 0: 24 h.
	EraseAfter time.Duration
	Log        *slog.Logger // nil: nothing is logged

	// Serve sets these.
	onReplay func(done, total uint64) error // see ingest.Options.OnReplay
	address  string                         // URL of the service for processes of this machine
}

// App is the ranking service. New opens it, Run serves once, Close releases everything.
type App struct {
	engine      *Engine
	models      *bundle.Registry
	pipeline    *ranker.Pipeline
	classifiers *classifier.Registry
	trends      *trends.Follower
	alerts      *alerts.Monitor     // nil without rules
	experiments *experiment.Watcher // nil without an experiments file
	server      *api.Server
	jobs        []job
	health      jobHealth
	announced   string // path of servingFile; empty before it is written
	log         *slog.Logger
}

// New opens the data folder, the encoder, the models and the experiments. It returns an error that
// says what to do if one of them cannot be used. The caller closes the App.
func New(ctx context.Context, opt Options) (_ *App, err error) {
	if opt.Config == nil || opt.Store.Data == "" {
		return nil, errors.New("app.New: Options.Config and Options.Store.Data must be set")
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	limitMemory(opt.Log)
	a := &App{log: opt.Log}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close(ctx))
		}
	}()
	rules, err := alerts.Rules(opt.Config.Alerts)
	if err != nil {
		return nil, err
	}
	if a.alerts, err = openAlerts(opt, rules); err != nil {
		return nil, err
	}
	a.trends = newTrends(opt.Store.Data, opt.Config, rules, opt.Log)
	a.engine, err = OpenEngine(ctx, EngineOptions{
		Store: opt.Store, Encoder: opt.Encoder, Config: opt.Config, Limits: opt.Limits,
		Log: opt.Log,
		Ingest: ingest.Options{
			MaxLogBytes: opt.MaxLogBytes, MinFreeBytes: opt.MinFreeBytes,
			QueueBytes:  opt.Limits.LogQueue,
			RetainBytes: opt.RetainBytes, RetainAge: opt.RetainAge, EraseAfter: opt.EraseAfter,
			OnReplay: opt.onReplay, OnCommit: a.trends.Observe,
		},
	})
	if err != nil {
		return nil, err
	}
	if a.engine.pool != nil {
		a.engine.pool.EncodeBase(ctx)
	}
	root := BundleFolder(opt.Bundles, opt.Store.Data)
	removeUnusedVectors(opt.Store.Data, root, opt.Log)
	if a.models, err = openModels(ctx, root, a.engine, opt); err != nil {
		return nil, err
	}
	a.classifiers = newClassifiers(opt.Store.Data, &opt.Encoder, a.engine.Vectors,
		encoderDigest(a.engine.encoder), a.engine.finetuned, opt.Log)
	// A refused version is logged, and the job tells the readiness check.
	_ = a.classifiers.Sync(ctx)
	if a.engine.Vectors != nil {
		a.engine.labelling.Store(&labelling{
			store: a.engine.Store, classifiers: a.classifiers, text: opt.Config.Text,
			pause: labelPause, log: opt.Log,
		})
	}
	a.experiments, err = openExperiments(ctx, opt.Experiments, opt.Store.Data, a.models, opt.Log)
	if err != nil {
		return nil, err
	}
	a.jobs = a.newJobs(opt)
	if a.server, err = a.newServer(opt); err != nil {
		return nil, err
	}
	if err := a.announce(opt); err != nil {
		opt.Log.Warn("a training beside this server cannot see what it counts", "error", err)
	}
	return a, nil
}

// Run serves on the listener until ctx ends, and then finishes the requests in progress. The
// background jobs run meanwhile. It closes the listener and returns when all of them have ended.
func (a *App) Run(ctx context.Context, listener net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	for _, j := range a.jobs {
		running.Go(func() { a.runJob(ctx, j) })
	}
	return a.server.Serve(ctx, listener)
}

// Close releases everything in the reverse order of New. Call it after Run has returned. It ignores
// the end of ctx, because the service has ended with it. It returns when every goroutine of the App
// has ended. It waits at most 15 seconds for the models and as long for the vectors.
func (a *App) Close(ctx context.Context) error {
	if a.engine == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	var errs []error
	if a.pipeline != nil {
		errs = append(errs, a.pipeline.Close(ctx))
	}
	if a.models != nil {
		errs = append(errs, a.models.Close(ctx))
	}
	if a.classifiers != nil {
		a.classifiers.Close()
	}
	if a.announced != "" {
		errs = append(errs, durable.Remove(durable.Disk, a.announced))
	}
	return errors.Join(append(errs, a.engine.Close(ctx))...)
}

// newServer builds the ranking pipeline and the HTTP server over it.
func (a *App) newServer(opt Options) (*api.Server, error) {
	ruleSet, err := rules.New(opt.Config.Rules)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registerEngine(registry, a.engine)
	registerModels(registry, a.models)
	registerClassifiers(registry, a.classifiers)
	registerTrends(registry, a.trends)
	registerJobs(registry, a.jobs, &a.health)
	store := a.engine.Store
	rankerOptions := ranker.Options{
		Features: store, Vectors: a.engine.rankerVectors(), Models: a.models, Recorder: store,
		Rules: ruleSet, TextSpec: opt.Config.Text, LogFeatures: opt.LogFeatures,
		OnRanked: logDegraded(opt.Log), MaxAbandoned: 4 * opt.Limits.MaxInFlight,
		StateHash: opt.Config.State.FeatureHash(),
	}
	apiOptions := api.Options{
		EventSink: store, Catalogue: store, UserEraser: store, Models: a.models,
		Trends:             a.trends,
		ExperimentReporter: reporter{opt.Store.Data, a.experiments},
		Readiness:          a.readiness,
		Registry:           registry, CORSOrigins: opt.CORSOrigins,
		MaxInFlight: opt.Limits.MaxInFlight, RatePerKey: opt.Limits.RatePerKey,
		BodyMemory: opt.Limits.BodyMemory, MaxConnections: opt.Limits.MaxConnections,
		RefusalDelay: opt.Limits.RefusalDelay,
		LogTimeout:   opt.Limits.LogTimeout, Logger: opt.Log, Version: Revision(),
	}
	// A nil pointer in an interface is not a nil interface: set these only if they are there.
	if a.experiments != nil {
		rankerOptions.Experiments, apiOptions.Experiments = a.experiments, a.experiments
	}
	if a.alerts != nil {
		apiOptions.Alerts = a.alerts
		registerAlerts(registry, a.alerts)
	}
	if a.engine.Vectors != nil {
		apiOptions.TextEncoder, apiOptions.Labeler = a.engine.Vectors, a.classifiers
	}
	if a.pipeline, err = ranker.New(rankerOptions); err != nil {
		return nil, err
	}
	registerPipeline(registry, a.pipeline)
	apiOptions.Ranker = a.pipeline
	if apiOptions.Keys, err = apiKeys(opt.Config.Keys); err != nil {
		return nil, err
	}
	return api.New(apiOptions)
}

// apiKeys converts the keys of the configuration.
func apiKeys(keys []config.Key) ([]api.Key, error) {
	var out []api.Key
	for _, k := range keys {
		digest, err := hex.DecodeString(k.SHA256)
		if err != nil || len(digest) != 32 {
			return nil, fmt.Errorf("keys: the sha256 of %q is not 64 hex digits", k.Name)
		}
		out = append(out, api.Key{Name: k.Name, SHA256: [32]byte(digest), Scopes: k.Scopes})
	}
	return out, nil
}
