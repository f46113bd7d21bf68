package api

import (
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"relish/features/event"
	"relish/ranker"
)

// rankMetarank answers POST /rank/{model}, the ranking call of Metarank's API.
func (s *Server) rankMetarank(c *gin.Context, b body) (shortOfTime bool) {
	start := time.Now()
	req, err := decodeMetarank(b.data, c.Param("model"))
	if err != nil {
		fail(c, err)
		return false
	}
	if req.ID == "" {
		req.ID = infoOf(c).id
	}
	if c.Query("explain") == "true" {
		req.Explain = maxExplain
	}
	resp, err := s.runRanking(c, req)
	if errors.Is(err, ranker.ErrUnknownModel) {
		err = errUnknownModel.with("no loaded model %s: use /rank/prior, or a version that "+
			"GET /models lists as active, previous or loaded", quoted(req.Model))
	}
	if err != nil {
		fail(c, err)
		return false
	}
	buf := answerBuffers.Get().(*[]byte)
	defer keepAnswer(buf)
	*buf = appendMetarank((*buf)[:0], resp, time.Since(start))
	sendJSON(c, *buf)
	return resp.ShortOfTime
}

// decodeMetarank returns the pipeline's request for a Metarank ranking event. Its ID is "" if the
// event has none.
func decodeMetarank(data []byte, model string) (*ranker.Request, error) {
	b, err := decodeMetarankBody(data)
	switch {
	case err != nil:
		return nil, err
	case len(b.candidates) > maxCandidates:
		return nil, errTooManyItems.at("/items",
			"more than %s items: let the retriever return fewer", thousands(maxCandidates))
	case b.user == "":
		return nil, errMissingField.at("/user",
			"user is required: send user or session")
	}
	if invalid := event.CheckContext(b.context); invalid != nil {
		return nil, errInvalidField.at("/fields", "%s", invalid.Message)
	}
	req := &ranker.Request{
		ID: b.id, User: b.user, Session: b.session, Context: b.context, Model: model, Record: true,
	}
	for i, score := range b.scores {
		if score == 0 {
			continue
		}
		c := &b.candidates[i]
		c.Score, c.HasScore = float32(score), true
		if c.Score-c.Score != 0 { // infinite as a float32
			return nil, errInvalidField.at("/items/"+strconv.Itoa(i)+"/relevancy",
				"relevancy must be within ±3.4e38, not %g", score)
		}
	}
	req.Candidates, err = deduplicate(b.candidates, "items", "/id")
	return req, err
}

// appendMetarank appends Metarank's answer. The features of an item are null without an
// explanation, as in Metarank; with one they are those that the explanation names.
func appendMetarank(b []byte, r *ranker.Response, took time.Duration) []byte {
	b = append(b, `{"state":null,"took":`...)
	b = strconv.AppendInt(b, took.Milliseconds(), 10)
	b = append(b, `,"items":[`...)
	for i := range r.Items {
		it := &r.Items[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"id":`...)
		b = appendString(b, it.ID)
		b = append(b, `,"score":`...)
		b = appendNumber(b, it.Score)
		b = append(b, `,"features":`...)
		b = append(appendFeatures(b, it.Explain), '}')
	}
	return append(b, "]}"...)
}

func appendFeatures(b []byte, x *ranker.Explanation) []byte {
	if x == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	first := true
	for i := range x.Contributions {
		f := &x.Contributions[i]
		if math.IsNaN(f.Value) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, `{"name":`...)
		b = appendString(b, f.Feature)
		b = append(b, `,"value":`...)
		b = append(appendNumber(b, f.Value), '}')
	}
	return append(b, ']')
}
