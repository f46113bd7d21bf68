package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relish/api"
	"relish/ranker"
)

// send writes a part of a request's body and leaves the connection open.
func send(t *testing.T, l *pipeListener, path, body string, announced int) net.Conn {
	t.Helper()
	conn := l.dial()
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\n\r\n", path, announced)
	if _, err := io.WriteString(conn, head+body); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return conn
}

// Bodies count against the memory for bodies as they arrive. If it is taken, bodies are refused,
// those of events first.
func TestBodyMemory(t *testing.T) {
	var s *service
	served(t, func(t *testing.T, l *pipeListener, stop func() error) {
		const announced = 1 << 20
		emptyBufferPool()
		// Announcing costs nothing.
		announcing := send(t, l, "/feedback", "[", announced)
		if got := s.metric(t, "relish_body_memory_bytes"); got > 32<<10 {
			t.Errorf("a client that announces 1 MiB and sends a byte takes %g bytes", got)
		}
		sending := send(t, l, "/feedback", strings.Repeat(" ", 600<<10), announced)
		if got := s.metric(t, "relish_body_memory_bytes"); got < 600<<10 {
			t.Errorf("a client that has sent 600 KiB takes %g bytes", got)
		}
		w := s.call("POST", "/feedback", "["+strings.Repeat(" ", 600<<10)+"]")
		wantError(t, w, 503, "overloaded", "")
		if w.Header().Get("Retry-After") == "" || w.Header().Get("Connection") != "close" {
			t.Errorf("headers %v", w.Header())
		}
		if got := s.metric(t, `relish_bodies_refused_total{bound="memory"}`); got != 1 {
			t.Errorf("%g bodies are counted as refused", got)
		}
		// The last quarter is for rankings.
		padded := strings.Replace(ranking, "{", "{"+strings.Repeat(" ", 100<<10), 1)
		if w := s.call("POST", "/recommend", padded); w.Code != 200 {
			t.Errorf("a ranking was refused: %s", w.Body)
		}
		announcing.Close()
		sending.Close()
		synctest.Wait()
		if got := s.metric(t, "relish_body_memory_bytes"); got != 0 {
			t.Errorf("%g bytes are taken after all requests ended", got)
		}
		// A body that can never be taken gets another answer than one that may be later.
		w = s.call("POST", "/feedback", "["+strings.Repeat(" ", 3<<19)+"]")
		wantError(t, w, 413, "body_too_large", "")
		many := "[" + strings.Repeat("0,", 40_000) + "0]"
		wantError(t, s.call("POST", "/feedback", many), 413, "body_too_large", "")
	}, func(t *testing.T) *service {
		s = start(t, func(o *api.Options) { o.BodyMemory = 3 << 20 })
		return s
	})
}

// Decoding allocates no more than twice what a body counts as, whatever its shape; what remains
// after decoding is less.
func TestDecodedBodiesAllocations(t *testing.T) {
	const size = 1 << 20
	repeat := func(part string) string {
		return strings.TrimSuffix(strings.Repeat(part, size/len(part)), ",")
	}
	var fields strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&fields, `"%x":1,`, i)
	}
	manyFields := strings.TrimSuffix(fields.String(), ",")
	candidate := func(content string) string {
		return `{"user_id":"u","candidates":[{"id":"a",` + content + `}]}`
	}
	event := `{"type":"user","id":"a","user":"u"},`
	user := `{"type":"user","id":"a","user":"u","fields":{`
	shown := `{"type":"impression","id":"a","user":"u","items":[`
	s := start(t, func(o *api.Options) {
		o.BodyMemory = 1 << 30
		o.EventSink = noLog{}
		o.Ranker = rankFunc(func(context.Context, *ranker.Request) (*ranker.Response, error) {
			return &ranker.Response{}, nil
		})
	})
	for name, c := range map[string]struct{ path, body string }{
		"ids":              {"/recommend", withCandidates(candidateIDs(5000))},
		"candidate fields": {"/recommend", candidate(`"fields":{` + manyFields + `}`)},
		"empty tags":       {"/recommend", candidate(`"tags":[` + repeat(`"",`) + `]`)},
		"texts":            {"/rerank", `{"query":"q","texts":[` + repeat(`"",`) + `]}`},
		"events":           {"/feedback", "[" + repeat(event) + "]"},
		"no events":        {"/feedback", "[" + repeat(`{},`) + "]"},
		"user fields":      {"/feedback", user + manyFields + `}}`},
		"lists":            {"/feedback", user + `"a":[` + repeat(`1,`) + `]}}`},
		"shown items":      {"/feedback", shown + repeat(`"a",`) + `]}`},
	} {
		t.Run(name, func(t *testing.T) {
			values := 0
			for _, mark := range []string{",", "{", "["} {
				values += strings.Count(c.body, mark)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			s.call("POST", c.path, c.body)
			runtime.ReadMemStats(&after)
			counted := uint64(2*len(c.body) + 320*values)
			if got := after.TotalAlloc - before.TotalAlloc; got > 2*counted {
				t.Errorf("a body of %d bytes counts as %d, and decoding allocated %d",
					len(c.body), counted, got)
			}
		})
	}
}

// A quote too many, which costs its own line only, does not hide what the other lines take.
func TestQuoteTooManyHidesNothing(t *testing.T) {
	lines := strings.Repeat(`{"type":"user","id":"a","user":"u"}`+"\n", 10_000)
	counted := map[string]float64{}
	for _, first := range []string{"\n", "\"\n", "\"\\\n"} {
		var s *service
		s = start(t, func(o *api.Options) {
			o.EventSink = sinkFunc(func() {
				counted[first] = s.metric(t, "relish_body_memory_bytes")
			})
		})
		emptyBufferPool()
		s.call("POST", "/feedback", first+lines, "Content-Type", "application/x-ndjson")
	}
	all := counted["\n"]
	for first, got := range counted {
		if all < 10_000*3*320 || got < all {
			t.Errorf("10,000 events count as %g bytes, with %q before them as %g", all, first, got)
		}
	}
}

// sinkFunc is called with all events, and keeps none.
type sinkFunc func()

func (f sinkFunc) Append(_ context.Context, e []ranker.Event) ([]ranker.EventOutcome, error) {
	f()
	return make([]ranker.EventOutcome, len(e)), nil
}

// noLog takes all events and keeps none.
type noLog struct{}

func (noLog) Append(_ context.Context, e []ranker.Event) ([]ranker.EventOutcome, error) {
	return make([]ranker.EventOutcome, len(e)), nil
}

// Large bodies of events are decoded in turns. Small ones and rankings do not wait for a turn.
func TestLargeBodiesTakeTurns(t *testing.T) {
	emptyBufferPool()
	synctest.Test(t, func(t *testing.T) {
		turns := max(1, runtime.GOMAXPROCS(0)/2)
		entered := make(chan struct{}, turns+1)
		s := start(t, func(o *api.Options) {
			o.EventSink, o.LogTimeout = hangingLog{entered}, time.Minute
		})
		large := click("1") + strings.Repeat(" ", 64<<10)
		var wg sync.WaitGroup
		for range turns {
			wg.Go(func() { s.call("POST", "/feedback", large) })
			<-entered
		}
		// A body that waits counts its bytes, and not yet what decoding takes.
		before := s.metric(t, "relish_body_memory_bytes")
		waiting := "[" + strings.Repeat("0,", 50_000) + "0]"
		var refused *httptest.ResponseRecorder
		begin := time.Now()
		wg.Go(func() { refused = s.call("POST", "/feedback", waiting) })
		synctest.Wait()
		if got := s.metric(t, "relish_body_memory_bytes") - before; got > 256<<10 {
			t.Errorf("a body of 100 KB that waits for its turn takes %g bytes", got)
		}
		w := s.call("POST", "/feedback", large)
		wantError(t, w, 503, "overloaded", "")
		if time.Since(begin) != 5*time.Second {
			t.Errorf("waited %v for a turn, want 5 s", time.Since(begin))
		}
		wg.Go(func() { s.call("POST", "/feedback", click("2")) })
		<-entered // the small one has reached the log
		if w := s.call("POST", "/recommend", ranking); w.Code != 200 {
			t.Error(w.Body)
		}
		wg.Wait()
		wantError(t, refused, 503, "overloaded", "")
		if got := s.metric(t, `relish_bodies_refused_total{bound="turn"}`); got != 2 {
			t.Errorf("%g bodies are counted as refused", got)
		}
	})
}

// emptyBufferPool empties the pool of buffers for bodies, where other tests leave larger ones.
func emptyBufferPool() {
	runtime.GC() // a sync.Pool keeps its contents over one collection
	runtime.GC()
}

// Buffers of bodies and answers are used again by other requests. Many requests at once, of
// different sizes and forms, each get the answer to their own body.
func TestBuffersAreNotMixed(t *testing.T) {
	s := start(t, func(o *api.Options) {
		o.MaxInFlight = 1000
		o.Ranker = rankFunc(func(_ context.Context, r *ranker.Request) (*ranker.Response, error) {
			resp := &ranker.Response{Model: r.User + " " + r.Context["query"].Str}
			for _, c := range r.Candidates {
				resp.Items = append(resp.Items, ranker.RankedItem{ID: c.ID})
			}
			return resp, nil
		})
	})
	var all sync.WaitGroup
	for g := range 16 {
		all.Go(func() {
			for n := range 40 {
				s.wantOwnAnswer(t, g, n)
			}
		})
	}
	all.Wait()
}

// wantOwnAnswer sends a ranking that no other pair of numbers sends, and expects its answer.
func (s *service) wantOwnAnswer(t *testing.T, g, n int) {
	t.Helper()
	var ids []string
	for i := range 1 + g*n%90 {
		ids = append(ids, fmt.Sprintf("item-%d-%d-%d", g, n, i))
	}
	user := "user"
	if n%3 == 0 {
		user = `\u0075ser` // the same in a form that is decoded in another way
	}
	w := s.call("POST", "/recommend", fmt.Sprintf(
		`{"user_id":"%s-%d","context":{"query":"q%d"},"candidates":["%s"]}`,
		user, g, n, strings.Join(ids, `","`)))
	var got struct {
		Model string
		Items []struct{ ID string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
		t.Errorf("%d: %s (%v)", w.Code, w.Body, err)
	}
	var gotIDs []string
	for _, it := range got.Items {
		gotIDs = append(gotIDs, it.ID)
	}
	want := fmt.Sprintf("user-%d q%d", g, n)
	if got.Model != want || !slices.Equal(gotIDs, ids) {
		t.Errorf("the answer to %s with %v is %s", want, ids, w.Body)
	}
}
