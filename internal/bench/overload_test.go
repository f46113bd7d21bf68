package bench_test

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"relish/internal/bench"
)

// Every answer under overload is counted as what it is.
func TestOverload(t *testing.T) {
	var n, cpu atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			fmt.Fprintf(w, "process_cpu_seconds_total %d\n", cpu.Add(1))
			return
		}
		switch n.Add(1) % 4 {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"error":{"code":"overloaded"}}`)
		case 1:
			fmt.Fprint(w, `{"degraded":["embeddings_partial"]}`)
		default:
			fmt.Fprint(w, `{"degraded":[]}`)
		}
	}))
	t.Cleanup(s.Close)
	results, err := bench.Overload(t.Context(), bench.OverloadOptions{
		Options: options(s.URL), Factors: []float64{0.5, 2},
	})
	if err != nil || len(results) != 3 || results[0].Factor != 0 || results[2].Factor != 2 {
		t.Fatalf("%v %+v", err, results)
	}
	for _, r := range results {
		sum := r.Good + r.Late + r.Refused
		if r.Failed != 0 || r.Late <= 0 || r.Refused <= 0 || math.Abs(sum-r.Sent) > 1e-6*sum {
			t.Errorf("%+v", r)
		}
	}
	if results[1].Recovery != nil || results[2].Recovery != nil {
		t.Error("a service that refuses calm loads too has recovered")
	}
	// A busy machine may answer none of the open loop in time.
	if results[0].Good <= 0 || results[0].GoodPerCPU <= 0 {
		t.Errorf("%+v", results[0])
	}
	if results[0].Goodput != 1 || results[1].Goodput != results[1].Good/results[0].Good {
		t.Errorf("goodput %g and %g", results[0].Goodput, results[1].Goodput)
	}
	if _, err := bench.Overload(t.Context(), bench.OverloadOptions{
		Options: options("ftp://x"), Factors: []float64{1},
	}); err == nil {
		t.Error("an address that is not http was accepted")
	}
}
