package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// badValues are events that are not valid, by what is wrong with them.
var badValues = map[string]string{
	"lone surrogate in an item": `{"type":"item","id":"x","item":"\ud83d"}`,
	"lone surrogate in an id":   `{"type":"item","id":"\udc00","item":"a"}`,
	"lone surrogate in a name":  `{"type":"user","id":"x","user":"u","fields":{"\ud83d":1}}`,
	"no number":                 `{"type":"interaction","id":"x","value":NaN}`,
	"a control character":       "{\"type\":\"user\",\"id\":\"x\",\"user\":\"\x01\"}",
	"other encoding":            "{\"type\":\"user\",\"id\":\"x\",\"user\":\"\xe9\"}",
	"a field twice":             `{"type":"item","type":"item","id":"x","item":"a"}`,
	"deep nesting":              `{"id":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`,
	"a list":                    `[1]`,
	"a word":                    `nonsense`,
	"wrong brackets":            `{"a":[1}}`,
	"a number":                  `7`,
}

// badLines are lines of NDJSON that are no JSON values, besides badValues.
var badLines = map[string]string{
	"no end":         `{"type":"item","id":"x","item":"a"`,
	"no closed text": `{"type":"item","id":"x,"item":"a}`,
	"a bracket more": `{"type":"item","id":"x","item":"a"}}`,
	"a bracket less": `{"type":"item","fields":{"a":1,"id":"x","item":"a"}`,
	"a word after":   `{"type":"item","id":"x","item":"a"} and so on`,
	"a comma after":  `{"type":"item","id":"x","item":"a"},`,
}

// wantOneRejected checks that the value at an index, and no other one, is rejected.
func wantOneRejected(t *testing.T, body, contentType string, accepted, index, line int) {
	t.Helper()
	w := start(t, nil).call("POST", "/feedback", body, "Content-Type", contentType)
	wantOutcomes(t, w, accepted, 0, 1)
	var answer struct {
		Rejected []struct {
			Index   int    `json:"index"`
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"rejected"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || len(answer.Rejected) != 1 {
		t.Fatalf("%s: %v", w.Body, err)
	}
	r := answer.Rejected[0]
	named := strings.HasPrefix(r.Message, fmt.Sprintf("line %d: ", line))
	if r.Index != index || r.Code == "malformed" && line > 0 && !named {
		t.Errorf("%+v, want index %d and line %d", r, index, line)
	}
}

// A value that is not valid costs no other value of its body.
func TestBadValuesCostOnlyThemselves(t *testing.T) {
	for name, bad := range badValues {
		t.Run(name+" in an array", func(t *testing.T) {
			body := "[" + click("1") + ", " + bad + "\n,\n" + click("2") + "]"
			wantOneRejected(t, body, "application/json", 2, 1, 0)
		})
		badLines[name] = bad
	}
	for name, bad := range badLines {
		for at := range 3 {
			if at == 0 && bad[0] == '[' {
				continue // the body is an array
			}
			lines := []string{click("1"), click("2")}
			lines = append(lines[:at], append([]string{bad}, lines[at:]...)...)
			body := "\n" + strings.Join(lines, "\r\n")
			t.Run(fmt.Sprintf("%s in line %d", name, at+2), func(t *testing.T) {
				wantOneRejected(t, body, "application/x-ndjson", 2, at, at+2)
				wantOneRejected(t, body, "application/json", 2, at, at+2)
			})
		}
	}
}

// Events may be written over several lines, or several on one line.
func TestLayoutsOfBodies(t *testing.T) {
	pretty := func(id string) string { return strings.ReplaceAll(click(id), ",", ",\n") }
	for name, body := range map[string]string{
		"over lines":       pretty("1") + "\n" + pretty("2"),
		"on one line":      click("1") + " " + click("2"),
		"array over lines": "[\n" + pretty("1") + ",\n" + pretty("2") + "\n]\n",
	} {
		wantOutcomes(t, start(t, nil).call("POST", "/feedback", body), 2, 0, 0)
		if body[0] != '[' {
			continue
		}
		broken := strings.TrimSuffix(strings.TrimSpace(body), "]")
		w := start(t, nil).call("POST", "/feedback", broken)
		if w.Code != 400 {
			t.Errorf("%s without its end: %d %s", name, w.Code, w.Body)
		}
	}
	broken := pretty("1") + "\n" + strings.Replace(pretty("2"), `"`, ``, 1)
	wantOutcomes(t, start(t, nil).call("POST", "/feedback", broken), 1, 0, 1)
	broken = pretty("1") + "\n" + strings.Replace(pretty("2"), `}`, ``, 1)
	wantError(t, start(t, nil).call("POST", "/feedback", broken), 400, "malformed", "")
}

// Half a surrogate pair in a text is replaced: programs that cut texts write it.
func TestHalfSurrogatePairsInTexts(t *testing.T) {
	s := start(t, nil)
	item := `{"type":"item","id":"1","item":"a","title":"cut \ud83d","tags":["\udc00"],` +
		`"fields":{"f":"x\ud800y"}}`
	wantOutcomes(t, s.call("POST", "/feedback", item), 1, 0, 0)
	e := s.events.taken[0]
	if *e.Title != "cut \ufffd" || e.Tags[0] != "\ufffd" || e.Fields["f"].Str != "x\ufffdy" {
		t.Errorf("got %+v", e)
	}
	body := withCandidates(`[{"id":"a","title":"cut \ud83d"},"b"]`)
	if w := s.call("POST", "/recommend", body); w.Code != 200 {
		t.Error(w.Body)
	}
	wantError(t, s.call("POST", "/recommend", withCandidates(`["a\ud83d"]`)), 400, "malformed",
		"/candidates/0")
	if w := s.call("PUT", "/items", `{"id":"a","text":"\ud83d"}`); w.Code != 200 {
		t.Error(w.Body)
	}
	w := s.call("POST", "/rerank", `{"query":"q\ud83d","texts":["a\ud83d"]}`)
	if w.Code != 200 {
		t.Error(w.Body)
	}
}

// Null says nothing, wherever it stands.
func TestNullSaysNothing(t *testing.T) {
	s := start(t, nil)
	events := `{"type":"item","id":"1","item":"a","time":null,"title":null,"text":null,` +
		`"tags":["x",null],"fields":{"n":null,"l":["a",null],"one":1}}
	{"type":"user","id":"2","user":"u","fields":{"n":null,"one":1},"session":null}
	{"type":"impression","id":"3","user":"u","items":["a"],"context":{"n":null,"one":1},` +
		`"propensity":null,"experiments":null}
	{"type":"interaction","id":"4","user":"u","item":"a","action":"click","value":null}
	{"event":"item","id":"5","timestamp":"1700000000000","item":"b","fields":[` +
		`{"name":"title","value":null},{"name":"n","value":null},{"name":"one","value":1}]}`
	wantOutcomes(t, s.call("POST", "/feedback", events), 5, 0, 0)
	for i, e := range s.events.taken {
		fields := e.Fields
		if e.Impression != nil {
			fields = e.Impression.Context
		}
		_, null := fields["n"]
		if null || i != 3 && fields["one"].Num != 1 || e.Value != nil {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if e := s.events.taken[0]; e.Title != nil || len(e.Tags) != 1 || len(e.Fields["l"].List) != 1 {
		t.Errorf("got %+v", e)
	}
	if w := s.call("PUT", "/users/u", `{"fields":{"n":null}}`); w.Code != 204 {
		t.Error(w.Body)
	}
	if w := s.call("PUT", "/items", `{"id":"a","tags":null,"fields":{"n":null}}`); w.Code != 200 {
		t.Error(w.Body)
	}
	s.recommend(t, `{"user_id":"u","session":null,"context":{"n":null},"limit":null,"time":null,`+
		`"explain":null,"model":null,"seed":null,"record":null,"deadline_ms":null,`+
		`"candidates":[{"id":"a","title":null,"tags":[null],"fields":{"n":null},"score":null}]}`)
}
