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

// activationTimeout bounds an activation. Before a bundle is used, it is tried in a child process,
// which takes most of the time.
const activationTimeout = 3 * time.Minute

// reportPolicy lets a model card show itself and do nothing. It comes out of a bundle, which is not
// trusted.
const reportPolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"

// modelResponse is one model of GET /models. It has the fields of ranker.ModelStatus.
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

// changeModel changes the active model and answers with its version.
//
// A page of another origin is refused here. The request has no body, so a browser would send it for
// any page without asking first.
func (s *Server) changeModel(
	c *gin.Context, change func(ctx context.Context, by string) (version string, err error),
) {
	if s.crossOrigin.Check(c.Request) != nil {
		fail(c, errForbidden.with("pages of another origin may not change the active model: "+
			"allow the origin with --cors-origin"))
		return
	}
	// A test recorder has no deadlines; then the request has none.
	deadline := time.Now().Add(activationTimeout + time.Second)
	_ = http.NewResponseController(c.Writer).SetWriteDeadline(deadline)
	ctx, cancel := context.WithTimeout(c.Request.Context(), activationTimeout)
	defer cancel()
	by := "api"
	if key := requestKey(c); key != nil {
		by = "key " + key.Name
	}
	version, err := change(ctx, by)
	if err != nil {
		fail(c, modelError(err, version))
		return
	}
	c.JSON(http.StatusOK, gin.H{"active": version})
}

// modelReport answers with a bundle's model card, an HTML page.
func (s *Server) modelReport(c *gin.Context) {
	version := c.Param("version")
	page, err := s.opt.Models.Report(version)
	if errors.Is(err, ranker.ErrUnknownModel) {
		err = errUnknownModel.with("no bundle %s, or it has no report: see GET /models",
			quoted(version))
	} else if err != nil {
		err = modelError(err, version)
	}
	if err != nil {
		fail(c, err)
		return
	}
	c.Header("Content-Security-Policy", reportPolicy)
	c.Header("X-Content-Type-Options", "nosniff")
	c.Data(http.StatusOK, "text/html; charset=utf-8", page)
}
