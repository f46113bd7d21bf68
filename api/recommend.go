package api

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json"
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
}

// Bounds of /recommend.
const (
	maxCandidates  = 5000
	maxContextKeys = 32
	maxDeadline    = 10 * time.Second
	defaultExplain = 20
	maxExplain     = 100
	maxTextBytes   = 64 << 10
)

// candidateList reads ids or objects, and stops at the first one too many.
type candidateList []ranker.Candidate

// candidateBody is a candidate given as an object.
type candidateBody struct {
	ID     string                       `json:"id"`
	Title  string                       `json:"title"`
	Text   string                       `json:"text"`
	Tags   []string                     `json:"tags"`
	Fields map[string]ranker.FieldValue `json:"fields"`
	Score  *float64                     `json:"score"`
}

// UnmarshalJSONFrom implements json's interface.
func (cs *candidateList) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '[' {
		return errors.New("must be a list of ids or of objects")
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != ']' {
		if len(*cs) == maxCandidates {
			return errTooManyItems
		}
		c, err := readCandidate(dec, len(*cs))
		if err != nil {
			return err
		}
		*cs = append(*cs, c)
	}
	_, err := dec.ReadToken()
	return err
}

// readCandidate reads the candidate at place i of the list.
func readCandidate(dec *jsontext.Decoder, i int) (c ranker.Candidate, err error) {
	bad := func(message string) error { return errInvalidField.with(message, fmt.Sprintf("/candidates/%d", i)) }
	if dec.PeekKind() == '"' {
		tok, err := dec.ReadToken()
		if err != nil {
			return c, err
		}
		c.ID = tok.String()
		return c, nil
	}
	var b candidateBody
	if err := json.UnmarshalDecode(dec, &b, json.RejectUnknownMembers(true)); err != nil {
		return c, err
	}
	c.ID = b.ID
	if b.Score != nil {
		if c.Score = float32(*b.Score); c.Score-c.Score != 0 {
			return c, bad("score must be a finite 32-bit number")
		}
		c.HasScore = true
	}
	if b.Title != "" || b.Text != "" || b.Tags != nil || b.Fields != nil {
		if len(b.Title)+len(b.Text) > maxTextBytes {
			return c, bad("title and text have at most 64 KiB together")
		}
		c.Inline = &ranker.Item{ID: b.ID, Title: b.Title, Text: b.Text, Tags: b.Tags, Fields: b.Fields}
	}
	return c, nil
}

// explainCount is true, false, or how many items to explain.
type explainCount int

// UnmarshalJSONFrom implements json's interface.
func (e *explainCount) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	switch tok.Kind() {
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
	return errors.New("must be true, false or a whole number from 1 to 100")
}

// timestamp is a time: RFC 3339 or Unix ms.
type timestamp int64

// UnmarshalJSONFrom implements json's interface.
func (m *timestamp) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if k := tok.Kind(); k == '"' || k == '0' {
		if ms, err := event.ParseTime(tok.String()); err == nil && ms > 0 {
			*m = timestamp(ms)
			return nil
		}
	}
	return errors.New("must be RFC 3339 or a whole number of Unix milliseconds, after 1970")
}

// request checks the body and makes the pipeline's request of it.
func (b *recommendBody) request(id string) (*ranker.Request, error) {
	r := &ranker.Request{ID: id, User: b.UserID, Session: b.Session, Context: b.Context, Explain: int(b.Explain), Model: b.Model,
		Record: b.Record == nil || *b.Record, Time: int64(b.Time)}
	if b.UserID == "" {
		return nil, errInvalidField.with("is required; for an anonymous user send the session id", "/user_id")
	}
	if err := event.CheckID(b.UserID); err != nil {
		return nil, errInvalidField.with(err.Error(), "/user_id")
	}
	if b.Session != "" && event.CheckID(b.Session) != nil {
		return nil, errInvalidField.with(event.CheckID(b.Session).Error(), "/session")
	}
	if b.Limit != nil {
		if r.Limit = *b.Limit; r.Limit < 1 {
			return nil, errInvalidField.with("must be at least 1", "/limit")
		}
	}
	if b.DeadlineMS != nil {
		r.Deadline = time.Duration(*b.DeadlineMS) * time.Millisecond
		if *b.DeadlineMS < 1 || *b.DeadlineMS > int(maxDeadline/time.Millisecond) {
			return nil, errInvalidField.with("must be 1 to 10,000", "/deadline_ms")
		}
	}
	if b.Seed != nil {
		r.Seed = uint64(*b.Seed)
	}
	if err := checkContext(b.Context); err != nil {
		return nil, err
	}
	var err error
	r.Candidates, err = deduplicate(b.Candidates)
	return r, err
}

func checkContext(context map[string]ranker.FieldValue) error {
	if len(context) > maxContextKeys {
		return errInvalidField.with("must have at most 32 keys", "/context")
	}
	for name, v := range context {
		if v.Kind == ranker.Strings || v.Kind == ranker.Numbers {
			return errInvalidField.with("must be a number, a boolean or a string", "/context/"+name)
		}
		if event.CheckID(name) != nil || len(v.Str) > maxTextBytes {
			return errInvalidField.with("a key has 1 to 256 printable bytes, a value at most 64 KiB", "/context")
		}
	}
	return nil
}

// deduplicate checks the ids and keeps each one's first place.
func deduplicate(cs []ranker.Candidate) ([]ranker.Candidate, error) {
	if len(cs) == 0 {
		return nil, errInvalidField.with("must name at least one item", "/candidates")
	}
	seen := make(map[string]struct{}, len(cs))
	out := cs[:0]
	for i, c := range cs {
		if err := event.CheckID(c.ID); err != nil {
			return nil, errInvalidField.with("id "+err.Error(), fmt.Sprintf("/candidates/%d", i))
		}
		if _, again := seen[c.ID]; again {
			continue
		}
		seen[c.ID] = struct{}{}
		out = append(out, c)
	}
	return out, nil
}

func (s *Server) recommend(c *gin.Context) {
	var req *ranker.Request
	err := readBody(c, jsonMediaType, func(data []byte) error {
		var body recommendBody
		if err := decode(data, &body); err != nil {
			return err
		}
		var err error
		req, err = body.request(c.GetString(contextRequestID))
		return err
	})
	if err != nil {
		fail(c, err)
		return
	}
	resp, err := s.runRanking(c, req)
	if err != nil {
		fail(c, err)
		return
	}
	c.Data(http.StatusOK, "application/json", appendResponse(make([]byte, 0, 512+64*len(resp.Items)), resp))
}

// runRanking ranks and measures.
func (s *Server) runRanking(c *gin.Context, req *ranker.Request) (*ranker.Response, error) {
	c.Set(contextCandidates, len(req.Candidates))
	resp, err := s.opt.Ranker.Rank(c.Request.Context(), req)
	if err == nil {
		s.metrics.ranking(resp)
	}
	return resp, err
}
