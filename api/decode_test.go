package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// A body that is not exactly a request is refused with the place of the fault.
func TestRecommendIsStrict(t *testing.T) {
	s := start(t, nil)
	long := strings.Repeat("x", 257)
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	manyContext := `{"user_id":"u","candidates":["a"],"context":{`
	for i := range 33 {
		manyContext += fmt.Sprintf(`"k%d":1,`, i)
	}
	manyContext = strings.TrimSuffix(manyContext, ",") + "}}"
	for name, c := range map[string]struct {
		body          string
		status        int
		code, pointer string
	}{
		"no body":                 {``, 415, "unsupported_media_type", ""},
		"white space":             {`  `, 400, "malformed", ""},
		"not JSON":                {`hello`, 400, "malformed", ""},
		"truncated":               {`{"user_id":"u","candidates":["a"`, 400, "malformed", "/candidates"},
		"not an object":           {`["a"]`, 400, "invalid_field", ""},
		"two documents":           {`{"user_id":"u","candidates":["a"]}{}`, 400, "malformed", ""},
		"trailing bytes":          {`{"user_id":"u","candidates":["a"]} x`, 400, "malformed", ""},
		"a repeated field":        {`{"user_id":"u","user_id":"v","candidates":["a"]}`, 400, "malformed", "/user_id"},
		"a repeated nested field": {`{"user_id":"u","candidates":[{"id":"a","id":"b"}]}`, 400, "malformed", "/candidates/0/id"},
		"an unknown field":        {`{"user_id":"u","candidates":["a"],"frobnicate":1}`, 400, "unknown_field", "/frobnicate"},
		"a field in another case": {`{"User_Id":"u","candidates":["a"]}`, 400, "unknown_field", "/User_Id"},
		"an unknown nested field": {`{"user_id":"u","candidates":[{"id":"a","colour":1}]}`, 400, "unknown_field", "/candidates/0/colour"},
		"bad UTF-8":               {"{\"user_id\":\"\xff\",\"candidates\":[\"a\"]}", 400, "malformed", "/user_id"},
		"lone surrogate":          {`{"user_id":"\ud800","candidates":["a"]}`, 400, "malformed", "/user_id"},
		"a control character":     {"{\"user_id\":\"a\x01\",\"candidates\":[\"a\"]}", 400, "malformed", "/user_id"},
		"escaped NUL":             {`{"user_id":"a\u0000","candidates":["a"]}`, 400, "invalid_field", "/user_id"},
		"too deep":                {`{"user_id":"u","candidates":["a"],"context":` + deep + `}`, 400, "malformed", ""},
		"no user":                 {`{"candidates":["a"]}`, 400, "invalid_field", "/user_id"},
		"a number as user":        {`{"user_id":7,"candidates":["a"]}`, 400, "invalid_field", "/user_id"},
		"long user":               {`{"user_id":"` + long + `","candidates":["a"]}`, 400, "invalid_field", "/user_id"},
		"bad session":             {`{"user_id":"u","session":"a\nb","candidates":["a"]}`, 400, "invalid_field", "/session"},
		"no candidates":           {`{"user_id":"u"}`, 400, "invalid_field", "/candidates"},
		"empty candidates":        {`{"user_id":"u","candidates":[]}`, 400, "invalid_field", "/candidates"},
		"candidates null":         {`{"user_id":"u","candidates":null}`, 400, "invalid_field", "/candidates"},
		"a number as candidate":   {`{"user_id":"u","candidates":[1]}`, 400, "invalid_field", "/candidates/0"},
		"an empty id":             {`{"user_id":"u","candidates":["a",""]}`, 400, "invalid_field", "/candidates/1"},
		"a long id":               {`{"user_id":"u","candidates":["` + long + `"]}`, 400, "invalid_field", "/candidates/0"},
		"a score beyond 32 bits":  {`{"user_id":"u","candidates":[{"id":"a","score":1e39}]}`, 400, "invalid_field", "/candidates/0"},
		"a score beyond 64 bits":  {`{"user_id":"u","candidates":[{"id":"a","score":1e999}]}`, 400, "invalid_field", "/candidates/0/score"},
		"limit 0":                 {`{"user_id":"u","candidates":["a"],"limit":0}`, 400, "invalid_field", "/limit"},
		"a string as limit":       {`{"user_id":"u","candidates":["a"],"limit":"3"}`, 400, "invalid_field", "/limit"},
		"limit with a fraction":   {`{"user_id":"u","candidates":["a"],"limit":1.5}`, 400, "invalid_field", "/limit"},
		"deadline 0":              {`{"user_id":"u","candidates":["a"],"deadline_ms":0}`, 400, "invalid_field", "/deadline_ms"},
		"deadline too long":       {`{"user_id":"u","candidates":["a"],"deadline_ms":10001}`, 400, "invalid_field", "/deadline_ms"},
		"explain 0":               {`{"user_id":"u","candidates":["a"],"explain":0}`, 400, "invalid_field", "/explain"},
		"explain 101":             {`{"user_id":"u","candidates":["a"],"explain":101}`, 400, "invalid_field", "/explain"},
		"a string as explain":     {`{"user_id":"u","candidates":["a"],"explain":"yes"}`, 400, "invalid_field", "/explain"},
		"a word as time":          {`{"user_id":"u","candidates":["a"],"time":"noon"}`, 400, "invalid_field", "/time"},
		"a negative time":         {`{"user_id":"u","candidates":["a"],"time":-5}`, 400, "invalid_field", "/time"},
		"a list in context":       {`{"user_id":"u","candidates":["a"],"context":{"x":["a"]}}`, 400, "invalid_field", "/context/x"},
		"an object in context":    {`{"user_id":"u","candidates":["a"],"context":{"x":{}}}`, 400, "invalid_field", "/context/x"},
		"too much context":        {manyContext, 400, "invalid_field", "/context"},
		"an unknown model":        {`{"user_id":"u","candidates":["a"],"model":"best"}`, 404, "unknown_model", "/model"},
		"too many candidates":     {`{"user_id":"u","candidates":` + candidateIDs(5001) + `}`, 413, "too_many_items", "/candidates"},
		"a large body":            {`{"user_id":"` + strings.Repeat("x", 9<<20) + `"}`, 413, "body_too_large", ""},
		"a long text":             {`{"user_id":"u","candidates":[{"id":"a","text":"` + strings.Repeat("x", 70_000) + `"}]}`, 400, "invalid_field", "/candidates/0"},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, s.call("POST", "/recommend", c.body), c.status, c.code, c.pointer) })
	}
}

func TestContentTypes(t *testing.T) {
	s := start(t, nil)
	const body = `{"user_id":"u","candidates":["a"]}`
	for contentType, status := range map[string]int{
		"application/json": 200, "application/json; charset=utf-8": 200, "application/json; charset=UTF-8": 200,
		"application/json; charset=latin1": 415, "text/html": 415, "text/plain": 415, "application/x-www-form-urlencoded": 415, ";;": 415,
	} {
		if w := s.call("POST", "/recommend", body, "Content-Type", contentType); w.Code != status {
			t.Errorf("%s: %d, want %d", contentType, w.Code, status)
		}
	}
	wantError(t, s.call("POST", "/recommend", body, "Content-Encoding", "gzip"), http.StatusUnsupportedMediaType, "unsupported_media_type", "")
}

func TestOtherBodiesAreStrict(t *testing.T) {
	s := start(t, nil)
	for _, c := range []struct {
		method, path, body string
		status             int
		code, pointer      string
	}{
		{"PUT", "/users/u", `{"fields":{"a":1},"x":1}`, 400, "unknown_field", "/x"},
		{"PUT", "/users/u", `{"fields":{"a":{}}}`, 400, "invalid_field", "/fields/a"},
		{"PUT", "/users/u", `{"fields":{"a":1,"a":2}}`, 400, "malformed", "/fields/a"},
		{"PUT", "/users/" + strings.Repeat("x", 300), `{"fields":{"a":1}}`, 400, "invalid_field", "/user"},
		{"DELETE", "/users/" + strings.Repeat("x", 300), ``, 400, "invalid_field", ""},
		{"POST", "/rerank", `{"query":"q","texts":["a"],"unknown":1}`, 400, "unknown_field", "/unknown"},
		{"POST", "/rerank", `{"texts":["a"]}`, 400, "invalid_field", "/query"},
		{"POST", "/rerank", `{"query":"q","texts":[]}`, 400, "invalid_field", "/documents"},
		{"POST", "/v2/rerank", `{"query":"q","documents":["a"],"top_n":0}`, 400, "invalid_field", "/top_n"},
		{"POST", "/rank/prior", `{"event":"item","id":"1","timestamp":1,"item":"a","fields":[]}`, 400, "invalid_field", "/event"},
		{"POST", "/rank/other", `{"id":"r1","timestamp":1700000000000,"user":"u","items":[{"id":"a"}]}`, 404, "unknown_model", "/model"},
		{"POST", "/rank/prior", `{"id":"r1","timestamp":1700000000000,"items":[{"id":"a"}]}`, 400, "invalid_field", "/user"},
		{"GET", "/items/nothing", ``, 404, "not_found", ""},
		{"DELETE", "/items/nothing", ``, 404, "not_found", ""},
		{"GET", "/no-such-route", ``, 404, "not_found", ""},
		{"GET", "/recommend", ``, 405, "method_not_allowed", ""},
	} {
		t.Run(c.method+" "+c.path[:min(len(c.path), 20)]+" "+c.code, func(t *testing.T) {
			wantError(t, s.call(c.method, c.path, c.body), c.status, c.code, c.pointer)
		})
	}
}
