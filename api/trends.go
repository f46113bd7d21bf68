package api

import (
	"errors"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"relish/features/trends"
)

// Trends counts the values of item fields over time. trends.Follower implements it.
type Trends interface {
	// Query returns counts and shares over time. Its errors are *trends.QueryError.
	Query(q trends.Query) (*trends.Series, error)
	// Counted returns the names of the counted fields and sources.
	Counted() (fields, sources []string)
}

// trendsFields answers with the names of the counted fields and sources.
func (s *Server) trendsFields(c *gin.Context) {
	if s.opt.Trends == nil {
		fail(c, errNoTrends)
		return
	}
	fields, sources := s.opt.Trends.Counted()
	writeJSON(c, gin.H{"fields": fields, "sources": sources})
}

// getTrends answers with the counts and shares of a field's values by hour or by day.
func (s *Server) getTrends(c *gin.Context) {
	if s.opt.Trends == nil {
		fail(c, errNoTrends)
		return
	}
	query, err := trendsQuery(c)
	if err != nil {
		fail(c, err)
		return
	}
	series, err := s.opt.Trends.Query(*query)
	if bad := (*trends.QueryError)(nil); errors.As(err, &bad) {
		err = errInvalidField.with("%s", bad.Error())
	}
	if err != nil {
		fail(c, err)
		return
	}
	writeJSON(c, series)
}

// trendsQuery reads the query parameters of /trends.
func trendsQuery(c *gin.Context) (*trends.Query, error) {
	q := &trends.Query{Field: c.Query("field"), Source: c.Query("source"), Now: time.Now()}
	if q.Field == "" {
		return nil, errMissingField.with("query parameter field is required: name an item field " +
			"that is counted")
	}
	switch by := c.DefaultQuery("by", "hour"); by {
	case "hour", "day":
		q.ByDay = by == "day"
	default:
		return nil, errInvalidField.with("query parameter by must be hour or day, not %s",
			quoted(by))
	}
	var err, errTo error
	q.From, err = queryTime(c, "from")
	q.To, errTo = queryTime(c, "to")
	if err = errors.Join(err, errTo); err != nil {
		return nil, errInvalidField.with("%s", err)
	}
	if text := c.Query("values"); text != "" {
		if q.Values, err = strconv.Atoi(text); err != nil || q.Values < 1 {
			return nil, errInvalidField.with("query parameter values must be a whole number from "+
				"1 to %d, not %s", trends.MaxValues, quoted(text))
		}
	}
	return q, nil
}
