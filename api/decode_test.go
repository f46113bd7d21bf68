package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// What is not exactly a request is refused, with what is wrong and where, and never guessed at.
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
		"nothing":                {``, 415, "unsupported_media_type", ""},
		"white space":            {`  `, 400, "malformed", ""},
		"not JSON":               {`hello`, 400, "malformed", ""},
		"cut off":                {`{"user_id":"u","candidates":["a"`, 400, "malformed", "/candidates"},
		"not an object":          {`["a"]`, 400, "invalid_field", ""},
		"two documents":          {`{"user_id":"u","candidates":["a"]}{}`, 400, "malformed", ""},
		"trailing bytes":         {`{"user_id":"u","candidates":["a"]} x`, 400, "malformed", ""},
		"a name twice":           {`{"user_id":"u","user_id":"v","candidates":["a"]}`, 400, "malformed", "/user_id"},
		"a nested name twice":    {`{"user_id":"u","candidates":[{"id":"a","id":"b"}]}`, 400, "malformed", "/candidates/0/id"},
		"an unknown name":        {`{"user_id":"u","candidates":["a"],"frobnicate":1}`, 400, "unknown_field", "/frobnicate"},
		"another case":           {`{"User_Id":"u","candidates":["a"]}`, 400, "unknown_field", "/User_Id"},
		"an unknown nested name": {`{"user_id":"u","candidates":[{"id":"a","colour":1}]}`, 400, "unknown_field", "/candidates/0/colour"},
		"bad UTF-8":              {"{\"user_id\":\"\xff\",\"candidates\":[\"a\"]}", 400, "malformed", "/user_id"},
		"lone surrogate":         {`{"user_id":"\ud800","candidates":["a"]}`, 400, "malformed", "/user_id"},
		"control in a string":    {"{\"user_id\":\"a\x01\",\"candidates\":[\"a\"]}", 400, "malformed", "/user_id"},
		"escaped NUL":            {`{"user_id":"a\u0000","candidates":["a"]}`, 400, "invalid_field", "/user_id"},
		"deep":                   {`{"user_id":"u","candidates":["a"],"context":` + deep + `}`, 400, "malformed", ""},
		"no user":                {`{"candidates":["a"]}`, 400, "invalid_field", "/user_id"},
		"user of another type":   {`{"user_id":7,"candidates":["a"]}`, 400, "invalid_field", "/user_id"},
		"long user":              {`{"user_id":"` + long + `","candidates":["a"]}`, 400, "invalid_field", "/user_id"},
		"bad session":            {`{"user_id":"u","session":"a\nb","candidates":["a"]}`, 400, "invalid_field", "/session"},
		"no candidates":          {`{"user_id":"u"}`, 400, "invalid_field", "/candidates"},
		"empty candidates":       {`{"user_id":"u","candidates":[]}`, 400, "invalid_field", "/candidates"},
		"candidates null":        {`{"user_id":"u","candidates":null}`, 400, "invalid_field", "/candidates"},
		"a number as candidate":  {`{"user_id":"u","candidates":[1]}`, 400, "invalid_field", "/candidates/0"},
		"an empty id":            {`{"user_id":"u","candidates":["a",""]}`, 400, "invalid_field", "/candidates/1"},
		"a long id":              {`{"user_id":"u","candidates":["` + long + `"]}`, 400, "invalid_field", "/candidates/0"},
		"score too large":        {`{"user_id":"u","candidates":[{"id":"a","score":1e39}]}`, 400, "invalid_field", "/candidates/0"},
		"score beyond numbers":   {`{"user_id":"u","candidates":[{"id":"a","score":1e999}]}`, 400, "invalid_field", "/candidates/0/score"},
		"limit 0":                {`{"user_id":"u","candidates":["a"],"limit":0}`, 400, "invalid_field", "/limit"},
		"limit as text":          {`{"user_id":"u","candidates":["a"],"limit":"3"}`, 400, "invalid_field", "/limit"},
		"limit with a fraction":  {`{"user_id":"u","candidates":["a"],"limit":1.5}`, 400, "invalid_field", "/limit"},
		"deadline 0":             {`{"user_id":"u","candidates":["a"],"deadline_ms":0}`, 400, "invalid_field", "/deadline_ms"},
		"deadline too long":      {`{"user_id":"u","candidates":["a"],"deadline_ms":10001}`, 400, "invalid_field", "/deadline_ms"},
		"explain 0":              {`{"user_id":"u","candidates":["a"],"explain":0}`, 400, "invalid_field", "/explain"},
		"explain 101":            {`{"user_id":"u","candidates":["a"],"explain":101}`, 400, "invalid_field", "/explain"},
		"explain as text":        {`{"user_id":"u","candidates":["a"],"explain":"yes"}`, 400, "invalid_field", "/explain"},
		"time as words":          {`{"user_id":"u","candidates":["a"],"time":"noon"}`, 400, "invalid_field", "/time"},
		"time negative":          {`{"user_id":"u","candidates":["a"],"time":-5}`, 400, "invalid_field", "/time"},
		"a list in context":      {`{"user_id":"u","candidates":["a"],"context":{"x":["a"]}}`, 400, "invalid_field", "/context/x"},
		"an object in context":   {`{"user_id":"u","candidates":["a"],"context":{"x":{}}}`, 400, "invalid_field", "/context/x"},
		"too much context":       {manyContext, 400, "invalid_field", "/context"},
		"an unknown model":       {`{"user_id":"u","candidates":["a"],"model":"best"}`, 404, "unknown_model", "/model"},
		"too many candidates":    {`{"user_id":"u","candidates":` + candidateList(5001) + `}`, 413, "too_many_items", "/candidates"},
		"too large":              {`{"user_id":"` + strings.Repeat("x", 9<<20) + `"}`, 413, "body_too_large", ""},
		"text of a candidate":    {`{"user_id":"u","candidates":[{"id":"a","text":"` + strings.Repeat("x", 70_000) + `"}]}`, 400, "invalid_field", "/candidates/0"},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, s.call("POST", "/recommend", c.body), c.status, c.code, c.pointer) })
	}
}

func TestRecommendTakes(t *testing.T) {
	s := start(t, nil)
	for name, c := range map[string]struct {
		body  string
		items int
	}{
		"ids":                    {`{"user_id":"u","candidates":["a","b"]}`, 2},
		"5,000":                  {`{"user_id":"u","candidates":` + candidateList(5000) + `,"deadline_ms":10000}`, 5000},
		"a repeated id":          {`{"user_id":"u","candidates":["a","b","a"]}`, 2},
		"objects and ids":        {`{"user_id":"u","candidates":[{"id":"a","title":"t","tags":["x"],"fields":{"price":3},"score":0.5},"b"]}`, 2},
		"every member":           {`{"user_id":"ü","session":"s","candidates":["a"],"context":{"query":"q","n":1,"b":true},"limit":5,"deadline_ms":50,"explain":true,"model":"prior","seed":-3,"record":false,"time":"2026-05-01T10:00:00Z"}`, 1},
		"time in ms":             {`{"user_id":"u","candidates":["a"],"time":1700000000000}`, 1},
		"a limit above":          {`{"user_id":"u","candidates":["a","b"],"limit":100}`, 2},
		"a limit":                {`{"user_id":"u","candidates":["a","b"],"limit":1}`, 1},
		"no explanation":         {`{"user_id":"u","candidates":["a"],"explain":false}`, 1},
		"content type parameter": {`{"user_id":"u","candidates":["a"]}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.recommend(t, c.body)
			if len(a.Items) != c.items || a.Degraded == nil || a.Experiments == nil || a.Model != "prior" || a.RequestID == "" {
				t.Errorf("%+v", a)
			}
		})
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
		{"POST", "/rerank", `{"query":"q","texts":["a"],"nonsense":1}`, 400, "unknown_field", "/nonsense"},
		{"POST", "/rerank", `{"texts":["a"]}`, 400, "invalid_field", "/query"},
		{"POST", "/rerank", `{"query":"q","texts":[]}`, 400, "invalid_field", "/documents"},
		{"POST", "/v2/rerank", `{"query":"q","documents":["a"],"top_n":0}`, 400, "invalid_field", "/top_n"},
		{"POST", "/rank/prior", `{"event":"item","id":"1","timestamp":1,"item":"a","fields":[]}`, 400, "invalid_field", "/event"},
		{"POST", "/rank/other", `{"id":"r1","timestamp":1700000000000,"user":"u","items":[{"id":"a"}]}`, 404, "unknown_model", "/model"},
		{"POST", "/rank/prior", `{"id":"r1","timestamp":1700000000000,"items":[{"id":"a"}]}`, 400, "invalid_field", "/user"},
		{"GET", "/items/nothing", ``, 404, "not_found", ""},
		{"DELETE", "/items/nothing", ``, 404, "not_found", ""},
		{"GET", "/nowhere", ``, 404, "not_found", ""},
		{"GET", "/recommend", ``, 405, "method_not_allowed", ""},
	} {
		t.Run(c.method+" "+c.path[:min(len(c.path), 20)]+" "+c.code, func(t *testing.T) {
			wantError(t, s.call(c.method, c.path, c.body), c.status, c.code, c.pointer)
		})
	}
}

// Whatever the bytes, the edge answers, and what it calls its own bug is one.
func FuzzRecommend(f *testing.F) {
	s := start(f, nil)
	for _, seed := range []string{`{"user_id":"u","candidates":["a"]}`, `{"user_id":"u","candidates":[{"id":"a","score":1e30,"fields":{"a":[1,"b"]}}],"explain":2}`, `[`, "\xff", `{"time":1e300}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		w := s.call("POST", "/recommend", body)
		var v any
		if w.Code >= 500 || json.Unmarshal(w.Body.Bytes(), &v) != nil {
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	})
}

func BenchmarkRecommend(b *testing.B) {
	s := start(b, nil)
	body := `{"user_id":"u","record":false,"candidates":` + candidateList(100) + `}`
	b.ReportAllocs()
	for b.Loop() {
		if w := s.call("POST", "/recommend", body); w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}
