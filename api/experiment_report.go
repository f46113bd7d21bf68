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
)

// reportTimeout is how long a report may take; the server's write timeout comes after it.
const reportTimeout = 25 * time.Second

// experimentReport answers with an experiment's report, as JSON, or as a page where format is html or the client
// accepts pages first. Reports read the whole log, so they are made one at a time.
func (s *Server) experimentReport(c *gin.Context) {
	if s.opt.ExperimentReporter == nil {
		fail(c, errUnknownExperiment)
		return
	}
	from, err := queryTime(c, "from")
	to, errTo := queryTime(c, "to")
	if err = errors.Join(err, errTo); err != nil {
		fail(c, errInvalidField.with(err.Error(), ""))
		return
	}
	page := strings.HasPrefix(c.GetHeader("Accept"), "text/html")
	switch format := c.Query("format"); format {
	case "":
	case "html", "json":
		page = format == "html"
	default:
		fail(c, errInvalidField.with("format must be json or html", ""))
		return
	}
	if !s.reportLock.TryLock() {
		fail(c, errReportBusy)
		return
	}
	defer s.reportLock.Unlock()
	ctx, cancel := context.WithTimeout(c.Request.Context(), reportTimeout)
	defer cancel()
	r, err := s.opt.ExperimentReporter.Report(ctx, c.Param("name"), c.Query("metric"), from, to)
	if errors.Is(err, context.DeadlineExceeded) {
		err = errReportTimeout
	}
	if err != nil {
		fail(c, err)
		return
	}
	if !page {
		writeJSON(c, r)
		return
	}
	var out bytes.Buffer
	if err := r.WriteHTML(&out); err != nil {
		fail(c, err)
		return
	}
	c.Data(http.StatusOK, "text/html; charset=utf-8", out.Bytes())
}

// queryTime reads a day (UTC) or a time of the query, the zero time where there is none.
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
	return time.Time{}, fmt.Errorf("%s must be 2026-05-01 (UTC) or 2026-05-01T10:00:00Z", key)
}

var docExperimentReport = operation{summary: "An experiment's report: verdict, arms, intervals, guardrails (query: metric, from, to, format=json|html)", answer: anyObject()}
