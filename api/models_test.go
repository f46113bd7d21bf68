package api_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"relish/api"
	"relish/internal/stats"
	"relish/ranker"
)

func TestModelsAreListed(t *testing.T) {
	fake := &models{list: []ranker.ModelStatus{
		{
			Version: "v2", State: ranker.ModelPrevious, Created: time.UnixMilli(0).UTC(),
			Parent: "v1", Forced: "seasonal change",
			Metrics: map[string]stats.Interval{"ndcg@10": {Mean: 0.6, Low: 0.5, High: 0.7, N: 9}},
		},
		{Version: "v1", State: ranker.ModelRefused, Reason: "a file is missing"},
	}}
	s := start(t, func(o *api.Options) { o.Models = fake })
	w := s.call("GET", "/models", "")
	want := `{"models":[{"version":"prior","state":"active"},` +
		`{"version":"v2","state":"previous","created":"1970-01-01T00:00:00Z","parent":"v1",` +
		`"forced":"seasonal change",` +
		`"metrics":{"ndcg@10":{"mean":0.6,"low":0.5,"high":0.7,"n":9}}},` +
		`{"version":"v1","state":"refused","reason":"a file is missing"}]}`
	if w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	validate(t, "/models", s.answerSchema("/models"), w.Body.Bytes())
}

func TestModelsAreChanged(t *testing.T) {
	fake := &models{}
	s := start(t, func(o *api.Options) {
		o.Models = fake
		o.Keys = []api.Key{key("web", "web-secret", "rank"), key("root", "root-secret", "admin")}
		o.CORSOrigins = []string{"https://shop.example"}
	})
	root := []string{"Authorization", "Bearer root-secret"}
	fromPage := func(origin string) []string {
		return append(slices.Clone(root), "Origin", origin, "Sec-Fetch-Site", "cross-site")
	}
	for _, c := range []struct {
		path, want string
		headers    []string
		status     int
	}{
		{"/models/v7/activate", `{"active":"v7"}`, root, 200},
		{"/models/rollback", `{"active":"before"}`, root, 200},
		{"/models/v8/activate", `{"active":"v8"}`, fromPage("https://shop.example"), 200},
		{"/models/v9/activate", "forbidden", fromPage("https://evil.example"), 403},
		{"/models/v9/activate", "forbidden", []string{"Authorization", "Bearer web-secret"}, 403},
		{"/models/rollback", "unauthorized", nil, 401},
	} {
		w := s.call("POST", c.path, "", c.headers...)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %v: %d %s", c.path, c.headers, w.Code, w.Body)
		}
	}
	want := []string{
		"activate v7 by key root", "rollback by key root", "activate v8 by key root"}
	if !slices.Equal(fake.calls, want) {
		t.Errorf("called %v, want %v", fake.calls, want)
	}
}

func TestModelErrors(t *testing.T) {
	fake := &models{}
	s := start(t, func(o *api.Options) { o.Models = fake })
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{fmt.Errorf("%w: v", ranker.ErrUnknownModel), 404, "unknown_model"},
		{fmt.Errorf("%w: NaN", ranker.ErrModelRefused), 409, "bundle_refused"},
		{ranker.ErrNoPreviousModel, 409, "no_previous"},
		{errors.New("the disk is gone"), 503, "bundles_unavailable"},
	} {
		fake.err = c.err
		for _, route := range []string{
			"POST /models/v/activate", "POST /models/rollback", "GET /models/v/report",
		} {
			method, path, _ := strings.Cut(route, " ")
			w := s.call(method, path, "")
			wantError(t, w, c.status, c.code, "")
			if strings.Contains(w.Body.String(), "disk") {
				t.Errorf("the answer tells the cause: %s", w.Body)
			}
		}
	}
	wantError(t, s.call("GET", "/models", ""), 503, "bundles_unavailable", "")
	if !strings.Contains(s.logs.String(), "the disk is gone") {
		t.Error("the log does not tell the cause")
	}
}

// A model card may not run scripts or call the service: it comes out of a bundle.
func TestModelCardIsConfined(t *testing.T) {
	s := start(t, func(o *api.Options) { o.Models = &models{report: "<title>card of "} })
	w := s.call("GET", "/models/v1/report", "")
	contentType := w.Header().Get("Content-Type")
	if w.Code != 200 || w.Body.String() != "<title>card of v1" ||
		!strings.HasPrefix(contentType, "text/html") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	policy := w.Header().Get("Content-Security-Policy")
	for _, part := range []string{
		"default-src 'none'", "frame-ancestors 'none'", "form-action 'none'", "sandbox",
	} {
		if !strings.Contains(policy, part) {
			t.Errorf("policy %q lacks %q", policy, part)
		}
	}
	for _, part := range []string{"connect-src", "script-src", "allow-"} {
		if strings.Contains(policy, part) {
			t.Errorf("policy %q allows %s", policy, part)
		}
	}
}
