package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The dialects in which a service is asked to rank.
const (
	Relish   = "relish"   // POST /recommend
	Metarank = "metarank" // POST /rank/MODEL
)

// Service says where a service is and how it is asked.
type Service struct {
	URL     string // base address, http only
	Key     string // API key; "" sends none
	Dialect string // Relish or Metarank
	Model   string // the model that ranks, for the dialect Metarank
}

// ranking is what one request asks: the order of the candidates for a user.
type ranking struct {
	user       string
	candidates []string
	record     bool
}

// differentRequests is how many rankings are drawn. A load repeats them.
const differentRequests = 64

// drawRankings draws the users and candidates of the requests. The same options draw the same ones.
func (opt *Options) drawRankings() []ranking {
	rng := rand.New(rand.NewPCG(opt.Seed, 3))
	out := make([]ranking, differentRequests)
	for r := range out {
		ids := make([]string, 0, opt.Candidates)
		if opt.Candidates <= len(opt.Items) {
			start := rng.IntN(len(opt.Items))
			for i := range opt.Candidates {
				ids = append(ids, opt.Items[(start+i)%len(opt.Items)])
			}
		} else {
			ids = append(ids, opt.Items...)
			for i := len(ids); i < opt.Candidates; i++ {
				ids = append(ids, fmt.Sprintf("unknown-%d", i))
			}
		}
		user := opt.Users[rng.IntN(len(opt.Users))]
		out[r] = ranking{user: user, candidates: ids, record: opt.Record}
	}
	return out
}

// target sends requests to one service.
type target struct {
	host     string   // with port
	requests [][]byte // ready to be written to a connection
}

// target encodes the rankings beforehand, so that encoding is not measured. A deadline of 0 is the
// service's default; the dialect of Metarank has none. flag names the option that gives the
// address, for the error message.
func (s *Service) target(
	flag string, rankings []ranking, deadline time.Duration,
) (*target, error) {
	base, err := url.Parse(s.URL)
	if err != nil || base.Scheme != "http" || base.Host == "" {
		return nil, fmt.Errorf(
			"%s must be an address like http://127.0.0.1:8080, not %q", flag, s.URL)
	}
	t := &target{host: base.Host}
	path, fields := base.JoinPath("recommend"), recommendFields
	if s.Dialect == Metarank {
		path, fields = base.JoinPath("rank", s.Model), metarankFields
	}
	for i, r := range rankings {
		content := fields(i, r)
		if deadline > 0 && s.Dialect != Metarank {
			content["deadline_ms"] = deadline.Milliseconds()
		}
		request, err := encodeRequest(path, s.Key, content)
		if err != nil {
			return nil, err
		}
		t.requests = append(t.requests, request)
	}
	return t, nil
}

// recommendFields returns the body of POST /recommend. The seed decides between equal scores.
func recommendFields(i int, r ranking) map[string]any {
	return map[string]any{
		"user_id": r.user, "candidates": r.candidates, "record": r.record, "seed": i + 1,
	}
}

// metarankFields returns the body of POST /rank/MODEL, which is a ranking event of Metarank.
func metarankFields(i int, r ranking) map[string]any {
	items := make([]map[string]any, len(r.candidates))
	for i, id := range r.candidates {
		items[i] = map[string]any{"id": id}
	}
	return map[string]any{
		"event": "ranking", "id": "bench-" + strconv.Itoa(i), "user": r.user, "session": r.user,
		"timestamp": strconv.FormatInt(time.Now().UnixMilli(), 10),
		"fields":    []any{}, "items": items,
	}
}

// encodeRequest returns a request as it is written to a connection.
func encodeRequest(target *url.URL, key string, content map[string]any) ([]byte, error) {
	body, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	var raw bytes.Buffer
	if err := req.Write(&raw); err != nil {
		return nil, err
	}
	return raw.Bytes(), nil
}
