package bench_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relish/internal/bench"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// handler may answer a request; it returns true if it did.
type handler func(w http.ResponseWriter, r *http.Request) bool

// echo returns a server that answers with the candidates in their order, unless handle answers.
func echo(t *testing.T, handle handler) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Candidates []string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		if handle(w, r) {
			return
		}
		items := make([]string, len(body.Candidates))
		for i, id := range body.Candidates {
			items[i] = fmt.Sprintf(`{"id":%q}`, id)
		}
		fmt.Fprintf(w, `{"items":[%s],"coverage":{"text":0.5},"degraded":["embeddings_partial"],
		  "timings_ms":{"total":2}}`, strings.Join(items, ","))
	}))
	t.Cleanup(s.Close)
	return s
}

// options are 100 requests, after a warm-up of 20.
func options(url string) bench.Options {
	return bench.Options{
		URL: url, Users: []string{"u"}, Items: []string{"a", "b", "c"}, Candidates: 5,
		Rate: 500, Duration: 200 * time.Millisecond,
	}
}

func TestEveryRequestIsCounted(t *testing.T) {
	var got atomic.Int64
	s := echo(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != "Bearer k" {
			t.Error("the API key is missing")
		}
		if got.Add(1)%10 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	})
	opt := options(s.URL)
	opt.Key = "k"
	r, err := bench.Run(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if r.Requests+r.Errors != 100 || r.Errors < 5 || r.Degraded != r.Requests ||
		r.Coverage != 0.5 || r.Stages["total"] != 2 {
		t.Errorf("%+v", r)
	}
	if got.Load() != 120 {
		t.Errorf("%d requests were sent, want 120", got.Load())
	}
}

// The latency of a request that was due during a stall counts from the time it was due.
func TestStallIsNotOmitted(t *testing.T) {
	const stall = 100 * time.Millisecond
	var n atomic.Int64
	release := make(chan struct{})
	s := echo(t, func(http.ResponseWriter, *http.Request) bool {
		if n.Add(1) == 40 { // the 20th after the warm-up
			time.AfterFunc(stall, func() { close(release) })
		}
		if n.Load() >= 40 {
			<-release
		}
		return false
	})
	r, err := bench.Run(t.Context(), options(s.URL))
	if err != nil {
		t.Fatal(err)
	}
	// About 50 requests were due within the stall. The first one waited for all of it.
	if r.Max < stall.Microseconds()*9/10 || r.P90 < stall.Microseconds()/2 {
		t.Errorf("a stall of %v shows as max %d us, p90 %d us", stall, r.Max, r.P90)
	}
}

// Without a rate, a request is sent when the last one is answered.
func TestOneAfterTheOther(t *testing.T) {
	var current, most atomic.Int64
	s := echo(t, func(http.ResponseWriter, *http.Request) bool {
		most.Store(max(most.Load(), current.Add(1)))
		current.Add(-1)
		return false
	})
	opt := options(s.URL)
	opt.Rate = 0
	if r, err := bench.Run(t.Context(), opt); err != nil || r.Requests < 1 || most.Load() != 1 {
		t.Errorf("%+v %v, up to %d requests at once", r, err, most.Load())
	}
}

// Run fails when its context ends, and for a URL that it cannot use.
func TestRunFails(t *testing.T) {
	s := echo(t, func(http.ResponseWriter, *http.Request) bool { return false })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	opt := options(s.URL)
	opt.Duration = time.Hour
	if _, err := bench.Run(ctx, opt); err == nil {
		t.Error("no error although the context ended")
	}
	for _, url := range []string{"", "ftp://x", "127.0.0.1:80", "https://x"} {
		if _, err := bench.Run(t.Context(), options(url)); err == nil {
			t.Errorf("%q was accepted", url)
		}
	}
}

func TestCalibrate(t *testing.T) {
	if d := bench.Calibrate(); d <= 0 {
		t.Errorf("took %v", d)
	}
}
