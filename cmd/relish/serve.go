package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"relish/api"
	"relish/experiment"
	"relish/features/ingest"
	"relish/internal/config"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/rules"
)

type serveCmd struct {
	storeFlags
	bundleFlags
	encoderFlags
	logFlags
	Addr        string        `help:"Address to listen on. An address other machines reach needs keys in relish.yaml, or --open." default:"127.0.0.1:8080"`
	Open        bool          `help:"Serve other machines without keys. Anyone who reaches the port can read, write and erase."`
	CORSOrigin  []string      `help:"Origins whose pages may call the service from a browser." name:"cors-origin"`
	LogFeatures float64       `help:"Share of rankings whose feature matrix is logged whole: the reference when parity is checked. 0.01 costs about 1 % of the log's growth at 100 candidates." default:"0.01"`
	MaxInFlight int           `help:"Rankings at once before new ones are refused with 503. Refusing beats queueing: a queue only adds latency." default:"256"`
	RatePerKey  float64       `help:"Requests a second per key (or per service without keys), 0 = unlimited." default:"0"`
	MaxLogBytes int64         `help:"Size of the event log at which /feedback answers 507; 0 = no limit." default:"0"`
	RetainBytes int64         `help:"Oldest sealed log segments are dropped above this size; 0 keeps all, so that everything can be trained on." default:"0"`
	RetainAge   time.Duration `help:"Sealed log segments older than this, by arrival, are dropped; 0 keeps all." default:"0"`
	Experiments string        `help:"File of experiments, see docs/experiments.md. It is read again when it changes, and on SIGHUP; a bad one is refused and the old one stays." type:"path" placeholder:"FILE"`
	EraseAfter  time.Duration `help:"A forgotten user's events are rewritten out of the log within this time. Longer batches more users into one rewrite." default:"24h"`
}

// Run serves until the context ends, then drains.
func (c *serveCmd) Run(ctx context.Context, cfg *config.Config) (err error) {
	if err := c.checkOpen(cfg); err != nil {
		return err
	}
	log := c.logger()
	e, err := openEngine(c.storeFlags, &c.encoderFlags, cfg, storeOptions{journal: ingest.Options{
		MaxLogBytes: c.MaxLogBytes, RetainBytes: c.RetainBytes, RetainAge: c.RetainAge, EraseAfter: c.EraseAfter,
	}}, log)
	if err != nil {
		return err
	}
	defer e.closeTimed(&err)
	if e.vectors != nil && c.Redis == "" {
		// What does not fit into the queue is encoded when it is first ranked. So is everything when the
		// catalogue is in Redis: another replica has probably done it.
		var items []*ranker.ItemInfo
		for it, err := range e.store.Items(ctx) {
			if err != nil {
				return err
			}
			items = append(items, it)
		}
		if dropped := e.vectors.Enqueue(items); dropped > 0 {
			log.Warn("more texts lack a vector than the queue holds; relish embed encodes them all", "left", dropped)
		}
	}
	removed, err := dropOwnVectors(c.Data, c.root(c.Data))
	if err != nil {
		log.Warn("vectors of encoders that are gone stay on the disk", "reason", err)
	}
	if len(removed) > 0 {
		log.Info("vectors of encoders that no bundle has any more were removed", "tables", removed)
	}
	models, err := c.openModels(ctx, c.root(c.Data), e, cfg, log)
	if err != nil {
		return err
	}
	keeper, err := c.openExperiments(models, log)
	if err != nil {
		return err
	}
	server, err := c.server(e, models, keeper, cfg, log)
	if err != nil {
		return err
	}
	var background sync.WaitGroup
	defer background.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	background.Go(func() { e.tables.Run(ctx) })
	background.Go(func() { models.Run(ctx) })
	if keeper != nil {
		background.Go(func() { followExperiments(ctx, keeper) })
		background.Go(func() { stopHarmful(ctx, keeper, c.Data, log) })
	}
	ln, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "relish serves on http://%s (web console at /, API at /docs)\n", ln.Addr())
	return server.Serve(ctx, ln)
}

// checkOpen refuses to serve other machines by accident.
func (c *serveCmd) checkOpen(cfg *config.Config) error {
	host, _, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return fmt.Errorf("%w: --addr %q: %v", errUsage, c.Addr, err)
	}
	ip, err := netip.ParseAddr(host)
	local := host == "localhost" || err == nil && ip.IsLoopback()
	if !local && len(cfg.Keys) == 0 && !c.Open {
		return fmt.Errorf("%w: --addr %s can be reached from other machines: put keys into relish.yaml, or say --open", errUsage, c.Addr)
	}
	return nil
}

func (c *serveCmd) server(e *engine, models *bundle.Registry, keeper *experiment.Watcher, cfg *config.Config, log *slog.Logger) (*api.Server, error) {
	steps, err := rules.New(cfg.Rules)
	if err != nil {
		return nil, err
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registerEngine(reg, e)
	registerModels(reg, models)
	ropt := ranker.Options{
		Features: e.store, Vectors: ranksWith(e.vectors), Models: models, Recorder: e.store, Rules: steps,
		TextSpec: cfg.Text, LogFeatures: c.LogFeatures,
	}
	if keeper != nil {
		ropt.Experiments = keeper
	}
	pipeline, err := ranker.New(ropt)
	if err != nil {
		return nil, err
	}
	keys, err := apiKeys(cfg.Keys)
	if err != nil {
		return nil, err
	}
	opt := api.Options{
		Ranker: pipeline, EventSink: e.store, Catalogue: e.store, UserEraser: e.store, Models: models,
		ExperimentReporter: reports{c.Data, keeper}, Readiness: func() []api.ReadinessCheck { return readiness(e, models) }, Registry: reg, Keys: keys, CORSOrigins: c.CORSOrigin,
		MaxInFlight: c.MaxInFlight, RatePerKey: c.RatePerKey, Logger: log, Version: version,
	}
	if e.vectors != nil {
		opt.TextEncoder = e.vectors
	}
	if keeper != nil {
		opt.Experiments = keeper
	}
	return api.New(opt)
}

func apiKeys(keys []config.Key) ([]api.Key, error) {
	var out []api.Key
	for _, k := range keys {
		raw, err := hex.DecodeString(k.SHA256)
		if err != nil {
			return nil, errors.New("keys: sha256 is not hex") // Load has checked it
		}
		out = append(out, api.Key{Name: k.Name, SHA256: [32]byte(raw), Scopes: k.Scopes})
	}
	return out, nil
}

// readiness names what a load balancer and a person want to know.
func readiness(e *engine, models *bundle.Registry) []api.ReadinessCheck {
	checks := []api.ReadinessCheck{storeCheck(e.store), modelCheck(models)}
	if e.encoder != nil {
		check := api.ReadinessCheck{Name: "encoder", OK: true, Detail: e.encoder.Device()}
		if why := e.encoder.FallbackReason(); why != "" {
			check.Detail += " (" + why + ")"
		}
		if n := len(e.own.Digests()); n > 0 {
			check.Detail += fmt.Sprintf("; beside it %d of bundles", n)
		}
		checks = append(checks, check)
	}
	return checks
}

// modelCheck names the active model. With a refused bundle another one ranks, so the service is ready, and says so.
func modelCheck(models *bundle.Registry) api.ReadinessCheck {
	st := models.Stats()
	check := api.ReadinessCheck{Name: "model", OK: true, Detail: st.Active}
	switch {
	case st.Refused != "":
		check.Detail = "degraded: " + st.Active + " ranks; " + st.Refused
	case st.Waiting != "":
		check.Detail = st.Active + " ranks; " + st.Waiting
	}
	return check
}
