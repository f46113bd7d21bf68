package api

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"relish/features/event"
	"relish/ranker"
)

// rejection is one refused event of a body.
type rejection struct {
	Index   int    `json:"index"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Pointer string `json:"pointer"`
}

// feedbackResponse is what /feedback and PUT /items answer.
type feedbackResponse struct {
	Accepted   int         `json:"accepted"`
	Duplicates int         `json:"duplicates"`
	Rejected   []rejection `json:"rejected"`
}

// maxEvents bounds one body; 8 MiB hold no more sensible ones.
const maxEvents = 50_000

var eventMediaTypes = []string{"application/json", "application/x-ndjson", "text/plain"}

// forEachValue calls f with every event of a body: one object, an array of them, or one after another.
func forEachValue(data []byte, f func(value jsontext.Value)) error {
	if err := checkDepth(data); err != nil {
		return err
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(data))
	array := dec.PeekKind() == '['
	if array {
		if _, err := dec.ReadToken(); err != nil {
			return decodeError(err)
		}
	}
	n := 0
	for ; !array || dec.PeekKind() != ']'; n++ {
		value, err := dec.ReadValue()
		if errors.Is(err, io.EOF) && !array && n > 0 {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return errMalformed.with("the body is empty or ends early", "")
		}
		if err != nil {
			return decodeError(err)
		}
		if n == maxEvents {
			return errBodyTooLarge.with("more than 50,000 events in one body", "")
		}
		f(value)
	}
	if _, err := dec.ReadToken(); err != nil {
		return decodeError(err)
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return errMalformed.with("something follows the array", "")
	}
	return nil
}

func (s *Server) feedback(c *gin.Context) { s.ingestEvents(c, eventMediaTypes, event.Decode) }

// ingestEvents decodes a body's events, stores the good ones and answers with each one's outcome.
func (s *Server) ingestEvents(c *gin.Context, types []string, read func([]byte) (event.Event, *event.EventError)) {
	var events []event.Event
	var index []int // each event's place in the body
	answer := feedbackResponse{Rejected: []rejection{}}
	reject := func(i int, e *event.EventError) {
		answer.Rejected = append(answer.Rejected, rejection{i, e.Code, e.Message, e.Pointer})
	}
	err := readBody(c, types, func(data []byte) error {
		n := 0
		return forEachValue(data, func(value jsontext.Value) {
			e, bad := read(value)
			if bad == nil {
				bad = e.Validate()
			}
			if bad != nil {
				reject(n, bad)
			} else {
				events, index = append(events, e), append(index, n)
			}
			n++
		})
	})
	if err == nil && len(events) > 0 {
		var outcomes []event.EventOutcome
		outcomes, err = s.opt.EventSink.Append(c.Request.Context(), events)
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

// itemBody is an item as PUT /items takes and GET /items/{id} gives it.
type itemBody struct {
	ID     string                       `json:"id"`
	Title  string                       `json:"title,omitzero"`
	Text   string                       `json:"text,omitzero"`
	Tags   []string                     `json:"tags,omitzero"`
	Fields map[string]ranker.FieldValue `json:"fields,omitzero"`
}

func (s *Server) putItems(c *gin.Context) {
	s.ingestEvents(c, eventMediaTypes[:2], func(data []byte) (event.Event, *event.EventError) {
		var b itemBody
		if err := decode(data, &b); err != nil {
			e := fromError(err)
			return event.Event{}, &event.EventError{Code: e.code, Message: e.message, Pointer: e.pointer}
		}
		if err := event.CheckID(b.ID); err != nil {
			return event.Event{}, &event.EventError{Code: "invalid_field", Message: err.Error(), Pointer: "/id"}
		}
		return event.Event{Kind: event.EventItem, ID: uuid.NewString(), ItemID: b.ID, Title: &b.Title, Text: &b.Text, Tags: b.Tags, Fields: b.Fields, Replace: true}, nil
	})
}

func (s *Server) getItem(c *gin.Context) {
	it, ok := s.opt.Catalogue.Item(c.Param("id"))
	if !ok {
		fail(c, errUnknownItem)
		return
	}
	writeJSON(c, itemBody{ID: it.ID, Title: it.Title, Text: it.Text, Tags: it.Tags, Fields: it.Fields})
}

func (s *Server) deleteItem(c *gin.Context) {
	known, err := s.opt.Catalogue.DeleteItem(c.Request.Context(), c.Param("id"))
	switch {
	case err != nil:
		fail(c, err)
	case !known:
		fail(c, errUnknownItem)
	default:
		c.Status(http.StatusNoContent)
	}
}

// userBody is the body of PUT /users/{id}.
type userBody struct {
	Fields map[string]ranker.FieldValue `json:"fields"`
}

func (s *Server) putUser(c *gin.Context) {
	e := event.Event{Kind: event.EventUser, ID: uuid.NewString(), UserID: c.Param("id")}
	err := readBody(c, jsonMediaType, func(data []byte) error {
		var b userBody
		err := decode(data, &b)
		e.Fields = b.Fields
		return err
	})
	if err == nil {
		if bad := e.Validate(); bad != nil {
			err = bad
		}
	}
	if err == nil {
		var out []event.EventOutcome
		if out, err = s.opt.EventSink.Append(c.Request.Context(), []event.Event{e}); err == nil && out[0].Err != nil {
			err = out[0].Err
		}
	}
	if err != nil {
		fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

func (s *Server) deleteUser(c *gin.Context) {
	id := c.Param("id")
	if err := event.CheckID(id); err != nil {
		fail(c, errInvalidField.with("the user id "+err.Error(), ""))
		return
	}
	if err := s.opt.UserEraser.Forget(c.Request.Context(), id); err != nil {
		fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}
