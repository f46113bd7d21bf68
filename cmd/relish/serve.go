package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"relish/internal/app"
	"relish/internal/config"
)

type serveCmd struct {
	storeFlags   `group:"Data:"`
	bundleFlags  `group:"Data:"`
	encoderFlags `group:"Text encoder:"`
	logFlags     `group:"Logging:"`
	limitFlags   `group:"Limits:"`
	Addr         string        `help:"Address to listen on. Other machines need API keys in relish.yaml, or --open." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	Open         bool          `help:"Serve other machines without keys. Anyone who reaches the port can read, write and erase."`
	BundleKeys   string        `help:"Public keys, in PEM. A bundle that none of them signed is refused (default: no signature is needed)." type:"path" placeholder:"FILE"`
	CORSOrigin   []string      `help:"Origins whose pages may call the service from a browser." name:"cors-origin" placeholder:"ORIGIN"`
	LogFeatures  float64       `help:"Share of rankings whose feature matrix is logged, to check that training computes the same." default:"0.01" placeholder:"SHARE"`
	MaxLogBytes  int64         `help:"Largest size of the event log; above it /feedback answers 507 and stores nothing. 0 means no limit." default:"0" placeholder:"BYTES"`
	MinFreeBytes int64         `help:"Free disk space below which /feedback answers 507. 0 means 256 MiB, or a 20th of a smaller disk." default:"0" placeholder:"BYTES"`
	RetainBytes  int64         `help:"Delete the oldest log segments above this total size; 0 keeps all." default:"0" placeholder:"BYTES"`
	RetainAge    time.Duration `help:"Delete log segments whose newest event is older than this, by arrival; 0 keeps all." default:"0" placeholder:"DURATION"`
	Experiments  string        `help:"Experiments file. It is read again when it changes; an invalid one is refused." type:"path" placeholder:"FILE"`
	EraseAfter   time.Duration `help:"Longest time until an erased user's events are removed from the log." default:"24h" placeholder:"DURATION"`
}

// Run serves until the context ends, then finishes the requests in progress.
func (c *serveCmd) Run(ctx context.Context, cfg *config.Config) error {
	if err := c.checkAddress(cfg); err != nil {
		return err
	}
	if err := c.announce(); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return c.cannotListen(err)
	}
	// SIGHUP never ends the service, whether or not it has an experiments file.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	opt := c.options(cfg)
	opt.ReadAgain = hangup
	fmt.Fprintf(os.Stderr, "relish starts on http://%s (/health/ready says how far it is)\n",
		listener.Addr())
	return app.Serve(ctx, opt, listener, func() {
		fmt.Fprintf(os.Stderr, "relish serves on http://%s (web console at /, API at /docs)\n",
			listener.Addr())
	})
}

func (c *serveCmd) options(cfg *config.Config) app.Options {
	return app.Options{
		Config: cfg, Store: c.storeFlags.options(), Encoder: c.encoderFlags.options(),
		Bundles: c.Bundles, BundleKeys: c.BundleKeys,
		Experiments: c.Experiments, CORSOrigins: c.CORSOrigin, LogFeatures: c.LogFeatures,
		Limits: c.limits(), MaxLogBytes: c.MaxLogBytes,
		MinFreeBytes: c.MinFreeBytes, RetainBytes: c.RetainBytes, RetainAge: c.RetainAge,
		EraseAfter: c.EraseAfter, Log: c.logger(),
	}
}

// checkAddress refuses to serve other machines without keys, unless --open asks for it.
func (c *serveCmd) checkAddress(cfg *config.Config) error {
	host, _, err := net.SplitHostPort(c.Addr)
	if err != nil {
		if _, numeric := strconv.ParseUint(c.Addr, 10, 16); numeric == nil {
			return app.Usagef("--addr %q is not HOST:PORT; write 127.0.0.1:%s", c.Addr, c.Addr)
		}
		return app.Usagef("--addr %q is not HOST:PORT: %w", c.Addr, err)
	}
	ip, err := netip.ParseAddr(host)
	loopback := host == "localhost" || err == nil && ip.IsLoopback()
	if !loopback && len(cfg.Keys) == 0 && !c.Open {
		return app.Usagef("--addr %s can be reached from other machines, and relish.yaml has no "+
			"API keys. Add keys (see docs/operations.md), listen on 127.0.0.1, or pass "+
			"--open", c.Addr)
	}
	return nil
}

func (c *serveCmd) cannotListen(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("--addr %s is in use; choose another --addr or stop the process that "+
			"uses it", c.Addr)
	}
	return fmt.Errorf("cannot listen on --addr %s: %w; choose another --addr", c.Addr, err)
}
