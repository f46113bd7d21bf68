package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"relish/api"
	"relish/ranker"
)

// discard is a response writer that keeps the status only, so that it allocates nothing.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

// repeated sends one request to a handler again and again, without allocations of its own.
type repeated struct {
	handler http.Handler
	body    string
	reader  *strings.Reader
	request *http.Request
	answer  discard
}

func newRepeated(handler http.Handler, path, body string) *repeated {
	r := &repeated{handler: handler, body: body, reader: strings.NewReader(body)}
	r.request = httptest.NewRequest(http.MethodPost, path, io.NopCloser(r.reader))
	r.request.ContentLength = int64(len(body))
	r.request.Header.Set("Content-Type", "application/json")
	r.answer.header = http.Header{}
	return r
}

func (r *repeated) send(t testing.TB) {
	r.reader.Reset(r.body)
	clear(r.answer.header)
	r.handler.ServeHTTP(&r.answer, r.request)
	if r.answer.status != http.StatusOK {
		t.Fatalf("status %d", r.answer.status)
	}
}

// quiet is a service that logs as it does by default: requests are below its level.
func quiet(opt *api.Options) { opt.Logger = nil }

// ranksNothing answers with the candidates in their order.
func ranksNothing(_ context.Context, req *ranker.Request) (*ranker.Response, error) {
	items := make([]ranker.RankedItem, len(req.Candidates))
	for i := range items {
		items[i] = ranker.RankedItem{ID: req.Candidates[i].ID, Rank: i + 1, Score: 0.25}
	}
	return &ranker.Response{RequestID: req.ID, Items: items}, nil
}

// What the API allocates for a request does not depend on the number of candidates. The ranking is
// not counted.
func TestRecommendAllocations(t *testing.T) {
	withoutRanking := func(opt *api.Options) {
		quiet(opt)
		opt.Ranker = rankFunc(ranksNothing)
	}
	handler := start(t, withoutRanking).Handler()
	const rankingItself = 2 // of ranksNothing
	for _, n := range []int{24, 100, 500} {
		r := newRepeated(handler, "/recommend",
			`{"user_id":"u","record":false,"candidates":`+candidateIDs(n)+`}`)
		r.send(t)
		got := testing.AllocsPerRun(200, func() { r.send(t) }) - rankingItself
		if got > 24 {
			t.Errorf("%d candidates: %g allocations, want at most 24", n, got)
		}
		t.Logf("%d candidates: %g allocations", n, got)
	}
}

// The whole request, ranked by the prior without texts, stays within a bound.
func TestRankedRequestAllocations(t *testing.T) {
	r := newRepeated(start(t, quiet).Handler(), "/recommend",
		`{"user_id":"u","record":false,"candidates":`+candidateIDs(100)+`}`)
	r.send(t)
	if got := testing.AllocsPerRun(200, func() { r.send(t) }); got > 60 {
		t.Errorf("%g allocations, want at most 60", got)
	}
}

func BenchmarkRecommend(b *testing.B) {
	for _, record := range []bool{false, true} {
		b.Run(fmt.Sprintf("record=%t", record), func(b *testing.B) {
			r := newRepeated(start(b, quiet).Handler(), "/recommend",
				fmt.Sprintf(`{"user_id":"u","record":%t,"candidates":%s}`, record,
					candidateIDs(100)))
			b.ReportAllocs()
			for b.Loop() {
				r.send(b)
			}
		})
	}
}
