package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"relish/api"
	"relish/features"
	"relish/features/embedded"
	"relish/features/event"
	"relish/ranker"
	"relish/ranker/scorer"
	"relish/ranker/signals"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// texts makes a vector out of a text's letters: alike texts have alike vectors, and nothing is loaded.
type texts struct{ err error }

func (t texts) Text(ctx context.Context, text string) ([]float32, error) {
	if strings.TrimSpace(text) == "" || t.err != nil {
		return nil, t.err
	}
	v := make([]float32, 26)
	sum := float32(0)
	for _, r := range strings.ToLower(text) {
		if r >= 'a' && r <= 'z' {
			v[r-'a']++
			sum++
		}
	}
	for i := range v {
		v[i] /= max(sum, 1)
	}
	return v, ctx.Err()
}

// events forwards to the store unless it is told to fail.
type events struct {
	*embedded.Store
	err error
}

func (e *events) Append(ctx context.Context, list []event.Event) ([]event.EventOutcome, error) {
	if e.err != nil {
		return nil, e.err
	}
	return e.Store.Append(ctx, list)
}

// models remembers what it was asked for, and fails when told to.
type models struct {
	list   []ranker.ModelStatus
	err    error
	asked  []string
	report string
}

func (m *models) List() ([]ranker.ModelStatus, error) {
	return append([]ranker.ModelStatus{{Version: "prior", State: ranker.ModelActive}}, m.list...), m.err
}

func (m *models) Activate(_ context.Context, version, by, why string) error {
	m.asked = append(m.asked, "activate "+version+" by "+by)
	return m.err
}

func (m *models) Rollback(_ context.Context, by, why string) (string, error) {
	m.asked = append(m.asked, "rollback by "+by)
	return "before", m.err
}

func (m *models) Report(version string) ([]byte, error) { return []byte(m.report + version), m.err }

// rankFunc stands in for the pipeline where a test wants its own.
type rankFunc func(context.Context, *ranker.Request) (*ranker.Response, error)

func (f rankFunc) Rank(ctx context.Context, r *ranker.Request) (*ranker.Response, error) {
	return f(ctx, r)
}

// service is the edge over a real store and a real pipeline.
type service struct {
	*api.Server
	store  *embedded.Store
	events *events
	logs   *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t testing.TB, change func(*api.Options)) *service {
	t.Helper()
	cfg := features.DefaultConfig()
	store, err := embedded.Open(t.TempDir(), cfg, embedded.Options{})
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
	logs := &lockedBuffer{}
	pipeline, err := ranker.New(ranker.Options{Features: store, Recorder: store, Models: scorer.SingleModel(&ranker.Model{
		Version: "prior", Schema: schema, Signals: []ranker.Signal{signals.TokenOverlap{}}, Scorer: prior})})
	if err != nil {
		t.Fatal(err)
	}
	s := &service{store: store, events: &events{Store: store}, logs: logs}
	opt := api.Options{Ranker: pipeline, EventSink: s.events, Catalogue: store, UserEraser: store, TextEncoder: texts{}, Models: &models{},
		Registry: prometheus.NewRegistry(), Version: "test",
		Logger: slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if change != nil {
		change(&opt)
	}
	if s.Server, err = api.New(opt); err != nil {
		t.Fatal(err)
	}
	return s
}

// call sends a request; headers come in pairs and override the JSON content type.
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

// failure is the body of an error.
type failure struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Pointer string `json:"pointer"`
	} `json:"error"`
}

// wantError checks status, code and pointer of an answer, and that it tells the client something.
func wantError(t *testing.T, w *httptest.ResponseRecorder, status int, code, pointer string) {
	t.Helper()
	var f failure
	if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil {
		t.Fatalf("status %d, body %q: %v", w.Code, w.Body, err)
	}
	if w.Code != status || f.Error.Code != code || f.Error.Pointer != pointer || f.Error.Message == "" {
		t.Errorf("got %d %s, want %d %s at %q", w.Code, w.Body, status, code, pointer)
	}
}

// answer is what /recommend gives.
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

// candidateList returns the JSON of n ids.
func candidateList(n int) string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%q", fmt.Sprintf("i%d", i))
	}
	return "[" + strings.Join(ids, ",") + "]"
}

func key(name, secret string, scopes ...string) api.Key {
	return api.Key{Name: name, SHA256: sha256.Sum256([]byte(secret)), Scopes: scopes}
}
