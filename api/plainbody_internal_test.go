package api

import (
	"reflect"
	"strings"
	"testing"
)

// plainSeeds are bodies that plainBody reads.
var plainSeeds = []string{
	`{"user_id":"u","candidates":["a","b"]}`,
	" {\t\"user_id\" : \"ü\",\n\"candidates\" : [ \"a\" , \"☃\" ] , \"record\" : false } ",
	`{"candidates":[],"user_id":""}`,
	`{}`,
	`{"user_id":"u","session":"s","model":"prior","limit":3,"deadline_ms":50,"seed":7,` +
		`"explain":true,"record":true,"candidates":["a"]}`,
	`{"user_id":"u","explain":false,"candidates":["a","a"],"context":{}}`,
	`{"user_id":"u","explain":100,"seed":0,"candidates":["a"],"context":{"query":"x","n":-1.50,` +
		`"z":-0,"t":true,"f":false,"big":999999999999999}}`,
	`{"user_id":"u","candidates":["a",{"id":"b"},{"score":-0.5,"id":"c"},{"id":"d","title":"T",` +
		`"text":"x y","fields":{"price":9.99,"on":true,"kind":"k"}},{"id":"e","fields":{}}]}`,
	`{"user_id":"a\u0062\"\n\ud83d\ude00","session":null,"model":null,"limit":null,"seed":null,` +
		`"deadline_ms":null,"explain":null,"record":null,"context":null,"time":null}`,
	`{"time":1700000000000,"user_id":"u"}`, `{"time":"2024-05-01T10:00:00Z","user_id":"u"}`,
	`{"candidates":[{"id":"a","tags":["t","ü",null,"\u00fc"],"title":null},{"id":"b","tags":[]},` +
		`{"id":"c","tags":null,"fields":null,"score":null},{"id":"d","text":"","title":""},` +
		`{"id":"e","fields":{"l":["x","y"],"n":[1,2.5,null],"e":[],"z":[null],"no":null}},` +
		`{"fields":{"a\u0062":"c\td"},"title":"T","id":"\u0066"}]}`,
	`{"context":{"a":[1],"b":["x"],"n":null}}`,
}

// unusualSeeds are bodies that plainBody leaves to decode, valid ones and others.
var unusualSeeds = []string{
	``, ` `, `[]`, `{`, `{"user_id":"u"`, `{"user_id":"u",}`, `{"user_id":"u"}x`, `{"user_id" "u"}`,
	`{"user_id":7}`, "{\"user_id\":\"\xff\"}",
	"{\"user_id\":\"a\nb\"}", `{"user_id":"u","user_id":"v"}`, `{"USER_ID":"u"}`, `{"x":1}`,
	`{"candidates":"a"}`, `{"candidates":[1]}`, `{"candidates":["a",]}`, `{"candidates":[{}]}`,
	`{"candidates":[{"id":""}]}`, `{"candidates":[{"id":"a","id":"b"}]}`,
	`{"candidates":[{"id":"a\u0000"}]}`, `{"candidates":[{"id":"a","score":1e39}]}`,
	`{"candidates":[{"id":"a","tags":"t"}]}`, `{"candidates":[{"id":"a","colour":1}]}`,
	`{"user_id":"\ud800"}`, `{"user_id":"\x"}`, `{"user_id":"\`, `{"user_id":nul}`, `{"time":1}`,
	`{"candidates":null}`, `{"candidates":[null]}`, `{"candidates":[{"id":"a","tags":[1]}]}`,
	`{"candidates":[{"id":"a","title":"t","\u0074itle":"t"}]}`, `{"context":{"a":[1,"x"]}}`,
	`{"context":{"a":[[1]]}}`, `{"context":{"a":1,"\u0061":2}}`, `{"time":99999999999999}`,
	`{"candidates":[{"id":"a","fields":{"x":{}}}]}`, `{"context":{"a":1,"a":2}}`,
	`{"context":{"a":1e3}}`, `{"context":{"a":01}}`,
	`{"context":{"a":1.}}`, `{"context":{"a":.5}}`, `{"context":{"a":9007199254740993}}`,
	`{"context":{"a":+1}}`, `{"context":{"a":-}}`, `{"context":{"a":tru}}`,
	`{"limit":1.5}`, `{"limit":-1}`, `{"limit":01}`, `{"limit":1e2}`, `{"seed":-9}`,
	`{"limit":12345678901234567890}`, `{"explain":0}`, `{"explain":101}`, `{"explain":"yes"}`,
	`{"record":1}`, `{"record":trueish}`,
}

// FuzzPlainBody checks that what plainBody reads, decode reads too, with the same result.
func FuzzPlainBody(f *testing.F) {
	for _, seed := range append(plainSeeds, unusualSeeds...) {
		f.Add(seed)
	}
	plain := new(plainBody)
	f.Fuzz(func(t *testing.T, data string) {
		var got, want recommendBody
		if !plain.read([]byte(data), &got) {
			return
		}
		if err := decode([]byte(data), &want); err != nil {
			t.Fatalf("%q was read, and decode refuses it: %v", data, err)
		}
		if len(got.Candidates) == 0 && len(want.Candidates) == 0 {
			got.Candidates, want.Candidates = nil, nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, want %+v", data, got, want)
		}
	})
}

// The usual bodies take the short path, also with buffers that hold an earlier body, and none that
// is unusual does.
func TestPlainBody(t *testing.T) {
	plain := new(plainBody)
	for _, body := range plainSeeds {
		if !plain.read([]byte(body), new(recommendBody)) {
			t.Errorf("%s is left to decode", body)
		}
	}
	for _, body := range unusualSeeds {
		if plain.read([]byte(body), new(recommendBody)) {
			t.Errorf("%s was read", body)
		}
	}
	most := `{"candidates":["a"` + strings.Repeat(`,"a"`, maxCandidates-1)
	if !plain.read([]byte(most+"]}"), new(recommendBody)) {
		t.Error("the most candidates are left to decode")
	}
	if plain.read([]byte(most+`,"a"]}`), new(recommendBody)) {
		t.Error("more candidates than allowed were read")
	}
	if plain.read([]byte(`{"candidates":["`+strings.Repeat("a", maxKeptBuffer)+`"]}`),
		new(recommendBody)) || cap(plain.ids) > maxKeptBuffer {
		t.Error("a large body, for which no buffer is kept, was read")
	}
}
