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

// echo answers with the candidates as they came, after handle had its say.
func echo(t *testing.T, handle func(w http.ResponseWriter, r *http.Request) bool) *httptest.Server {
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
		fmt.Fprintf(w, `{"items":[%s],"coverage":{"text":0.5},"degraded":["embeddings_partial"],"timings_ms":{"total":2}}`, strings.Join(items, ","))
	}))
	t.Cleanup(s.Close)
	return s
}

func options(url string) bench.Options {
	return bench.Options{URL: url, Users: []string{"u"}, Items: []string{"a", "b", "c"}, Candidates: 5, Rate: 500, Duration: 200 * time.Millisecond}
}

func TestEveryRequestIsCounted(t *testing.T) {
	var got atomic.Int64
	s := echo(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != "Bearer k" {
			t.Error("no key")
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
	if r.Requests+r.Errors != 100 || r.Errors < 5 || r.Degraded != r.Requests || r.Coverage != 0.5 || r.Stages["total"] != 2 {
		t.Errorf("%+v", r)
	}
	if got.Load() != 120 { // the warm-up is a fifth
		t.Errorf("%d requests were sent", got.Load())
	}
}

// A stall shows in full: the requests that were due meanwhile count from when they were due.
func TestStallIsNotOmitted(t *testing.T) {
	const stall = 100 * time.Millisecond
	var n atomic.Int64
	release := make(chan struct{})
	s := echo(t, func(http.ResponseWriter, *http.Request) bool {
		if n.Add(1) == 40 { // after the warm-up's 20
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
	// 50 requests were due within the stall; the first of them waited all of it.
	if r.Max < stall.Microseconds()*9/10 || r.P90 < stall.Microseconds()/2 {
		t.Errorf("a stall of %v shows as max %d us, p90 %d us", stall, r.Max, r.P90)
	}
}

func TestOneAfterTheOther(t *testing.T) {
	var under, most atomic.Int64
	s := echo(t, func(http.ResponseWriter, *http.Request) bool {
		most.Store(max(most.Load(), under.Add(1)))
		time.Sleep(time.Millisecond)
		under.Add(-1)
		return false
	})
	opt := options(s.URL)
	opt.Rate = 0
	if r, err := bench.Run(t.Context(), opt); err != nil || r.Requests < 10 || most.Load() != 1 {
		t.Errorf("%+v %v, %d at once", r, err, most.Load())
	}
}

func TestItStops(t *testing.T) {
	s := echo(t, func(http.ResponseWriter, *http.Request) bool { return false })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	opt := options(s.URL)
	opt.Duration = time.Hour
	if _, err := bench.Run(ctx, opt); err == nil {
		t.Error("no error")
	}
	for _, url := range []string{"", "ftp://x", "127.0.0.1:80", "https://x"} {
		if _, err := bench.Run(t.Context(), options(url)); err == nil {
			t.Errorf("%q was taken", url)
		}
	}
	if bench.Calibrate() <= 0 {
		t.Error("the machine has no unit")
	}
}
