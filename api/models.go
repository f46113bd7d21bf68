package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"relish/internal/stats"
	"relish/ranker"
)

// Models knows what there is to rank with, and changes what is active. Errors wrap ranker.ErrUnknownModel,
// ranker.ErrModelRefused or ranker.ErrNoPrevious; any other error of Activate and Rollback means that nothing was changed.
type Models interface {
	List() ([]ranker.ModelStatus, error)
	// Activate and Rollback write down by whom and why, and return when the model is in use here.
	Activate(ctx context.Context, version, by, why string) error
	Rollback(ctx context.Context, by, why string) (version string, err error)
	// Report returns a bundle's page for people.
	Report(version string) ([]byte, error)
}

// activationTimeout bounds an activation: the bundle is tried in a process of its own before it is used.
const activationTimeout = 3 * time.Minute

// reportPolicy lets a report show itself and do nothing: it comes out of a bundle.
const reportPolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"

type modelResponse struct {
	Version string                    `json:"version"`
	State   string                    `json:"state"`
	Reason  string                    `json:"reason,omitzero"`
	Created time.Time                 `json:"created,omitzero"`
	Parent  string                    `json:"parent,omitzero"`
	Forced  string                    `json:"forced,omitzero"`
	Metrics map[string]stats.Interval `json:"metrics,omitempty"`
}

func (s *Server) listModels(c *gin.Context) {
	list, err := s.opt.Models.List()
	if err != nil {
		fail(c, errBundlesUnavailable.because(err))
		return
	}
	out := make([]modelResponse, len(list))
	for i, m := range list {
		out[i] = modelResponse(m)
	}
	c.JSON(http.StatusOK, gin.H{"models": out})
}

func (s *Server) activateModel(c *gin.Context) {
	s.changeModel(c, func(ctx context.Context, by string) (string, error) {
		version := c.Param("version")
		return version, s.opt.Models.Activate(ctx, version, by, "POST /models/{version}/activate")
	})
}

func (s *Server) rollbackModel(c *gin.Context) {
	s.changeModel(c, func(ctx context.Context, by string) (string, error) {
		return s.opt.Models.Rollback(ctx, by, "POST /models/rollback")
	})
}

// changeModel changes the active model. Only the service's own pages and what is no browser may ask for it: the
// request has no body whose type would make a browser ask first.
func (s *Server) changeModel(c *gin.Context, do func(ctx context.Context, by string) (string, error)) {
	if s.crossOrigin.Check(c.Request) != nil {
		fail(c, errForbidden.with("a page of another origin may not do that; see --cors-origin", ""))
		return
	}
	// Not every writer can set a deadline (a test recorder cannot); then it has none.
	_ = http.NewResponseController(c.Writer).SetWriteDeadline(time.Now().Add(activationTimeout + time.Second))
	ctx, cancel := context.WithTimeout(c.Request.Context(), activationTimeout)
	defer cancel()
	by := "api"
	if key := s.findKey(c.Request); key != nil {
		by = "key " + key.Name
	}
	version, err := do(ctx, by)
	if err != nil {
		fail(c, modelError(err))
		return
	}
	c.JSON(http.StatusOK, gin.H{"active": version})
}

func (s *Server) modelReport(c *gin.Context) {
	page, err := s.opt.Models.Report(c.Param("version"))
	if err != nil {
		fail(c, modelError(err))
		return
	}
	c.Header("Content-Security-Policy", reportPolicy)
	c.Header("X-Content-Type-Options", "nosniff")
	c.Data(http.StatusOK, "text/html; charset=utf-8", page)
}

// modelError finds the table's entry. Who may change models may know why one is refused.
func modelError(err error) error {
	switch {
	case errors.Is(err, ranker.ErrUnknownModel):
		return errUnknownBundle
	case errors.Is(err, ranker.ErrModelRefused):
		return errBundleRefused.with(err.Error(), "")
	case errors.Is(err, ranker.ErrNoPreviousModel):
		return errNoPreviousModel
	}
	return errBundlesUnavailable.because(err)
}
