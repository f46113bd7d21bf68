package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// with returns a valid body of /recommend with more fields.
func with(more string) string { return `{"user_id":"u","candidates":["a"],` + more + `}` }

// withCandidates returns a body of /recommend with these candidates.
func withCandidates(list string) string { return `{"user_id":"u","candidates":` + list + `}` }

// A body that is not exactly one JSON object with known fields is refused with the place of the
// fault.
func TestRecommendRefusesMalformedBodies(t *testing.T) {
	s := start(t, nil)
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	for name, c := range map[string]struct{ body, code, pointer string }{
		"white space":      {`  `, "malformed", ""},
		"not JSON":         {`hello`, "malformed", ""},
		"truncated":        {`{"user_id":"u","candidates":["a"`, "malformed", "/candidates"},
		"not an object":    {`["a"]`, "invalid_field", ""},
		"two documents":    {ranking + `{}`, "malformed", ""},
		"trailing bytes":   {ranking + ` x`, "malformed", ""},
		"a repeated field": {with(`"user_id":"v"`), "malformed", "/user_id"},
		"a repeated nested field": {
			withCandidates(`[{"id":"a","id":"b"}]`), "malformed", "/candidates/0/id"},
		"an unknown field":        {with(`"frobnicate":1`), "unknown_field", "/frobnicate"},
		"a field in another case": {with(`"User_Id":"u"`), "unknown_field", "/User_Id"},
		"an unknown nested field": {
			withCandidates(`[{"id":"a","colour":1}]`), "unknown_field", "/candidates/0/colour"},
		"bad UTF-8":           {with("\"model\":\"\xff\""), "malformed", "/model"},
		"a lone surrogate":    {with(`"model":"\ud800"`), "malformed", "/model"},
		"a control character": {with("\"model\":\"a\x01\""), "malformed", "/model"},
		"too deep":            {with(`"context":` + deep), "malformed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, s.call("POST", "/recommend", c.body), 400, c.code, c.pointer)
		})
	}
}

// A field with a wrong type or out of its range is refused with its place.
func TestRecommendRefusesInvalidFields(t *testing.T) {
	s := start(t, nil)
	long := strings.Repeat("x", 257)
	longText := strings.Repeat("x", 70_000)
	keys := make([]string, 33)
	for i := range keys {
		keys[i] = fmt.Sprintf(`"k%d":1`, i)
	}
	manyKeys := `"context":{` + strings.Join(keys, ",") + `}`
	for name, c := range map[string]struct{ body, pointer string }{
		"a number as user":      {`{"user_id":7,"candidates":["a"]}`, "/user_id"},
		"a long user":           {`{"user_id":"` + long + `","candidates":["a"]}`, "/user_id"},
		"a NUL in the user":     {`{"user_id":"a\u0000","candidates":["a"]}`, "/user_id"},
		"a line break in an id": {with(`"session":"a\nb"`), "/session"},
		"null candidates":       {withCandidates(`null`), "/candidates"},
		"a number as candidate": {withCandidates(`[1]`), "/candidates/0"},
		"an empty id":           {withCandidates(`["a",""]`), "/candidates/1"},
		"a long id":             {withCandidates(`["` + long + `"]`), "/candidates/0"},
		"a score beyond 32 bits": {
			withCandidates(`[{"id":"a","score":1e39}]`), "/candidates/0/score"},
		"a score beyond 64 bits": {
			withCandidates(`[{"id":"a","score":1e999}]`), "/candidates/0/score"},
		"a field beyond 32 bits": {
			withCandidates(`[{"id":"a","fields":{"price":1e308}}]`), "/candidates/0/fields/price"},
		"context beyond 32 bits": {with(`"context":{"x":1e39}`), "/context/x"},
		"a long text": {
			withCandidates(`[{"id":"a","text":"` + longText + `"}]`), "/candidates/0"},
		"limit 0":               {with(`"limit":0`), "/limit"},
		"min_fit above 1":       {with(`"min_fit":1.5,"context":{"query":"x"}`), "/min_fit"},
		"min_fit below 0":       {with(`"min_fit":-0.1,"context":{"query":"x"}`), "/min_fit"},
		"min_fit, no query":     {with(`"min_fit":0.5`), "/min_fit"},
		"a string as limit":     {with(`"limit":"3"`), "/limit"},
		"a fraction as limit":   {with(`"limit":1.5`), "/limit"},
		"deadline 0":            {with(`"deadline_ms":0`), "/deadline_ms"},
		"a long deadline":       {with(`"deadline_ms":10001`), "/deadline_ms"},
		"explain 0":             {with(`"explain":0`), "/explain"},
		"explain 101":           {with(`"explain":101`), "/explain"},
		"a string as explain":   {with(`"explain":"yes"`), "/explain"},
		"a word as time":        {with(`"time":"noon"`), "/time"},
		"a negative time":       {with(`"time":-5`), "/time"},
		"a list in context":     {with(`"context":{"x":["a"]}`), "/context/x"},
		"an object in context":  {with(`"context":{"x":{}}`), "/context/x"},
		"too many context keys": {with(manyKeys), "/context"},
		"a long context key":    {with(`"context":{"` + long[:65] + `":1}`), "/context"},
		"a large context":       {with(`"context":{"a":"` + longText[:4096] + `"}`), "/context"},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, s.call("POST", "/recommend", c.body), 400, "invalid_field", c.pointer)
		})
	}
}

// A field that is missing or empty is refused with its place.
func TestMissingFields(t *testing.T) {
	s := start(t, nil)
	for body, pointer := range map[string]string{
		`{"candidates":["a"]}`:                "/user_id",
		`{"user_id":"","candidates":["a"]}`:   "/user_id",
		`{"user_id":"u"}`:                     "/candidates",
		withCandidates(`[]`):                  "/candidates",
		withCandidates(`["a",{"title":"T"}]`): "/candidates/1/id",
	} {
		wantError(t, s.call("POST", "/recommend", body), 400, "missing_field", pointer)
	}
}

func TestRecommendRefusesTooMuch(t *testing.T) {
	s := start(t, nil)
	many := withCandidates(candidateIDs(5001))
	wantError(t, s.call("POST", "/recommend", many), 413, "too_many_items", "/candidates")
	large := `{"user_id":"` + strings.Repeat("x", 9<<20) + `"}`
	wantError(t, s.call("POST", "/recommend", large), 413, "body_too_large", "")
	unknown := with(`"model":"best"`)
	wantError(t, s.call("POST", "/recommend", unknown), 404, "unknown_model", "/model")
	wantError(t, s.call("POST", "/recommend", ``), 415, "unsupported_media_type", "")
}

func TestContentTypes(t *testing.T) {
	s := start(t, nil)
	for contentType, status := range map[string]int{
		"application/json":                  200,
		"application/json; charset=utf-8":   200,
		"application/json; charset=UTF-8":   200,
		"application/json; charset=latin1":  415,
		"text/html":                         415,
		"text/plain":                        415,
		"application/x-www-form-urlencoded": 415,
		";;":                                415,
	} {
		w := s.call("POST", "/recommend", ranking, "Content-Type", contentType)
		if w.Code != status {
			t.Errorf("%s: %d, want %d", contentType, w.Code, status)
		}
	}
	w := s.call("POST", "/recommend", ranking, "Content-Encoding", "gzip")
	wantError(t, w, http.StatusUnsupportedMediaType, "unsupported_media_type", "")
}

func TestOtherBodiesAreStrict(t *testing.T) {
	s := start(t, nil)
	long := strings.Repeat("x", 300)
	metarank := func(more string) string {
		return `{"id":"r1","timestamp":1700000000000,"items":[{"id":"a"}]` + more + `}`
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		code, pointer      string
	}{
		{"PUT", "/users/u", `{"fields":{"a":1},"x":1}`, 400, "unknown_field", "/x"},
		{"PUT", "/users/u", `{"fields":{"a":{}}}`, 400, "invalid_field", "/fields/a"},
		{"PUT", "/users/u", `{"fields":{"a":1,"a":2}}`, 400, "malformed", "/fields/a"},
		{"PUT", "/users/" + long, `{"fields":{"a":1}}`, 400, "invalid_field", ""},
		{"DELETE", "/users/" + long, ``, 400, "invalid_field", ""},
		{"POST", "/rerank", `{"query":"q","texts":["a"],"x":1}`, 400, "unknown_field", "/x"},
		{"POST", "/rerank", `{"texts":["a"]}`, 400, "missing_field", "/query"},
		{"POST", "/rerank", `{"query":"q","texts":[]}`, 400, "missing_field", "/documents"},
		{"POST", "/v2/rerank", `{"query":"q","documents":["a"],"top_n":0}`,
			400, "invalid_field", "/top_n"},
		{"POST", "/rank/prior", `{"event":"item","id":"1","timestamp":1,"item":"a","fields":[]}`,
			400, "invalid_field", "/event"},
		{"POST", "/rank/prior", strings.Replace(
			metarank(`,"user":"u"`), `"id":"a"`, `"id":"a","relevancy":1e39`, 1),
			400, "invalid_field", "/items/0/relevancy"},
		{"POST", "/rank/other", metarank(`,"user":"u"`), 404, "unknown_model", ""},
		{"POST", "/rank/prior", metarank(``), 400, "missing_field", "/user"},
		{"GET", "/items/unknown", ``, 404, "not_found", ""},
		{"DELETE", "/items/unknown", ``, 404, "not_found", ""},
		{"GET", "/no-such-route", ``, 404, "not_found", ""},
		{"GET", "/recommend", ``, 405, "method_not_allowed", ""},
	} {
		t.Run(c.method+" "+c.path[:min(len(c.path), 20)]+" "+c.code, func(t *testing.T) {
			wantError(t, s.call(c.method, c.path, c.body), c.status, c.code, c.pointer)
		})
	}
}
