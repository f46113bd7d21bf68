package api_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"relish/api"
	"relish/features/event"
	"relish/ranker"
)

// The specification is a golden file: a change of the contract shows in a review.
func TestOpenAPI(t *testing.T) {
	s := start(t, nil)
	w := s.call("GET", "/openapi.json", "")
	got := jsontext.Value(w.Body.Bytes())
	if err := got.Indent(jsontext.WithIndent("  ")); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "openapi.json")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(got)+"\n" != string(want) {
		t.Error("the specification is not testdata/openapi.json; if the change is meant, run go test ./api -update")
	}
	doc, err := openapi3.NewLoader().LoadFromData(got)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	// Every documented operation is there: none answers as an unknown route or method would.
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			w := s.call(method, pathParam.ReplaceAllString(path, "x"), "")
			var f failure
			_ = json.Unmarshal(w.Body.Bytes(), &f)
			if f.Error.Code == "method_not_allowed" || strings.Contains(f.Error.Message, "no such route") {
				t.Errorf("%s %s is documented and answers %d %s", method, path, w.Code, w.Body)
			}
		}
	}
}

var pathParam = regexp.MustCompile(`{\w+}`)

// Answers are what the specification says they are.
func TestAnswersFollowTheSpecification(t *testing.T) {
	s := start(t, nil)
	seed(t, s)
	doc := s.Spec()
	for _, c := range []struct{ method, path, template, body string }{
		{"POST", "/recommend", "/recommend", `{"user_id":"u","candidates":["a","b"],"explain":true,"context":{"query":"sea"}}`},
		{"POST", "/feedback", "/feedback", `[{"type":"interaction","id":"x1","user":"u","item":"a","action":"click"},{"type":"nonsense"}]`},
		{"PUT", "/items", "/items", `{"id":"c","title":"t","tags":["x"],"fields":{"price":3.5,"on":true,"list":["a"],"nums":[1,2]}}`},
		{"GET", "/items/c", "/items/{id}", ``},
		{"GET", "/models", "/models", ``},
		{"POST", "/models/v1/activate", "/models/{version}/activate", ``},
		{"POST", "/models/rollback", "/models/rollback", ``},
		{"GET", "/health/live", "/health/live", ``},
		{"GET", "/health/ready", "/health/ready", ``},
		{"POST", "/rerank", "/rerank", `{"query":"q","texts":["a","b"]}`},
		{"POST", "/rank/prior", "/rank/{model}", `{"id":"r1","timestamp":1700000000000,"user":"u","items":[{"id":"a"},{"id":"b"}]}`},
		{"POST", "/recommend", "/recommend", `{"candidates":[]}`},
	} {
		w := s.call(c.method, c.path, c.body)
		op := doc.Paths.Value(c.template).GetOperation(c.method)
		if c.body != "" && w.Code == 200 {
			validate(t, c.path+" request", op.RequestBody.Value.Content["application/json"].Schema.Value, []byte(c.body))
		}
		resp := op.Responses.Status(w.Code)
		if resp == nil {
			resp = op.Responses.Default()
		}
		validate(t, fmt.Sprint(c.path, " answer ", w.Code), resp.Value.Content["application/json"].Schema.Value, w.Body.Bytes())
	}
}

func validate(t *testing.T, what string, schema *openapi3.Schema, data []byte) {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%s: %v in %s", what, err, data)
	}
	if err := schema.VisitJSON(v); err != nil {
		t.Errorf("%s: %v\n%s", what, err, data)
	}
}

// seed gives the store two items and a user with a history.
func seed(t testing.TB, s *service) {
	t.Helper()
	body := `[{"type":"item","id":"s1","item":"a","title":"Sea bread","text":"Bread on a boat.","tags":["sea"]},
	 {"type":"item","id":"s2","item":"b","title":"Moon jazz","tags":["music"]},
	 {"type":"impression","id":"s3","user":"u","items":["a","b"]},
	 {"type":"interaction","id":"s4","user":"u","item":"a","action":"click","impression":"s3"}]`
	if w := s.call("POST", "/feedback", body); w.Code != 200 || !strings.Contains(w.Body.String(), `"accepted":4`) {
		t.Fatal(w.Body)
	}
}

// A click that was acknowledged moves the next answer.
func TestReadYourWrites(t *testing.T) {
	s := start(t, nil)
	seed(t, s)
	score := func() float64 {
		a := s.recommend(t, `{"user_id":"v","candidates":["a","b"],"record":false}`)
		for _, it := range a.Items {
			if it.ID == "b" {
				return it.Score
			}
		}
		t.Fatal("b is missing")
		return 0
	}
	for i := range 20 { // something that is shown and not clicked, so that rates differ
		s.call("POST", "/feedback", fmt.Sprintf(`{"type":"impression","id":"z%d","user":"z","items":["a","b"]}`, i))
	}
	for i := range 5 {
		before := score()
		w := s.call("POST", "/feedback", fmt.Sprintf(`{"type":"interaction","id":"w%d","user":"w","item":"b","action":"click"}`, i))
		if w.Code != 200 {
			t.Fatal(w.Body)
		}
		if after := score(); after <= before {
			t.Fatalf("click %d moved the score from %g to %g", i, before, after)
		}
	}
}

func TestExplanationAddsUp(t *testing.T) {
	s := start(t, nil)
	seed(t, s)
	a := s.recommend(t, `{"user_id":"u","candidates":["a","b","c"],"explain":2}`)
	for i, it := range a.Items {
		if (it.Explain != nil) != (i < 2) {
			t.Fatalf("item %d: %+v", i, it.Explain)
		}
		if it.Explain == nil {
			continue
		}
		sum := it.Explain.Base
		for _, c := range it.Explain.Contributions {
			sum += c.Contribution
		}
		if d := sum - it.Score; d > 1e-9 || d < -1e-9 || it.Explain.RankWithoutText == 0 {
			t.Errorf("%+v", it)
		}
	}
}

func TestInlineItemsAreForThisRequestOnly(t *testing.T) {
	s := start(t, nil)
	seed(t, s)
	a := s.recommend(t, `{"user_id":"u","candidates":["b",{"id":"new","title":"Sea bread","tags":["sea"]}]}`)
	if a.Items[0].ID != "new" {
		t.Errorf("what is described like the user's history is first, not %+v", a.Items)
	}
	if w := s.call("GET", "/items/new", ""); w.Code != 404 {
		t.Errorf("an inline item was kept: %s", w.Body)
	}
}

func TestItemsAndUsers(t *testing.T) {
	s := start(t, nil)
	if w := s.call("PUT", "/items", `{"id":"a","title":"One"}`+"\n"+`{"id":"b","title":"Two","fields":{"price":2}}`, "Content-Type", "application/x-ndjson"); !strings.Contains(w.Body.String(), `"accepted":2`) {
		t.Fatal(w.Body)
	}
	if w := s.call("GET", "/items/b", ""); w.Code != 200 || w.Body.String() != `{"id":"b","title":"Two","fields":{"price":2}}` {
		t.Error(w.Body)
	}
	s.call("PUT", "/items", `{"id":"b","title":"Other"}`) // replaces
	if w := s.call("GET", "/items/b", ""); w.Body.String() != `{"id":"b","title":"Other"}` {
		t.Error(w.Body)
	}
	w := s.call("PUT", "/items", `[{"id":"c","title":"x","colour":1},{"title":"no id"},{"id":"d"}]`)
	var got struct {
		Accepted int
		Rejected []struct {
			Index   int
			Pointer string
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got, json.MatchCaseInsensitiveNames(true)); err != nil || got.Accepted != 1 || len(got.Rejected) != 2 || got.Rejected[0].Pointer != "/colour" || got.Rejected[1].Index != 1 {
		t.Errorf("%v %s", err, w.Body)
	}
	if w := s.call("DELETE", "/items/b", ""); w.Code != 204 {
		t.Error(w.Code, w.Body)
	}
	if w := s.call("GET", "/items/b", ""); w.Code != 404 {
		t.Error(w.Body)
	}
	if w := s.call("PUT", "/users/u", `{"fields":{"country":"de"}}`); w.Code != 204 {
		t.Error(w.Code, w.Body)
	}
	seed(t, s)
	if w := s.call("DELETE", "/users/u", ""); w.Code != 204 {
		t.Error(w.Code, w.Body)
	}
	st, err := s.store.Read(t.Context(), &ranker.FeatureQuery{User: "u", Schema: must(ranker.NewSchema(nil))})
	if err != nil || len(st.Recent) != 0 || len(st.UserFields) != 0 {
		t.Errorf("the forgotten user has %+v (%v)", st, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestFeedbackShapes(t *testing.T) {
	const native = `{"type":"interaction","id":"%s","user":"u","item":"a","action":"click"}`
	metarank := `{"event":"interaction","id":"m1","timestamp":"1599391467000","user":"user1","session":"s1","type":"purchase","item":"item1","fields":[{"name":"count","value":1}]}`
	e := func(id string) string { return fmt.Sprintf(native, id) }
	for name, c := range map[string]struct {
		body, contentType              string
		accepted, duplicates, rejected int
	}{
		"one":                 {e("1"), "application/json", 1, 0, 0},
		"array":               {"[" + e("1") + "," + e("2") + "]", "application/json", 2, 0, 0},
		"lines":               {e("1") + "\n" + e("2") + "\n", "application/x-ndjson", 2, 0, 0},
		"beacon":              {e("1"), "text/plain;charset=UTF-8", 1, 0, 0},
		"metarank":            {metarank, "application/json", 1, 0, 0},
		"both":                {"[" + metarank + "," + e("1") + "]", "application/json", 2, 0, 0},
		"twice":               {"[" + e("1") + "," + e("1") + "]", "application/json", 1, 1, 0},
		"empty array":         {"[]", "application/json", 0, 0, 0},
		"some wrong":          {"[" + e("1") + `,{"type":"interaction","id":"2"},7,` + e("3") + "]", "application/json", 2, 0, 2},
		"all wrong":           {`{"type":"dance"}`, "application/json", 0, 0, 1},
		"an action uncharted": {strings.Replace(e("1"), "click", "waves", 1), "application/json", 1, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, nil).call("POST", "/feedback", c.body, "Content-Type", c.contentType)
			var got struct {
				Accepted, Duplicates int
				Rejected             []map[string]any
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got, json.MatchCaseInsensitiveNames(true)); err != nil {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if w.Code != 200 || got.Accepted != c.accepted || got.Duplicates != c.duplicates || len(got.Rejected) != c.rejected {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			for _, r := range got.Rejected {
				if r["code"] == "" || r["message"] == "" {
					t.Errorf("a rejection without a reason: %v", r)
				}
			}
		})
	}
	s := start(t, nil)
	wantError(t, s.call("POST", "/feedback", "[1,2", "Content-Type", "application/json"), 400, "malformed", "")
	wantError(t, s.call("POST", "/feedback", e("1")+"x"), 400, "malformed", "")
	wantError(t, s.call("POST", "/feedback", e("1"), "Content-Type", "text/html"), 415, "unsupported_media_type", "")
}

func TestStorageErrors(t *testing.T) {
	s := start(t, nil)
	const e = `{"type":"interaction","id":"1","user":"u","item":"a","action":"click"}`
	s.events.err = fmt.Errorf("%w: of a test", event.ErrLogFull)
	wantError(t, s.call("POST", "/feedback", e), 507, "log_full", "")
	s.events.err = fmt.Errorf("%w: of a test", event.ErrLogUnavailable)
	w := s.call("POST", "/feedback", e)
	wantError(t, w, 503, "log_unavailable", "")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	wantError(t, s.call("PUT", "/users/u", `{"fields":{"a":1}}`), 503, "log_unavailable", "")
	// Reading does not need the log.
	if w := s.call("POST", "/recommend", `{"user_id":"u","candidates":["a"]}`); w.Code != 200 {
		t.Error(w.Body)
	}
}

func TestBugsAreAnswered(t *testing.T) {
	for name, r := range map[string]rankFunc{
		"panic": func(context.Context, *ranker.Request) (*ranker.Response, error) { panic("secret-canary") },
		"error": func(context.Context, *ranker.Request) (*ranker.Response, error) {
			return nil, fmt.Errorf("no error that the table knows")
		},
	} {
		s := start(t, func(o *api.Options) { o.Ranker = r })
		wantError(t, s.call("POST", "/recommend", `{"user_id":"u","candidates":["a"]}`), http.StatusInternalServerError, "internal", "")
		if logs := s.logs.String(); !strings.Contains(logs, "request_id") || strings.Contains(logs, "secret-canary") {
			t.Errorf("%s: logs %s", name, logs)
		}
	}
}

func TestModelsAndPages(t *testing.T) {
	s := start(t, nil)
	if w := s.call("GET", "/models", ""); w.Body.String() != `{"models":[{"version":"prior","state":"active"}]}` {
		t.Error(w.Body)
	}
	for _, path := range []string{"/", "/docs"} {
		w := s.call("GET", path, "")
		if w.Code != 200 || !strings.Contains(w.Body.String(), "<html") || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
}

func TestReadiness(t *testing.T) {
	checks := []api.ReadinessCheck{{Name: "store", OK: true}}
	s := start(t, func(o *api.Options) { o.Readiness = func() []api.ReadinessCheck { return slices.Clone(checks) } })
	if w := s.call("GET", "/health/ready", ""); w.Code != 200 {
		t.Error(w.Body)
	}
	checks[0] = api.ReadinessCheck{Name: "store", Detail: "gone"}
	if w := s.call("GET", "/health/ready", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "gone") {
		t.Error(w.Code, w.Body)
	}
	if w := s.call("GET", "/health/live", ""); w.Code != 200 {
		t.Error(w.Body)
	}
}
