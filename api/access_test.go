package api_test

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relish/api"
	"relish/ranker"
)

func TestKeysAndScopes(t *testing.T) {
	s := start(t, func(o *api.Options) {
		o.Keys = []api.Key{
			key("web", "web-secret", "rank", "feedback"),
			key("catalogue", "items-secret", "items"),
			key("import", "import-secret", "items", "feedback"),
			key("root", "root-secret", "admin"),
		}
	})
	bearer := func(k string) []string { return []string{"Authorization", "Bearer " + k} }
	basic := []string{"Authorization", "Basic web-secret"}
	header := []string{"X-API-Key", "web-secret"}
	const imported = "/feedback?imported=true"
	const texts = `{"query":"q","texts":["a"]}`
	for name, c := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
	}{
		"no key":                      {"POST", "/recommend", ranking, nil, 401},
		"a wrong key":                 {"POST", "/recommend", ranking, bearer("guess"), 401},
		"an empty key":                {"POST", "/recommend", ranking, bearer(""), 401},
		"basic authentication":        {"POST", "/recommend", ranking, basic, 401},
		"a key":                       {"POST", "/recommend", ranking, bearer("web-secret"), 200},
		"the other header":            {"POST", "/recommend", ranking, header, 200},
		"rank without the scope":      {"POST", "/recommend", ranking, bearer("items-secret"), 403},
		"admin does not include rank": {"POST", "/recommend", ranking, bearer("root-secret"), 403},
		"feedback":                    {"POST", "/feedback", "[]", bearer("web-secret"), 200},
		"imported events":             {"POST", imported, "[]", bearer("import-secret"), 200},
		"imported without the scope":  {"POST", imported, "[]", bearer("web-secret"), 403},
		"items":                       {"PUT", "/items", "[]", bearer("items-secret"), 200},
		"items without the scope":     {"PUT", "/items", "[]", bearer("web-secret"), 403},
		"erasure without the scope":   {"DELETE", "/users/u", "", bearer("web-secret"), 403},
		"erasure":                     {"DELETE", "/users/u", "", bearer("root-secret"), 204},
		"rerank":                      {"POST", "/rerank", texts, bearer("web-secret"), 200},
		"labels": {
			"POST", "/labels/topic", `{"texts":["a"]}`, bearer("web-secret"), 200,
		},
		"health needs no key": {"GET", "/health/live", "", nil, 200},
		"metrics need no key": {"GET", "/metrics", "", nil, 200},
	} {
		t.Run(name, func(t *testing.T) {
			w := s.call(c.method, c.path, c.body, c.headers...)
			if w.Code != c.status {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if c.status == 401 && w.Header().Get("WWW-Authenticate") != "Bearer" {
				t.Error("no WWW-Authenticate")
			}
		})
	}
	for _, secret := range []string{"web-secret", "items-secret", "root-secret", "guess"} {
		if strings.Contains(s.logs.String(), secret) {
			t.Errorf("%s is in the log", secret)
		}
	}
}

func TestRateLimit(t *testing.T) {
	// The clock stands still, so that no token returns by itself.
	synctest.Test(t, func(t *testing.T) {
		s := start(t, func(o *api.Options) {
			o.Keys = []api.Key{key("a", "a", "rank"), key("b", "b", "rank")}
			o.RatePerKey = 2
		})
		burst := func() (codes []int) {
			for range 4 {
				codes = append(codes, s.call("POST", "/recommend", ranking, "X-API-Key", "a").Code)
			}
			return codes
		}
		want := []int{200, 200, 429, 429}
		if got := burst(); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		refused := s.call("POST", "/recommend", ranking, "X-API-Key", "a")
		wantError(t, refused, 429, "rate_limited", "")
		if refused.Header().Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		if w := s.call("POST", "/recommend", ranking, "X-API-Key", "b"); w.Code != 200 {
			t.Error("a key is limited by another key's requests")
		}
		time.Sleep(time.Second)
		if got := burst(); !slices.Equal(got, want) {
			t.Errorf("a second later: got %v, want %v", got, want)
		}
	})
}

// A ranking is refused at once if all slots are taken.
func TestOverloadIsRefused(t *testing.T) {
	hold, entered := make(chan struct{}), make(chan struct{}, 2)
	s := start(t, func(o *api.Options) {
		o.MaxInFlight = 2
		o.Ranker = rankFunc(func(context.Context, *ranker.Request) (*ranker.Response, error) {
			entered <- struct{}{}
			<-hold
			return &ranker.Response{}, nil
		})
	})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if w := s.call("POST", "/recommend", ranking); w.Code != 200 {
				t.Error(w.Body)
			}
		})
		<-entered
	}
	w := s.call("POST", "/recommend", ranking)
	wantError(t, w, 503, "overloaded", "")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if w := s.call("POST", "/feedback", "[]"); w.Code != 200 {
		t.Error("feedback is refused although only rankings are limited")
	}
	for name, want := range map[string]float64{
		"relish_ranking_slots": 2, "relish_rankings_in_flight": 2,
		"relish_rankings_refused_total": 1, "relish_ranking_slot_seconds_total": 0,
	} {
		if got := s.metric(t, name); got != want {
			t.Errorf("%s is %g while both slots are taken, want %g", name, got, want)
		}
	}
	close(hold)
	wg.Wait()
	if s.metric(t, "relish_rankings_in_flight") != 0 ||
		s.metric(t, "relish_ranking_slot_seconds_total") <= 0 {
		t.Error("after the rankings, the time that they held the slots is not counted")
	}
}

func TestCORS(t *testing.T) {
	s := start(t, func(o *api.Options) { o.CORSOrigins = []string{"https://shop.example"} })
	const shop = "https://shop.example"
	allowed := func(w *httptest.ResponseRecorder) string {
		return w.Header().Get("Access-Control-Allow-Origin")
	}
	w := s.call("OPTIONS", "/recommend", "",
		"Origin", shop, "Access-Control-Request-Method", "POST")
	headers := w.Header().Get("Access-Control-Allow-Headers")
	if w.Code != 204 || allowed(w) != shop || !strings.Contains(headers, "Content-Type") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	w = s.call("POST", "/recommend", ranking, "Origin", shop)
	if w.Code != 200 || allowed(w) != shop || w.Header().Get("Vary") != "Origin" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for _, origin := range []string{"https://evil.example", shop + ".evil.example", "null"} {
		if w := s.call("POST", "/recommend", ranking, "Origin", origin); allowed(w) != "" {
			t.Errorf("%s is allowed", origin)
		}
	}
	if w := start(t, nil).call("POST", "/recommend", ranking, "Origin", shop); allowed(w) != "" {
		t.Error("an origin is allowed that no option names")
	}
}
