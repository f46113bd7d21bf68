package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"relish/api"
	"relish/features/event"
	"relish/ranker"
)

// idRecorder stands for everything behind the API. It records the ids that it is called with.
type idRecorder struct{ ids []string }

func (r *idRecorder) record(id string) { r.ids = append(r.ids, id) }

func (r *idRecorder) Rank(_ context.Context, req *ranker.Request) (*ranker.Response, error) {
	r.record(req.Model)
	return &ranker.Response{}, nil
}

func (r *idRecorder) Append(
	_ context.Context, list []ranker.Event,
) ([]ranker.EventOutcome, error) {
	for _, e := range list {
		r.record(e.UserID)
	}
	return make([]ranker.EventOutcome, len(list)), nil
}

func (r *idRecorder) Item(id string) (*ranker.Item, bool) {
	r.record(id)
	return &ranker.Item{ID: id}, true
}

func (r *idRecorder) DeleteItem(_ context.Context, id string) (bool, error) {
	r.record(id)
	return true, nil
}

func (r *idRecorder) EraseUser(_ context.Context, id string) error {
	r.record(id)
	return nil
}

func (r *idRecorder) List() ([]ranker.ModelStatus, error) { return nil, nil }

func (r *idRecorder) Activate(_ context.Context, version, _, _ string) error {
	r.record(version)
	return nil
}

func (r *idRecorder) Rollback(context.Context, string, string) (string, error) {
	r.record("a rollback")
	return "", nil
}

// idReports are the reports of models and of experiments, whose methods have one name.
type idReports struct{ *idRecorder }

func (r idReports) Report(version string) ([]byte, error) {
	r.record(version)
	return nil, nil
}

type idExperimentReports struct{ *idRecorder }

func (r idExperimentReports) Report(
	_ context.Context, name, _ string, _, _ time.Time,
) (api.ExperimentReport, error) {
	r.record(name)
	return emptyReport{}, nil
}

type emptyReport struct{}

func (emptyReport) WriteHTML(io.Writer) error { return nil }

// escapeAll escapes every byte of an id.
func escapeAll(id string) string {
	var b strings.Builder
	for i := range len(id) {
		fmt.Fprintf(&b, "%%%02x", id[i])
	}
	return b.String()
}

// Whatever bytes an id has, each route reads, changes or erases what has this id, or nothing. No
// route answers with a redirect.
func FuzzIDsInPaths(f *testing.F) {
	for _, id := range []string{
		"plain", "a/b", "wu/", "/wu", "a//b", "a%2Fb", "a%b", "a+b", "a b", "a?b", "a#b", "..", ".",
		"../users/u", "ä", "a;b", "a:b", "*", ":id", "report", "growthbook", "rollback", `a\b`,
		"%", "%%", "+", "dXNlci8xMjM+Lw==", "a\x00b", "a\nb", "\xff", "", "\u202e", "👩‍👧",
		strings.Repeat("/", 256), strings.Repeat("x", 256), strings.Repeat("x", 257),
	} {
		f.Add(id)
	}
	recorder := &idRecorder{}
	server, err := api.New(api.Options{
		Ranker: recorder, EventSink: recorder, Catalogue: recorder, UserEraser: recorder,
		Models: idReports{recorder}, ExperimentReporter: idExperimentReports{recorder},
		Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id string) {
		for _, path := range []string{url.PathEscape(id), escapeAll(id)} {
			for _, route := range []struct{ method, path, body string }{
				{"GET", "/items/" + path, ""},
				{"DELETE", "/items/" + path, ""},
				{"PUT", "/users/" + path, `{"fields":{"f":1}}`},
				{"DELETE", "/users/" + path, ""},
				{"POST", "/models/" + path + "/activate", ""},
				{"GET", "/models/" + path + "/report", ""},
				{"GET", "/experiments/" + path + "/report", ""},
				{"POST", "/rank/" + path,
					`{"id":"r","timestamp":1700000000000,"user":"u","items":[{"id":"a"}]}`},
			} {
				recorder.ids = nil
				req := httptest.NewRequest(route.method, route.path, strings.NewReader(route.body))
				req.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				server.Handler().ServeHTTP(w, req)
				if w.Code >= 300 && w.Code < 400 || w.Code >= 500 {
					t.Errorf("%s %s: %d", route.method, route.path, w.Code)
				}
				valid := event.CheckID(id) == nil
				if others := slices.DeleteFunc(slices.Clone(recorder.ids), func(got string) bool {
					return got == id
				}); len(others) > 0 || valid && len(recorder.ids) != 1 {
					t.Errorf("id %q, %s %s: reached %q", id, route.method, route.path, recorder.ids)
				}
			}
		}
	})
}

// Paths that are no route are not found; a redirect could lead to another route.
func TestNoRedirects(t *testing.T) {
	s := start(t, nil)
	for _, path := range []string{
		"/items/", "/users/", "/users/u/", "/items/a/b", "//items/a", "/ITEMS/a", "/docs/",
		"/recommend/", "/items//a", "/./items/a", "/users/u/../v", "/health/", "/rank",
	} {
		for _, method := range []string{"GET", "POST", "DELETE", "PUT"} {
			w := s.call(method, path, "")
			wantError(t, w, 404, "not_found", "")
		}
	}
}
