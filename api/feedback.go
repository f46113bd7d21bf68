package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"relish/features/event"
	"relish/ranker"
)

// rejection is one refused event of a body.
type rejection struct {
	Index   int    `json:"index"` // position of the event in the body, from 0
	Code    string `json:"code"`
	Message string `json:"message"`
	Pointer string `json:"pointer"` // into the event
}

// feedbackResponse is the answer of POST /feedback and PUT /items.
type feedbackResponse struct {
	Accepted   int         `json:"accepted"`
	Duplicates int         `json:"duplicates"`
	Rejected   []rejection `json:"rejected"`
}

// maxEvents bounds the events of one body. It keeps the answer small if every event is rejected.
const maxEvents = 50_000

// eventMediaTypes are the media types of events. Browsers send beacons as text/plain.
var eventMediaTypes = []string{"application/json", ndjsonMediaType, "text/plain"}

const ndjsonMediaType = "application/x-ndjson"

func (s *Server) feedback(c *gin.Context, b body) {
	imported, err := s.imported(c)
	if err != nil {
		fail(c, err)
		return
	}
	source := "" // of an import: ids are unique over all keys, see ranker.Event.Source
	if key := requestKey(c); key != nil && !imported {
		source = "key:" + key.Name
	}
	s.ingestEvents(c, b, func(data []byte) (ranker.Event, *ranker.EventError) {
		e, invalid := event.Decode(data)
		e.Imported, e.Source = imported, source
		return e, invalid
	})
}

// imported reports whether the events of a request happened at their event times, as those of an
// import did, and not when they arrive. Such events change the past that training learns from, so
// the key must be one that may change the catalogue, not one of a browser.
func (s *Server) imported(c *gin.Context) (bool, error) {
	switch value := c.Query("imported"); value {
	case "":
		return false, nil
	case "true":
	default:
		return false, errInvalidField.with("imported must be true or left out, not %s",
			quoted(value))
	}
	if key := requestKey(c); key != nil && !slices.Contains(key.Scopes, "items") {
		return false, errForbidden.with("this key lacks the scope items, which imported=true " +
			"needs: use a key that has it, or add the scope in relish.yaml")
	}
	return true, nil
}

// ingestEvents decodes a body's events, stores the valid ones and answers with the number of each
// outcome. One invalid event does not stop the others.
func (s *Server) ingestEvents(
	c *gin.Context, b body, decodeEvent func([]byte) (ranker.Event, *ranker.EventError),
) {
	var events []ranker.Event
	var index []int // by event: its position in the body
	answer := feedbackResponse{Rejected: []rejection{}}
	reject := func(i int, e *ranker.EventError) {
		answer.Rejected = append(answer.Rejected, rejection{i, e.Code, e.Message, e.Pointer})
	}
	n := 0
	byLine := c.ContentType() == ndjsonMediaType
	err := forEachValue(b.data, byLine, func(value []byte, line int) {
		e, invalid := decodeValue(value, line, decodeEvent)
		if invalid != nil {
			reject(n, invalid)
		} else {
			events, index = append(events, e), append(index, n)
		}
		n++
	})
	if err == nil && len(events) > 0 {
		var outcomes []ranker.EventOutcome
		outcomes, err = s.appendEvents(c, events)
		for i, o := range outcomes {
			switch {
			case o.Err != nil:
				reject(index[i], o.Err)
			case o.Duplicate:
				answer.Duplicates++
			default:
				answer.Accepted++
			}
		}
	}
	if err != nil {
		fail(c, err)
		return
	}
	s.metrics.events.WithLabelValues("accepted").Add(float64(answer.Accepted))
	s.metrics.events.WithLabelValues("duplicate").Add(float64(answer.Duplicates))
	s.metrics.events.WithLabelValues("rejected").Add(float64(len(answer.Rejected)))
	c.JSON(http.StatusOK, answer)
}

// appendEvents stores the events.
func (s *Server) appendEvents(
	c *gin.Context, events []ranker.Event,
) (outcomes []ranker.EventOutcome, err error) {
	err = s.withLog(c, func(ctx context.Context) error {
		outcomes, err = s.opt.EventSink.Append(ctx, events)
		return err
	})
	return outcomes, err
}

// withLog calls store, which waits for the event log, for at most Options.LogTimeout. A log on a
// disk that hangs would otherwise hold requests and their bodies for ever.
func (s *Server) withLog(c *gin.Context, store func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(c.Request.Context(), s.opt.LogTimeout)
	defer cancel()
	err := store(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return errLogTimeout
	}
	return err
}

// decodeValue decodes and checks one value of a body. A value that is not valid JSON is named by
// its line, 0 = none.
func decodeValue(
	value []byte, line int, decodeEvent func([]byte) (ranker.Event, *ranker.EventError),
) (ranker.Event, *ranker.EventError) {
	var e ranker.Event
	var invalid *ranker.EventError
	if err := checkDepth(value); err != nil {
		tooDeep := fromError(err)
		invalid = &ranker.EventError{Code: tooDeep.code, Message: tooDeep.message}
	} else if e, invalid = decodeEvent(value); invalid == nil {
		invalid = event.Validate(&e)
		return e, invalid
	}
	if invalid.Code == errMalformed.code && line > 0 {
		invalid.Message = fmt.Sprintf("line %d: %s", line, invalid.Message)
	}
	return e, invalid
}
