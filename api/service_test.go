package api_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"relish/api"
	"relish/features"
	"relish/features/embedded"
	"relish/ranker"
	"relish/ranker/scorer"
	"relish/ranker/signals"
)

var update = flag.Bool("update", false, "overwrite the golden files with what the code produces")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is the API with a real store and a real pipeline behind it.
type service struct {
	*api.Server
	store  *embedded.Store
	events *events
	logs   *lockedBuffer
}

// rankingTime is the deadline of rankings that set none. It is long, so that no test uses a
// fallback because the machine is busy.
const rankingTime = time.Minute

// start returns a service whose options change may alter; change may be nil.
func start(t testing.TB, change func(*api.Options)) *service {
	t.Helper()
	return startIn(t, t.TempDir(), change)
}

// startIn returns the same on a data folder.
func startIn(t testing.TB, dir string, change func(*api.Options)) *service {
	t.Helper()
	cfg := features.DefaultConfig()
	store, err := embedded.Open(dir, cfg, embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	schema, err := scorer.PriorSchema(cfg.Fields, nil)
	if err != nil {
		t.Fatal(err)
	}
	prior, err := scorer.NewPrior(schema, nil)
	if err != nil {
		t.Fatal(err)
	}
	model := &ranker.Model{
		Version: "prior", Schema: schema, Scorer: prior,
		Signals: []ranker.Signal{signals.TokenOverlap{}},
	}
	pipeline, err := ranker.New(ranker.Options{
		Features: store, Recorder: store, Models: scorer.SingleModel(model)})
	if err != nil {
		t.Fatal(err)
	}
	withTime := func(ctx context.Context, req *ranker.Request) (*ranker.Response, error) {
		if req.Deadline == 0 {
			req.Deadline = rankingTime
		}
		return pipeline.Rank(ctx, req)
	}
	s := &service{store: store, events: &events{Store: store}, logs: &lockedBuffer{}}
	opt := api.Options{
		Ranker: rankFunc(withTime), EventSink: s.events, Catalogue: store, UserEraser: store,
		TextEncoder: encoder{}, Labeler: labeler{}, Models: &models{},
		Registry: prometheus.NewRegistry(), Version: "test",
		Logger: slog.New(slog.NewJSONHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&opt)
	}
	if s.Server, err = api.New(opt); err != nil {
		t.Fatal(err)
	}
	return s
}

// seed stores two items and a user with a history.
func seed(t *testing.T, s *service) {
	t.Helper()
	body := `[{"type":"item","id":"s1","item":"a","title":"Sea bread",
	  "text":"Bread on a boat.","tags":["sea"]},
	 {"type":"item","id":"s2","item":"b","title":"Moon jazz","tags":["music"]},
	 {"type":"impression","id":"s3","user":"u","items":["a","b"]},
	 {"type":"interaction","id":"s4","user":"u","item":"a","action":"click","impression":"s3"}]`
	wantOutcomes(t, s.call("POST", "/feedback", body), 4, 0, 0)
}

// call sends a request. The content type is JSON unless headers, which come in pairs, set another
// one.
func (s *service) call(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, req)
	return w
}

// ranking is a small valid request.
const ranking = `{"user_id":"u","candidates":["a","b"]}`

// failure is the body of an error.
type failure struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Pointer string `json:"pointer"`
	} `json:"error"`
}

// decodeFailure returns the body of an error.
func decodeFailure(t *testing.T, w *httptest.ResponseRecorder) failure {
	t.Helper()
	var f failure
	if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil {
		t.Fatalf("status %d, body %q: %v", w.Code, w.Body, err)
	}
	return f
}

// wantError checks the status, code and pointer of an answer, and that it has a message.
func wantError(t *testing.T, w *httptest.ResponseRecorder, status int, code, pointer string) {
	t.Helper()
	e := decodeFailure(t, w).Error
	if w.Code != status || e.Code != code || e.Pointer != pointer || e.Message == "" {
		t.Errorf("got %d %s, want %d %s at %q", w.Code, w.Body, status, code, pointer)
	}
}

// answer is the answer of /recommend.
type answer struct {
	RequestID string `json:"request_id"`
	Items     []struct {
		ID      string  `json:"id"`
		Rank    int     `json:"rank"`
		Score   float64 `json:"score"`
		Explain *struct {
			Base          float64 `json:"base"`
			Contributions []struct {
				Feature      string   `json:"feature"`
				Group        string   `json:"group"`
				Value        *float64 `json:"value"`
				Contribution float64  `json:"contribution"`
			} `json:"contributions"`
			RankWithoutText int      `json:"rank_without_text"`
			MovedBy         []string `json:"moved_by"`
		} `json:"explain"`
	} `json:"items"`
	Model       string             `json:"model"`
	Experiments map[string]string  `json:"experiments"`
	Coverage    map[string]float64 `json:"coverage"`
	Degraded    []string           `json:"degraded"`
	Timings     map[string]float64 `json:"timings_ms"`
}

// recommend sends a request to /recommend, which must succeed.
func (s *service) recommend(t testing.TB, body string) answer {
	t.Helper()
	w := s.call("POST", "/recommend", body)
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	var a answer
	if err := json.Unmarshal(w.Body.Bytes(), &a, json.RejectUnknownMembers(true)); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return a
}

// candidateIDs returns the JSON of n different ids.
func candidateIDs(n int) string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf(`"i%d"`, i)
	}
	return "[" + strings.Join(ids, ",") + "]"
}
