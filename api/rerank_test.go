package api_test

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"relish/api"
)

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
	parse(s.call("POST", "/rerank", `{"query":"aaab","texts":["zzz","aaab","", "ab"],
		"return_text":true,"raw_scores":false,
		"truncate":false,"truncation_direction":"Right"}`), &tei)
	if len(tei) != 4 || tei[0].Index != 1 || tei[0].Text != "aaab" ||
		tei[0].Score <= tei[1].Score || tei[3].Score > 0.51 {
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
	parse(s.call("POST", "/v1/rerank", `{"model":"m","query":"aaab",
		"documents":["zzz",{"text":"aaab"}],"top_n":1,"return_documents":true}`), &jina)
	if jina.Model != "m" || len(jina.Results) != 1 || jina.Results[0].Index != 1 ||
		jina.Results[0].Document.Text != "aaab" {
		t.Errorf("%+v", jina)
	}
	var cohere map[string]any
	parse(s.call("POST", "/v2/rerank", `{"model":"m","query":"aaab",
		"documents":["zzz","aaab"],"max_tokens_per_doc":4096}`), &cohere)
	first := cohere["results"].([]any)[0].(map[string]any)
	version := cohere["meta"].(map[string]any)["api_version"]
	if cohere["id"] == "" || first["index"] != 1.0 || len(first) != 2 || version == nil {
		t.Errorf("%v", cohere)
	}
	many := `{"query":"q","texts":[` + strings.TrimSuffix(strings.Repeat(`"a",`, 1001), ",") + `]}`
	wantError(t, s.call("POST", "/rerank", many), 413, "too_many_items", "/documents")
	wantError(t, s.call("POST", "/rerank", `{"query":"\u200b","texts":["a"]}`),
		400, "invalid_field", "/query")
	parse(s.call("POST", "/rerank", `{"query":"aaab","texts":["\ufe0f","aaab"]}`), &tei)
	if len(tei) != 2 || tei[0].Index != 1 || tei[1].Score != 0.5 {
		t.Errorf("a text without a visible character: %+v", tei)
	}
	for name, broken := range map[string]api.TextEncoder{
		"no encoder": nil, "a failing encoder": encoder{errors.New("broken")},
	} {
		s := start(t, func(o *api.Options) { o.TextEncoder = broken })
		t.Run(name, func(t *testing.T) {
			w := s.call("POST", "/rerank", `{"query":"q","texts":["a"]}`)
			wantError(t, w, 503, "no_text_encoder", "")
		})
	}
}

func TestMetarankRanking(t *testing.T) {
	s := start(t, nil)
	seed(t, s)
	body := `{"event":"ranking","id":"r-1","timestamp":"1599391467000","user":"u","session":"s",
	  "fields":[{"name":"query","value":"sea"}],
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
	err := json.Unmarshal(w.Body.Bytes(), &got, json.RejectUnknownMembers(true))
	if err != nil || w.Code != 200 {
		t.Fatalf("%d %s %v", w.Code, w.Body, err)
	}
	if len(got.Items) != 2 || got.Items[0].ID != "a" ||
		!strings.Contains(w.Body.String(), `"features":null`) {
		t.Errorf("%s", w.Body)
	}
	w = s.call("POST", "/rank/prior?explain=true", strings.Replace(body, "r-1", "r-2", 1))
	err = json.Unmarshal(w.Body.Bytes(), &got)
	features := got.Items[0].Features
	if err != nil || len(features) == 0 || features[0]["name"] == "" {
		t.Errorf("%s %v", w.Body, err)
	}
}
