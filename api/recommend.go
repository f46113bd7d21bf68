package api

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json/jsontext"

	"relish/features/event"
	"relish/ranker"
)

// recommendBody is the body of POST /recommend.
type recommendBody struct {
	UserID     string                       `json:"user_id"`
	Session    string                       `json:"session"`
	Candidates candidateList                `json:"candidates"`
	Context    map[string]ranker.FieldValue `json:"context"`
	Limit      *int                         `json:"limit"`
	DeadlineMS *int                         `json:"deadline_ms"`
	Explain    explainCount                 `json:"explain"`
	Model      string                       `json:"model"`
	Seed       *int64                       `json:"seed"`
	Record     *bool                        `json:"record"`
	Time       timestamp                    `json:"time"`
	MinFit     *float64                     `json:"min_fit"`
}

// EachName implements event.Named.
func (b *recommendBody) EachName(yield func(string)) {
	for _, name := range []string{b.UserID, b.Session, b.Model} {
		yield(name)
	}
	for i := range b.Candidates {
		c := &b.Candidates[i]
		yield(c.ID)
		if c.Inline != nil {
			for name := range c.Inline.Fields {
				yield(name)
			}
		}
	}
	for name := range b.Context {
		yield(name)
	}
}

// Bounds of POST /recommend besides those of the candidates.
const (
	maxDeadline    = 10 * time.Second
	defaultExplain = 20 // explained items for "explain": true
	maxExplain     = 100
)

// explainCount is how many items to explain: true, false or a number.
type explainCount int

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (e *explainCount) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	switch tok.Kind() {
	case 'n':
		*e = 0
		return nil
	case 't':
		*e = defaultExplain
		return nil
	case 'f':
		*e = 0
		return nil
	case '0':
		if n, err := tok.Float(); err == nil && n == math.Trunc(n) && n >= 1 && n <= maxExplain {
			*e = explainCount(n)
			return nil
		}
	}
	return fmt.Errorf("must be true, false or a whole number from 1 to %d, not %s",
		maxExplain, shorten(tok.String()))
}

// timestamp is a time in Unix milliseconds, given as a number or in RFC 3339.
type timestamp int64

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (t *timestamp) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	*t = 0
	if tok.Kind() == 'n' {
		return nil
	}
	if k := tok.Kind(); k == '"' || k == '0' {
		ms, err := event.ParseTime(tok.String())
		if err == nil {
			err = event.CheckTime(ms, time.Now().UnixMilli())
		}
		*t = timestamp(ms)
		return err
	}
	return fmt.Errorf("must be a time like 2026-05-01T10:00:00Z or Unix milliseconds, not %s",
		shorten(tok.String()))
}

// request checks the body and returns the pipeline's request.
func (b *recommendBody) request(id string) (*ranker.Request, error) {
	r := &ranker.Request{
		ID: id, User: b.UserID, Session: b.Session, Context: ranker.WithoutNulls(b.Context),
		Explain: int(b.Explain),
		Model:   b.Model, Record: b.Record == nil || *b.Record, Time: int64(b.Time),
	}
	if b.UserID == "" {
		return nil, errMissingField.at("/user_id",
			"user_id is required: for an anonymous user send the session id")
	}
	if err := event.CheckID(b.UserID); err != nil {
		return nil, errInvalidField.at("/user_id", "%s", err)
	}
	if b.Session != "" {
		if err := event.CheckID(b.Session); err != nil {
			return nil, errInvalidField.at("/session", "%s", err)
		}
	}
	if b.Limit != nil {
		if r.Limit = *b.Limit; r.Limit < 1 {
			return nil, errInvalidField.at("/limit", "must be at least 1, not %d", r.Limit)
		}
	}
	if b.DeadlineMS != nil {
		ms := *b.DeadlineMS
		if ms < 1 || ms > int(maxDeadline/time.Millisecond) {
			return nil, errInvalidField.at("/deadline_ms", "must be 1 to %s ms, not %d",
				thousands(maxDeadline.Milliseconds()), ms)
		}
		r.Deadline = time.Duration(ms) * time.Millisecond
	}
	if b.MinFit != nil {
		if r.MinFit = *b.MinFit; !(r.MinFit >= 0 && r.MinFit <= 1) {
			return nil, errInvalidField.at("/min_fit", "must be from 0 to 1, not %g", r.MinFit)
		}
		if ranker.SearchText(r.Context) == "" {
			return nil, errInvalidField.at("/min_fit",
				"needs a search text that the items are to fit: send context.query")
		}
	}
	if b.Seed != nil {
		r.Seed = uint64(*b.Seed)
	}
	if err := checkContext(r.Context); err != nil {
		return nil, err
	}
	var err error
	r.Candidates, err = deduplicate(b.Candidates, "candidates", "")
	return r, err
}

// checkContext checks the context by the rules of events, because the log keeps it, and its values:
// no feature reads a list.
func checkContext(context map[string]ranker.FieldValue) error {
	for name, v := range context {
		if v.Kind == ranker.Strings || v.Kind == ranker.Numbers {
			return errInvalidField.at("/context/"+name,
				"must be a number, a boolean or a string, not a list")
		}
	}
	if invalid := event.CheckContext(context); invalid != nil {
		return errInvalidField.at(invalid.Pointer, "%s", invalid.Message)
	}
	return nil
}

// plainBodies holds the buffers of plainBody for reuse.
var plainBodies = sync.Pool{New: func() any { return new(plainBody) }}

// free keeps the memory of a plainBody for another body.
func (p *plainBody) free() {
	p.data, p.content.all = nil, ""
	clear(p.content.fields[:cap(p.content.fields)])
	plainBodies.Put(p)
}

// decodeRecommend reads a body of /recommend.
func decodeRecommend(data []byte) (*recommendBody, error) {
	plain := plainBodies.Get().(*plainBody)
	defer plain.free()
	var b recommendBody
	if plain.read(data, &b) {
		return &b, nil
	}
	b = recommendBody{}
	return &b, decode(data, &b)
}

func (s *Server) recommend(c *gin.Context, b body) (shortOfTime bool) {
	fields, err := decodeRecommend(b.data)
	var req *ranker.Request
	if err == nil {
		req, err = fields.request(infoOf(c).id)
	}
	if err != nil {
		fail(c, err)
		return false
	}
	resp, err := s.runRanking(c, req)
	if errors.Is(err, ranker.ErrUnknownModel) {
		err = errUnknownModel.at("/model", "no loaded model %s: see GET /models, "+
			"or leave model out for the active one", quoted(req.Model))
	}
	if err != nil {
		fail(c, err)
		return false
	}
	buf := answerBuffers.Get().(*[]byte)
	defer keepAnswer(buf)
	*buf = appendResponse((*buf)[:0], resp)
	sendJSON(c, *buf)
	return resp.ShortOfTime
}

// runRanking ranks and counts the ranking.
func (s *Server) runRanking(c *gin.Context, req *ranker.Request) (*ranker.Response, error) {
	info := infoOf(c)
	info.candidates = len(req.Candidates)
	req.Arrived = info.arrived
	resp, err := s.opt.Ranker.Rank(c.Request.Context(), req)
	if err == nil {
		s.metrics.ranking(resp)
	}
	return resp, err
}
