package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// Starting answers while the service starts, which takes long if it must read a long event log.
// /health/live says that the process runs, so that a supervisor does not kill it. /health/ready
// says how far the start is. Every other request gets 503.
type Starting struct {
	server *http.Server
	done   chan error
}

// ServeStarting answers on the listener until Stop is called. progress says what the service does
// now.
func ServeStarting(ln net.Listener, version string, progress func() string) *Starting {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.Use(gin.Recovery())
	engine.GET("/health/live", live)
	engine.GET("/health/ready", func(c *gin.Context) {
		checks := []ReadinessCheck{{Name: "start", Detail: progress()}}
		c.JSON(http.StatusServiceUnavailable,
			gin.H{"status": "starting", "version": version, "checks": checks})
	})
	engine.NoRoute(func(c *gin.Context) { fail(c, errStarting) })
	s := &Starting{
		server: &http.Server{
			Handler:           engine,
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       bodyTimeout,
			WriteTimeout:      writeTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelWarn),
		},
		done: make(chan error, 1),
	}
	// The connections would otherwise end when the service is ready, under a client's request.
	s.server.SetKeepAlivesEnabled(false)
	go func() { s.done <- s.server.Serve(ln) }()
	return s
}

// stopTimeout bounds how long Stop waits for a client that reads its answer slowly.
const stopTimeout = time.Second

// Stop closes the listener and returns when nothing is answered any more.
func (s *Starting) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = s.server.Close()
	}
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
