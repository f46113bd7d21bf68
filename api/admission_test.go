package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relish/api"
	"relish/ranker"
)

// A ranking takes its slot when its body has arrived. Clients that send slowly hold none.
func TestSlowBodiesHoldNoSlot(t *testing.T) {
	served(t, func(t *testing.T, l *pipeListener, stop func() error) {
		for range 8 {
			slow := l.dial()
			defer slow.Close()
			request := post("/recommend", ranking)
			if _, err := io.WriteString(slow, request[:len(request)-1]); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		conn := l.dial()
		defer conn.Close()
		if got := ask(t, conn, post("/recommend", ranking)); got != "200 OK" {
			t.Errorf("beside slow clients a ranking got %q", got)
		}
	}, func(t *testing.T) *service {
		return start(t, func(o *api.Options) { o.MaxInFlight = 2 })
	})
}

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
	for _, first := range []string{"\n", "\"\n"} {
		var s *service
		s = start(t, func(o *api.Options) {
			o.EventSink = sinkFunc(func() {
				counted[first] = s.metric(t, "relish_body_memory_bytes")
			})
		})
		s.call("POST", "/feedback", first+lines, "Content-Type", "application/x-ndjson")
	}
	if all, got := counted["\n"], counted["\"\n"]; all < 10_000*3*320 || got < all {
		t.Errorf("10,000 events count as %g bytes, with a quote before them as %g", all, got)
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

// A client that leaves /feedback is no error of the service.
func TestClientThatLeaves(t *testing.T) {
	for _, path := range []string{"/feedback", "/rerank"} {
		entered := make(chan struct{}, 1)
		var s *service
		served(t, func(t *testing.T, l *pipeListener, stop func() error) {
			body := click("1")
			if path == "/rerank" {
				body = `{"query":"q","texts":["t"]}`
			}
			conn := l.dial()
			if _, err := io.WriteString(conn, post(path, body)); err != nil {
				t.Fatal(err)
			}
			<-entered
			conn.Close()
			synctest.Wait()
			logs := s.logs.String()
			if !strings.Contains(logs, `"status":499`) || strings.Contains(logs, "ERROR") ||
				strings.Contains(logs, "WARN") {
				t.Errorf("logs %s", logs)
			}
			if strings.Contains(s.call("GET", "/metrics", "").Body.String(), `status="5xx"`) {
				t.Error("the client counts as a failure of the service")
			}
		}, func(t *testing.T) *service {
			s = start(t, func(o *api.Options) {
				o.EventSink, o.TextEncoder = hangingLog{entered}, hangingLog{entered}
			})
			return s
		})
	}
}

// Rankings whose clients leave end at once, and leave nothing behind.
func TestManyClientsLeave(t *testing.T) {
	entered := make(chan struct{}, 1)
	var s *service
	served(t, func(t *testing.T, l *pipeListener, stop func() error) {
		synctest.Wait() // until Serve accepts
		before := runtime.NumGoroutine()
		for range 1000 {
			conn := l.dial()
			if _, err := io.WriteString(conn, post("/recommend", ranking)); err != nil {
				t.Fatal(err)
			}
			<-entered
			conn.Close()
			synctest.Wait()
		}
		// The runtime starts a few of its own at any time, to clean up. A leak is one per client.
		if after := runtime.NumGoroutine(); after > before+100 {
			t.Errorf("%d goroutines became %d", before, after)
		}
		for _, name := range []string{
			"relish_rankings_in_flight", "relish_body_memory_bytes", "relish_connections",
		} {
			if got := s.metric(t, name); got != 0 {
				t.Errorf("%s is %g after all clients left", name, got)
			}
		}
	}, func(t *testing.T) *service {
		s = start(t, func(o *api.Options) {
			o.Ranker = rankFunc(func(
				ctx context.Context, _ *ranker.Request,
			) (*ranker.Response, error) {
				entered <- struct{}{}
				<-ctx.Done()
				return &ranker.Response{}, nil
			})
		})
		return s
	})
}

// hangingLog is an event log and an encoder that answer when the context ends. Both tell when they
// are called.
type hangingLog struct{ entered chan struct{} }

func (h hangingLog) Append(ctx context.Context, _ []ranker.Event) ([]ranker.EventOutcome, error) {
	h.entered <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (h hangingLog) Texts(ctx context.Context, _ []string) ([][]float32, error) {
	h.entered <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

// A log that does not answer holds no request for ever.
func TestLogThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entered := make(chan struct{}, 3)
		s := start(t, func(o *api.Options) {
			o.EventSink, o.LogTimeout = hangingLog{entered}, 3*time.Second
		})
		begin := time.Now()
		w := s.call("POST", "/feedback", click("1"))
		wantError(t, w, 503, "log_unavailable", "")
		if took := time.Since(begin); took != 3*time.Second || w.Header().Get("Retry-After") == "" {
			t.Errorf("answered after %v, %v", took, w.Header())
		}
		w = s.call("PUT", "/users/u", `{"fields":{"a":1}}`)
		wantError(t, w, 503, "log_unavailable", "")
	})
}

// Large bodies of events are decoded in turns. Small ones and rankings do not wait for a turn.
func TestLargeBodiesTakeTurns(t *testing.T) {
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

// Requests that have arrived are refused before an admitted ranking computes. Otherwise they would
// wait for the processor one after the other, and no limit would see them.
func TestAdmissionComesBeforeComputing(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s := start(t, func(o *api.Options) {
		o.MaxInFlight = 1
		o.Ranker = rankFunc(func(context.Context, *ranker.Request) (*ranker.Response, error) {
			return &ranker.Response{}, nil
		})
	})
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { s.call("POST", "/recommend", ranking) })
	}
	wg.Wait()
	if s.metric(t, "relish_rankings_refused_total") == 0 {
		t.Error("ten requests at once were ranked one after the other with one slot")
	}
}

// Rankings that run short of time lower the number of slots.
func TestSlotsFollowTime(t *testing.T) {
	entered, hold := make(chan struct{}, 1), make(chan struct{})
	s := start(t, func(o *api.Options) {
		o.MaxInFlight = 1000
		o.Ranker = rankFunc(func(context.Context, *ranker.Request) (*ranker.Response, error) {
			entered <- struct{}{}
			<-hold
			return &ranker.Response{ShortOfTime: true}, nil
		})
	})
	before := s.metric(t, "relish_ranking_slots")
	var wg sync.WaitGroup
	for range int(before) {
		wg.Go(func() { s.call("POST", "/recommend", ranking) })
		<-entered
	}
	close(hold)
	wg.Wait()
	if after := s.metric(t, "relish_ranking_slots"); after >= before {
		t.Errorf("%g slots became %g after all rankings ran short of time", before, after)
	}
}

// A large request costs more slots than a small one: two of 5,000 candidates take as many as 22.
func TestLargeRankingsCostMore(t *testing.T) {
	entered, hold := make(chan struct{}, 1), make(chan struct{})
	s := start(t, func(o *api.Options) {
		o.MaxInFlight = 24
		o.Ranker = rankFunc(func(context.Context, *ranker.Request) (*ranker.Response, error) {
			entered <- struct{}{}
			<-hold
			return &ranker.Response{}, nil
		})
	})
	slots := int(s.metric(t, "relish_ranking_slots")) // fewer on one processor
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { s.call("POST", "/recommend", withCandidates(candidateIDs(5000))) })
		<-entered
	}
	for range slots - 2*min(11, slots/2) {
		wg.Go(func() { s.call("POST", "/recommend", ranking) })
		<-entered
	}
	wantError(t, s.call("POST", "/recommend", ranking), 503, "overloaded", "")
	close(hold)
	wg.Wait()
}

// Refusals write no log line each: under overload, these would cost more than the refusals.
func TestRefusalsAreNotLogged(t *testing.T) {
	hold, entered := make(chan struct{}), make(chan struct{})
	s := start(t, func(o *api.Options) {
		o.MaxInFlight = 1
		o.Ranker = rankFunc(func(context.Context, *ranker.Request) (*ranker.Response, error) {
			entered <- struct{}{}
			<-hold
			return &ranker.Response{}, nil
		})
	})
	var wg sync.WaitGroup
	wg.Go(func() { s.call("POST", "/recommend", ranking) })
	<-entered
	wantError(t, s.call("POST", "/recommend", ranking), 503, "overloaded", "")
	close(hold)
	wg.Wait()
	for line := range bytes.Lines([]byte(s.logs.String())) {
		var entry struct{ Level string }
		if err := json.Unmarshal(line, &entry); err != nil || entry.Level != "DEBUG" {
			t.Errorf("%v %s", err, line)
		}
	}
}
