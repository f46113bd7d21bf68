package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"relish/api"
	"relish/ranker"
)

const ranking = `{"user_id":"u","candidates":["a","b"]}`

func TestKeysAndScopes(t *testing.T) {
	s := start(t, func(o *api.Options) {
		o.Keys = []api.Key{key("web", "web-secret", "rank", "feedback"), key("catalogue", "items-secret", "items"), key("root", "root-secret", "admin")}
	})
	bearer := func(k string) []string { return []string{"Authorization", "Bearer " + k} }
	for name, c := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
	}{
		"no key":               {"POST", "/recommend", ranking, nil, 401},
		"a wrong key":          {"POST", "/recommend", ranking, bearer("guess"), 401},
		"an empty key":         {"POST", "/recommend", ranking, bearer(""), 401},
		"basic":                {"POST", "/recommend", ranking, []string{"Authorization", "Basic web-secret"}, 401},
		"a key":                {"POST", "/recommend", ranking, bearer("web-secret"), 200},
		"the other header":     {"POST", "/recommend", ranking, []string{"X-API-Key", "web-secret"}, 200},
		"another scope":        {"POST", "/recommend", ranking, bearer("items-secret"), 403},
		"admin is no wildcard": {"POST", "/recommend", ranking, bearer("root-secret"), 403},
		"feedback":             {"POST", "/feedback", "[]", bearer("web-secret"), 200},
		"items":                {"PUT", "/items", "[]", bearer("items-secret"), 200},
		"items, other scope":   {"PUT", "/items", "[]", bearer("web-secret"), 403},
		"forget, other scope":  {"DELETE", "/users/u", "", bearer("web-secret"), 403},
		"forget":               {"DELETE", "/users/u", "", bearer("root-secret"), 204},
		"rerank":               {"POST", "/rerank", `{"query":"q","texts":["a"]}`, bearer("web-secret"), 200},
		"health is free":       {"GET", "/health/live", "", nil, 200},
		"metrics are free":     {"GET", "/metrics", "", nil, 200},
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
	s := start(t, func(o *api.Options) {
		o.Keys = []api.Key{key("a", "a", "rank"), key("b", "b", "rank")}
		o.RatePerKey = 2
	})
	codes := map[int]int{}
	var last *httptest.ResponseRecorder
	for range 5 {
		last = s.call("POST", "/recommend", ranking, "X-API-Key", "a")
		codes[last.Code]++
	}
	if codes[200] < 2 || codes[429] < 2 {
		t.Errorf("codes %v", codes)
	}
	wantError(t, last, 429, "rate_limited", "")
	if last.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if w := s.call("POST", "/recommend", ranking, "X-API-Key", "b"); w.Code != 200 {
		t.Error("one key's load is another's limit")
	}
}

func TestCORS(t *testing.T) {
	s := start(t, func(o *api.Options) { o.CORSOrigins = []string{"https://shop.example"} })
	w := s.call("OPTIONS", "/recommend", "", "Origin", "https://shop.example", "Access-Control-Request-Method", "POST")
	if w.Code != 204 || w.Header().Get("Access-Control-Allow-Origin") != "https://shop.example" || !strings.Contains(w.Header().Get("Access-Control-Allow-Headers"), "Content-Type") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	w = s.call("POST", "/recommend", ranking, "Origin", "https://shop.example")
	if w.Code != 200 || w.Header().Get("Access-Control-Allow-Origin") != "https://shop.example" || w.Header().Get("Vary") != "Origin" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for _, origin := range []string{"https://evil.example", "https://shop.example.evil.example", "null"} {
		if w := s.call("POST", "/recommend", ranking, "Origin", origin); w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s is let in", origin)
		}
	}
	if w := start(t, nil).call("POST", "/recommend", ranking, "Origin", "https://shop.example"); w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Error("CORS is on by itself")
	}
}

func TestRequestID(t *testing.T) {
	s := start(t, nil)
	for id, taken := range map[string]bool{"req-1": true, "a b": true, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false, "tab\there": false, "": false} {
		w := s.call("POST", "/recommend", ranking, "X-Request-Id", id)
		var a answer
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		if got := w.Header().Get("X-Request-Id"); (got == id) != taken || got != a.RequestID || got == "" {
			t.Errorf("%q became %q, in the body %q", id, got, a.RequestID)
		}
	}
}

func TestRerankShapes(t *testing.T) {
	s := start(t, nil)
	var tei []struct {
		Index int     `json:"index"`
		Score float64 `json:"score"`
		Text  string  `json:"text"`
	}
	parse := func(w *httptest.ResponseRecorder, v any) {
		t.Helper()
		if w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
			t.Fatalf("%s: %v", w.Body, err)
		}
	}
	parse(s.call("POST", "/rerank", `{"query":"aaab","texts":["zzz","aaab","", "ab"],"return_text":true,"truncate":false,"truncation_direction":"Right","raw_scores":false}`), &tei)
	if len(tei) != 4 || tei[0].Index != 1 || tei[0].Text != "aaab" || tei[0].Score <= tei[1].Score || tei[3].Score > 0.51 {
		t.Errorf("%+v", tei)
	}
	var jina struct {
		Model   string                    `json:"model"`
		Usage   struct{ TotalTokens int } `json:"usage"`
		Results []struct {
			Index          int     `json:"index"`
			RelevanceScore float64 `json:"relevance_score"`
			Document       struct {
				Text string `json:"text"`
			} `json:"document"`
		} `json:"results"`
	}
	parse(s.call("POST", "/v1/rerank", `{"model":"m","query":"aaab","documents":["zzz",{"text":"aaab"}],"top_n":1,"return_documents":true}`), &jina)
	if jina.Model != "m" || len(jina.Results) != 1 || jina.Results[0].Index != 1 || jina.Results[0].Document.Text != "aaab" {
		t.Errorf("%+v", jina)
	}
	var cohere map[string]any
	parse(s.call("POST", "/v2/rerank", `{"model":"m","query":"aaab","documents":["zzz","aaab"],"max_tokens_per_doc":4096}`), &cohere)
	first := cohere["results"].([]any)[0].(map[string]any)
	if cohere["id"] == "" || first["index"] != 1.0 || len(first) != 2 || cohere["meta"].(map[string]any)["api_version"] == nil {
		t.Errorf("%v", cohere)
	}
	many := `{"query":"q","texts":[` + strings.TrimSuffix(strings.Repeat(`"a",`, 1001), ",") + `]}`
	wantError(t, s.call("POST", "/rerank", many), 413, "too_many_items", "/documents")
	for name, broken := range map[string]api.TextEncoder{"none": nil, "failing": texts{errors.New("no encoder")}} {
		s := start(t, func(o *api.Options) { o.TextEncoder = broken })
		t.Run(name, func(t *testing.T) {
			wantError(t, s.call("POST", "/rerank", `{"query":"q","texts":["a"]}`), 503, "no_text_model", "")
		})
	}
}

func TestMetarankRanking(t *testing.T) {
	s := start(t, nil)
	seed(t, s)
	body := `{"event":"ranking","id":"r-1","timestamp":"1599391467000","user":"u","session":"s","fields":[{"name":"query","value":"sea"}],
	  "items":[{"id":"b","fields":[{"name":"relevancy","value":1.0}]},{"id":"a","relevancy":2}]}`
	w := s.call("POST", "/rank/prior", body)
	var got struct {
		State any `json:"state"`
		Took  int `json:"took"`
		Items []struct {
			ID       string           `json:"id"`
			Score    float64          `json:"score"`
			Features []map[string]any `json:"features"`
		} `json:"items"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got, json.RejectUnknownMembers(true)); err != nil || w.Code != 200 {
		t.Fatalf("%d %s %v", w.Code, w.Body, err)
	}
	if len(got.Items) != 2 || got.Items[0].ID != "a" || !strings.Contains(w.Body.String(), `"features":null`) {
		t.Errorf("%s", w.Body)
	}
	w = s.call("POST", "/rank/prior?explain=true", strings.Replace(body, "r-1", "r-2", 1))
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Items[0].Features) == 0 || got.Items[0].Features[0]["name"] == "" {
		t.Errorf("%s %v", w.Body, err)
	}
}

// A user's and an item's words, ids and keys reach the answer and never the log.
func TestNothingOfTheClientIsLogged(t *testing.T) {
	const canary = "canary-7f3a"
	s := start(t, nil)
	for _, c := range [][3]string{
		{"POST", "/recommend", `{"user_id":"` + canary + `","session":"` + canary + `","candidates":["` + canary + `",{"id":"x","title":"` + canary + `"}],"context":{"query":"` + canary + `"}}`},
		{"POST", "/recommend", `{"user_id":"u","candidates":["a"],"` + canary + `":1}`},
		{"POST", "/recommend", `{"user_id":"u","candidates":["a"],"model":"` + canary + `"}`},
		{"POST", "/recommend", canary},
		{"POST", "/feedback", `{"type":"interaction","id":"` + canary + `","user":"` + canary + `","item":"` + canary + `","action":"` + canary + `"}`},
		{"POST", "/feedback", `{"type":"` + canary + `"}`},
		{"PUT", "/items", `{"id":"` + canary + `","title":"` + canary + `"}`},
		{"GET", "/items/" + canary, ``},
		{"DELETE", "/items/" + canary, ``},
		{"PUT", "/users/" + canary, `{"fields":{"` + canary + `":"` + canary + `"}}`},
		{"DELETE", "/users/" + canary, ``},
		{"POST", "/rerank", `{"query":"` + canary + `","texts":["` + canary + `"]}`},
		{"POST", "/rank/" + canary, `{"id":"` + canary + `","timestamp":1,"user":"` + canary + `","items":[{"id":"` + canary + `"}]}`},
		{"GET", "/" + canary + "?q=" + canary, ``},
	} {
		s.call(c[0], c[1], c[2], "Authorization", "Bearer "+canary, "User-Agent", canary, "X-Forwarded-For", canary)
	}
	if logs := s.logs.String(); strings.Contains(logs, canary) || !strings.Contains(logs, "/recommend") {
		t.Errorf("logs:\n%s", logs)
	}
	if w := s.call("GET", "/metrics", ""); strings.Contains(w.Body.String(), canary) || !strings.Contains(w.Body.String(), "relish_request_seconds") {
		t.Error("the metrics name a client's data, or nothing")
	}
}

func TestMetricsAreBounded(t *testing.T) {
	s := start(t, nil)
	lines := func() int { return strings.Count(s.call("GET", "/metrics", "").Body.String(), "\n") }
	one := func(i int) {
		s.call("GET", fmt.Sprintf("/path-%d", i), "")
		s.call("GET", fmt.Sprintf("/items/item-%d", i), "")
		s.call("POST", "/recommend", fmt.Sprintf(`{"user_id":"user-%d","candidates":["item-%d"],"deadline_ms":10000}`, i, i))
		s.call("POST", fmt.Sprintf("/rank/model-%d", i), `{}`)
		s.call(fmt.Sprintf("M%d", i), "/recommend", "")
	}
	one(0)
	lines() // its own series
	before := lines()
	for i := range 300 {
		one(i)
	}
	if after := lines(); after != before {
		t.Errorf("%d lines of metrics became %d", before, after)
	}
}

func TestOverloadIsRefusedAtOnce(t *testing.T) {
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
		t.Error("feedback is refused with the rankings")
	}
	for name, want := range map[string]float64{"relish_ranking_slots": 2, "relish_rankings_in_flight": 2, "relish_rankings_refused_total": 1, "relish_ranking_slot_seconds_total": 0} {
		if got := s.metric(t, name); got != want {
			t.Errorf("%s is %g, not %g, while both slots are taken", name, got, want)
		}
	}
	close(hold)
	wg.Wait()
	if s.metric(t, "relish_rankings_in_flight") != 0 || s.metric(t, "relish_ranking_slot_seconds_total") <= 0 {
		t.Error("what the slots were held for is not counted when they are free again")
	}
}

// metric returns the value of a metric without labels.
func (s *service) metric(t *testing.T, name string) float64 {
	t.Helper()
	for line := range strings.Lines(s.call("GET", "/metrics", "").Body.String()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			x, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// listen serves on a real socket; drain ends it and returns Serve's error.
func listen(t *testing.T, s *service) (addr string, drain func() error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	drain = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = drain() })
	return ln.Addr().String(), drain
}

func TestDrainFinishesWhatIsUnderWay(t *testing.T) {
	entered, hold := make(chan struct{}), make(chan struct{})
	s := start(t, func(o *api.Options) {
		o.Ranker = rankFunc(func(context.Context, *ranker.Request) (*ranker.Response, error) {
			close(entered)
			<-hold
			return &ranker.Response{RequestID: "late"}, nil
		})
	})
	addr, drain := listen(t, s)
	got := make(chan string)
	go func() {
		resp, err := http.Post("http://"+addr+"/recommend", "application/json", strings.NewReader(ranking))
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		got <- resp.Status
	}()
	<-entered
	ended := make(chan error, 1)
	go func() { ended <- drain() }()
	for deadline := time.Now().Add(5 * time.Second); s.call("GET", "/health/ready", "").Code != 503; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still ready while draining")
		}
	}
	close(hold)
	if status := <-got; status != "200 OK" {
		t.Errorf("the request under way got %s", status)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// A body that drips is cut off by the clock, not by the client's patience.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	addr, _ := listen(t, s)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("status %s", resp.Status)
	}
}
