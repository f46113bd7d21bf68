package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"relish/experiment"
)

// reportTimeout bounds an experiment report. It ends before the server's writeTimeout, so that the
// client gets an answer that says what to do.
const reportTimeout = 25 * time.Second

// listExperiments answers with the experiments in effect. It needs the admin scope: seeds and
// conditions tell who gets which arm. Even so it tells only how many users are forced into an arm,
// not which.
func (s *Server) listExperiments(c *gin.Context) {
	if s.opt.Experiments == nil {
		writeJSON(c, experiment.SetStatus{Layers: []experiment.LayerStatus{}})
		return
	}
	writeJSON(c, s.opt.Experiments.Status())
}

// growthBook answers with a GrowthBook SDK payload. A frontend that evaluates it assigns users as
// Relish does.
func (s *Server) growthBook(c *gin.Context) {
	if s.opt.Experiments == nil {
		writeJSON(c, experiment.Payload{})
		return
	}
	writeJSON(c, s.opt.Experiments.GrowthBook())
}

// experimentReport answers with an experiment's report, one at a time: each reads the whole log.
func (s *Server) experimentReport(c *gin.Context) {
	if s.opt.ExperimentReporter == nil {
		fail(c, errUnknownExperiment)
		return
	}
	from, err := queryTime(c, "from")
	to, errTo := queryTime(c, "to")
	if err = errors.Join(err, errTo); err != nil {
		fail(c, errInvalidField.with("%s", err))
		return
	}
	html, err := wantsHTML(c)
	if err != nil {
		fail(c, err)
		return
	}
	if !s.reportLock.TryLock() {
		fail(c, errReportBusy)
		return
	}
	defer s.reportLock.Unlock()
	ctx, cancel := context.WithTimeout(c.Request.Context(), reportTimeout)
	defer cancel()
	name, metric := c.Param("name"), c.Query("metric")
	report, err := s.opt.ExperimentReporter.Report(ctx, name, metric, from, to)
	if errors.Is(err, context.DeadlineExceeded) {
		err = errReportTimeout
	}
	if err != nil {
		fail(c, err)
		return
	}
	if !html {
		writeJSON(c, report)
		return
	}
	var out bytes.Buffer
	if err := report.WriteHTML(&out); err != nil {
		fail(c, err)
		return
	}
	c.Data(http.StatusOK, "text/html; charset=utf-8", out.Bytes())
}

// wantsHTML reports whether the client wants a page: the query parameter format decides, else the
// Accept header, which browsers begin with text/html.
func wantsHTML(c *gin.Context) (bool, error) {
	switch format := c.Query("format"); format {
	case "":
		return strings.HasPrefix(c.GetHeader("Accept"), "text/html"), nil
	case "html", "json":
		return format == "html", nil
	default:
		return false, errInvalidField.with(
			"query parameter format must be json or html, not %s", quoted(format))
	}
}

// queryTime reads a day (its start in UTC) or a time from the query. It returns the zero time if
// there is none.
func queryTime(c *gin.Context, key string) (time.Time, error) {
	text := c.Query(key)
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("query parameter %s must be a day like 2026-05-01 "+
		"or a time like 2026-05-01T10:00:00Z, not %s", key, quoted(text))
}
