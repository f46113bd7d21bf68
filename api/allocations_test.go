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

// repeatedItems returns n items of a body. each has a %d for the number of the item.
func repeatedItems(n int, each string) string {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprintf(each, i)
	}
	return "[" + strings.Join(items, ",") + "]"
}

// bodyForms are bodies of n candidates by their form.
func bodyForms(n int) map[string]struct{ path, body string } {
	return map[string]struct{ path, body string }{
		"ids": {"/recommend",
			`{"user_id":"u","record":false,"candidates":` + candidateIDs(n) + `}`},
		"scores": {"/recommend",
			`{"user_id":"u","record":false,"time":1700000000000,"candidates":` +
				repeatedItems(n, `{"id":"i%d","score":0.5}`) + `}`},
		"Metarank": {"/rank/prior", `{"event":"ranking","id":"r","timestamp":"1599391467000",` +
			`"user":"u","session":"s","fields":[{"name":"query","value":"sea"}],"items":` +
			repeatedItems(n, `{"id":"i%d","relevancy":0.5}`) + `}`},
	}
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
		for name, c := range bodyForms(n) {
			r := newRepeated(handler, c.path, c.body)
			r.send(t)
			got := testing.AllocsPerRun(200, func() { r.send(t) }) - rankingItself
			if got > 26 {
				t.Errorf("%s, %d candidates: %g allocations, want at most 26", name, n, got)
			}
			t.Logf("%s, %d candidates: %g allocations", name, n, got)
		}
	}
}

// The whole request, ranked by the prior without texts, stays within a bound. Rankings in
// Metarank's form are recorded, which is not counted here.
func TestRankedRequestAllocations(t *testing.T) {
	s := start(t, quiet)
	for _, name := range []string{"ids", "scores"} {
		c := bodyForms(100)[name]
		r := newRepeated(s.Handler(), c.path, c.body)
		r.send(t)
		if got := testing.AllocsPerRun(200, func() { r.send(t) }); got > 60 {
			t.Errorf("%s: %g allocations, want at most 60", name, got)
		}
	}
}

// What the API allocates for a candidate with content does not depend on how much content it has,
// but for the map of its fields, and a list for each field that holds one.
func TestContentAllocations(t *testing.T) {
	handler := start(t, func(opt *api.Options) {
		quiet(opt)
		opt.Ranker = rankFunc(ranksNothing)
	}).Handler()
	const n = 100
	for _, c := range []struct {
		content string
		each    float64 // allocations of a candidate
	}{
		{`"title":"T","text":"a \"long\" text"`, 1.1},
		{`"title":"T","tags":["a","b","c","d"]`, 2.1},
		{`"tags":["a"],"fields":{"price":9.5,"kind":"k","on":true,"sizes":["s","m"]}`, 5.1},
	} {
		r := newRepeated(handler, "/recommend", `{"user_id":"u","record":false,"candidates":`+
			repeatedItems(n, `{"id":"i%d",`+c.content+`}`)+`}`)
		r.send(t)
		got := testing.AllocsPerRun(50, func() { r.send(t) })
		if got > 26+n*c.each {
			t.Errorf("%s: %g allocations, want at most %g for a candidate", c.content, got, c.each)
		}
		t.Logf("%s: %g allocations", c.content, got)
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
