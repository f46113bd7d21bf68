package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
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
