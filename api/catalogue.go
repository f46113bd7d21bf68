package api

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"relish/features/event"
	"relish/ranker"
)

// itemBody is an item as PUT /items takes it and GET /items/{id} returns it.
type itemBody struct {
	ID     string                       `json:"id"`
	Title  string                       `json:"title,omitzero"`
	Text   string                       `json:"text,omitzero"`
	Tags   event.TextList               `json:"tags,omitzero"`
	Fields map[string]ranker.FieldValue `json:"fields,omitzero"`
}

// EachName implements event.Named.
func (b *itemBody) EachName(yield func(string)) {
	yield(b.ID)
	for name := range b.Fields {
		yield(name)
	}
}

// putItems stores items. Each one replaces all that was stored of it; an item event merges instead.
func (s *Server) putItems(c *gin.Context, b body) {
	s.ingestEvents(c, b, func(data []byte) (ranker.Event, *ranker.EventError) {
		var b itemBody
		if err := decode(data, &b); err != nil {
			e := fromError(err)
			return ranker.Event{}, &ranker.EventError{
				Code: e.code, Message: e.message, Pointer: e.pointer}
		}
		if b.ID == "" {
			return ranker.Event{}, &ranker.EventError{
				Code: "missing_field", Pointer: "/id",
				Message: "id is required: send the id of the item"}
		}
		if err := event.CheckID(b.ID); err != nil {
			return ranker.Event{}, &ranker.EventError{
				Code: "invalid_field", Message: err.Error(), Pointer: "/id"}
		}
		return ranker.Event{
			Kind: ranker.EventItem, ID: uuid.NewString(), ItemID: b.ID,
			Title: &b.Title, Text: &b.Text, Tags: b.Tags, Fields: ranker.WithoutNulls(b.Fields),
			Replace: true,
		}, nil
	})
}

// pathID returns the id in the path. It answers the request, and ok is false, if there can be no
// such id.
func pathID(c *gin.Context) (id string, ok bool) {
	id = c.Param("id")
	if err := event.CheckID(id); err != nil {
		fail(c, errInvalidField.with("the id in the path %s", err))
		return "", false
	}
	return id, true
}

func (s *Server) getItem(c *gin.Context) {
	id, ok := pathID(c)
	if !ok {
		return
	}
	it, ok := s.opt.Catalogue.Item(id)
	if !ok {
		fail(c, errUnknownItem)
		return
	}
	writeJSON(c, itemBody{
		ID: it.ID, Title: it.Title, Text: it.Text, Tags: it.Tags, Fields: it.Fields})
}

func (s *Server) deleteItem(c *gin.Context) {
	id, ok := pathID(c)
	if !ok {
		return
	}
	var known bool
	err := s.withLog(c, func(ctx context.Context) (err error) {
		known, err = s.opt.Catalogue.DeleteItem(ctx, id)
		return err
	})
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

// EachName implements event.Named.
func (b *userBody) EachName(yield func(string)) {
	for name := range b.Fields {
		yield(name)
	}
}

// putUser sets fields of a user. Fields that the body does not name stay as they are.
func (s *Server) putUser(c *gin.Context, b body) {
	id, ok := pathID(c)
	if !ok {
		return
	}
	var fields userBody
	err := decode(b.data, &fields)
	e := ranker.Event{
		Kind: ranker.EventUser, ID: uuid.NewString(), UserID: id,
		Fields: ranker.WithoutNulls(fields.Fields),
	}
	if err == nil {
		if invalid := event.Validate(&e); invalid != nil {
			err = invalid
		}
	}
	if err == nil {
		var outcomes []ranker.EventOutcome
		outcomes, err = s.appendEvents(c, []ranker.Event{e})
		if err == nil && outcomes[0].Err != nil {
			err = outcomes[0].Err
		}
	}
	if err != nil {
		fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

// deleteUser erases a user. An unknown user is no error, so that a client can repeat the request.
func (s *Server) deleteUser(c *gin.Context) {
	id, ok := pathID(c)
	if !ok {
		return
	}
	err := s.withLog(c, func(ctx context.Context) error {
		return s.opt.UserEraser.EraseUser(ctx, id)
	})
	if err != nil {
		fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}
