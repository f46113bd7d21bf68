package api_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The document is a golden file, so that a change of the contract shows in a review.
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
		t.Error("the document differs from testdata/openapi.json; " +
			"if that is intended, run go test ./api -update")
	}
	doc, err := openapi3.NewLoader().LoadFromData(got)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	// Every documented operation exists: none answers like an unknown route or method.
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			w := s.call(method, pathParam.ReplaceAllString(path, "x"), "")
			var f failure
			_ = json.Unmarshal(w.Body.Bytes(), &f)
			unknown := strings.Contains(f.Error.Message, "no such route")
			if unknown || f.Error.Code == "method_not_allowed" {
				t.Errorf("%s %s is documented but answers %d %s", method, path, w.Code, w.Body)
			}
		}
	}
}

var pathParam = regexp.MustCompile(`{\w+}`)

// Requests and answers match their schemas.
func TestAnswersMatchTheirSchemas(t *testing.T) {
	s := start(t, nil)
	seed(t, s)
	doc := s.Spec()
	for _, c := range []struct{ method, path, template, body string }{
		{"POST", "/recommend", "/recommend",
			`{"user_id":"u","candidates":["a","b"],"explain":true,"context":{"query":"sea"}}`},
		{"POST", "/feedback", "/feedback",
			`[{"type":"interaction","id":"x1","user":"u","item":"a","action":"click"},
			  {"type":"no-such-type"}]`},
		{"PUT", "/items", "/items",
			`{"id":"c","title":"t","tags":["x"],
			  "fields":{"price":3.5,"on":true,"list":["a"],"nums":[1,2]}}`},
		{"GET", "/items/c", "/items/{id}", ``},
		{"GET", "/models", "/models", ``},
		{"POST", "/models/v1/activate", "/models/{version}/activate", ``},
		{"POST", "/models/rollback", "/models/rollback", ``},
		{"GET", "/health/live", "/health/live", ``},
		{"GET", "/health/ready", "/health/ready", ``},
		{"POST", "/rerank", "/rerank", `{"query":"q","texts":["a","b"]}`},
		{"POST", "/labels/topic", "/labels/{classifier}", `{"texts":["a b","c"]}`},
		{"POST", "/rank/prior", "/rank/{model}",
			`{"id":"r1","timestamp":1700000000000,"user":"u","items":[{"id":"a"},{"id":"b"}]}`},
		{"POST", "/recommend", "/recommend", `{"candidates":[]}`},
	} {
		w := s.call(c.method, c.path, c.body)
		op := doc.Paths.Value(c.template).GetOperation(c.method)
		if c.body != "" && w.Code == 200 {
			schema := jsonSchema(op.RequestBody.Value.Content)
			validate(t, c.path+" request", schema, []byte(c.body))
		}
		resp := op.Responses.Status(w.Code)
		if resp == nil {
			resp = op.Responses.Default()
		}
		what := fmt.Sprintf("%s answer %d", c.path, w.Code)
		validate(t, what, jsonSchema(resp.Value.Content), w.Body.Bytes())
	}
}

// answerSchema returns the schema of a GET route's answer.
func (s *service) answerSchema(path string) *openapi3.Schema {
	return jsonSchema(s.Spec().Paths.Value(path).Get.Responses.Status(200).Value.Content)
}

func jsonSchema(c openapi3.Content) *openapi3.Schema { return c["application/json"].Schema.Value }

// validate checks a JSON value against its schema.
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
