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
	items := make([]gin.H, len(resp.Items))
	for i, it := range resp.Items {
		items[i] = gin.H{"id": it.ID, "score": it.Score, "features": metarankFeatures(it.Explain)}
	}
	writeJSON(c, gin.H{"state": nil, "items": items, "took": time.Since(start).Milliseconds()})
	return resp.ShortOfTime
}

// decodeMetarank returns the pipeline's request for a Metarank ranking event. Its ID is "" if the
// event has none.
func decodeMetarank(data []byte, model string) (*ranker.Request, error) {
	if err := checkDepth(data); err != nil {
		return nil, err
	}
	e, invalid := event.DecodeMetarank(data)
	switch {
	case invalid != nil:
		return nil, invalid
	case e.Kind != ranker.EventImpression:
		return nil, errInvalidField.at("/event",
			`must be "ranking": send other events to /feedback`)
	case len(e.Impression.Items) > maxCandidates:
		return nil, errTooManyItems.at("/items",
			"more than %s items: let the retriever return fewer", thousands(maxCandidates))
	case e.UserID == "":
		return nil, errMissingField.at("/user",
			"user is required: send user or session")
	}
	if invalid := event.CheckContext(e.Impression.Context); invalid != nil {
		return nil, errInvalidField.at("/fields", "%s", invalid.Message)
	}
	req := &ranker.Request{
		ID: e.ID, User: e.UserID, Session: e.Session, Context: e.Impression.Context,
		Model: model, Record: true,
	}
	scores := e.Impression.Scores // by item, or empty
	for i, id := range e.Impression.Items {
		candidate := ranker.Candidate{ID: id}
		if len(scores) > 0 && scores[i] != 0 {
			candidate.Score, candidate.HasScore = float32(scores[i]), true
			if candidate.Score-candidate.Score != 0 { // infinite as a float32
				return nil, errInvalidField.at("/items/"+strconv.Itoa(i)+"/relevancy",
					"relevancy must be within ±3.4e38, not %g", scores[i])
			}
		}
		req.Candidates = append(req.Candidates, candidate)
	}
	var err error
	req.Candidates, err = deduplicate(req.Candidates, "items", "/id")
	return req, err
}

// metarankFeatures returns the values of the features that an explanation names. It is null without
// an explanation, as in Metarank.
func metarankFeatures(x *ranker.Explanation) any {
	if x == nil {
		return nil
	}
	out := []gin.H{}
	for _, f := range x.Contributions {
		if !math.IsNaN(f.Value) {
			out = append(out, gin.H{"name": f.Feature, "value": f.Value})
		}
	}
	return out
}
