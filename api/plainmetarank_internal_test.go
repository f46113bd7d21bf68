package api

import (
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/go-json-experiment/json"

	"relish/ranker"
)

// metarankSeeds are ranking events that plainBody reads.
var metarankSeeds = []string{
	`{"event":"ranking","id":"r","timestamp":"1599391467000","user":"u","session":"s",` +
		`"fields":[{"name":"query","value":"sea"},{"value":1.5,"name":"n"},` +
		`{"name":"t","value":true},{"name":"l","value":["x"]},{"name":"no","value":null},` +
		`{"name":"n","value":2}],` +
		`"items":[{"id":"b","fields":[{"name":"relevancy","value":1.0}]},` +
		`{"id":"a","relevancy":2},{"id":"c","relevancy":0,"label":1,"fields":[` +
		`{"name":"relevancy","value":"x"},` +
		`{"name":"relevancy","value":0},{"name":"relevancy","value":3}]}]}`,
	`{"items":[{"id":"a"},{"id":"b"}],"session":"s","tenant":"default","timestamp":1599391467000}`,
	`{"id":"r","user":null,"session":null,"timestamp":null,"fields":null,"items":null,"event":""}`,
	` { "items" : [ {"id" : "\u00fc"} , {"relevancy":null,"id":"x","fields":[],"label":null} ] } `,
	`{}`, `{"items":[]}`, `{"items":[{}]}`, `{"fields":[{}],"items":[{"id":"a","fields":[{}]}]}`,
	`{"timestamp":"2024-05-01T10:00:00Z"}`,
}

// unusualMetarank are events that it leaves to the general decoder.
var unusualMetarank = []string{
	``, `[]`, `{"event":"item","id":"i","item":"a"}`, `{"event":"x"}`, `{"timestamp":0}`,
	`{"timestamp":"x"}`, `{"timestamp":1e12}`, `{"items":[{"id":null}]}`, `{"items":["a"]}`,
	`{"items":[{"id":"a","relevancy":1e3}]}`, `{"items":[{"id":"a","id":"b"}]}`, `{"item":"a"}`,
	`{"items":[{"id":"a","relevancy":"1"}]}`, `{"fields":{"a":1}}`, `{"user":7}`, `{"x":1}`,
	`{"user":"\ud800"}`, `{"id":"a","id":"b"}`, `{"items":[{"id":"a"}]}x`, `{"items":[null]}`,
}

// FuzzPlainMetarank checks that what plainBody reads, the general decoder reads too, with the same
// result.
func FuzzPlainMetarank(f *testing.F) {
	for _, seed := range append(metarankSeeds, unusualMetarank...) {
		f.Add(seed)
	}
	plain := new(plainBody)
	f.Fuzz(func(t *testing.T, data string) {
		var got metarankBody
		if !plain.readMetarank([]byte(data), &got) {
			return
		}
		want, err := decodeAnyMetarank([]byte(data))
		if err != nil {
			t.Fatalf("%q was read, and the general decoder refuses it: %v", data, err)
		}
		if !slices.ContainsFunc(got.scores, func(x float64) bool { return x != 0 }) {
			got.scores = nil
		}
		if !reflect.DeepEqual(&got, want) {
			t.Errorf("%q: %+v, want %+v", data, got, *want)
		}
	})
}

func TestPlainMetarank(t *testing.T) {
	plain := new(plainBody)
	for _, body := range metarankSeeds {
		if !plain.readMetarank([]byte(body), new(metarankBody)) {
			t.Errorf("%s is left to the general decoder", body)
		}
	}
	for _, body := range unusualMetarank {
		if plain.readMetarank([]byte(body), new(metarankBody)) {
			t.Errorf("%s was read", body)
		}
	}
}

func TestMetarankAnswer(t *testing.T) {
	explained := &ranker.Explanation{Contributions: []ranker.Contribution{
		{Feature: "a", Value: math.NaN()}, {Feature: "b", Value: 1.5}, {Feature: "c", Value: -2},
	}}
	r := &ranker.Response{Items: []ranker.RankedItem{
		{ID: "x\"", Score: 0.25}, {ID: "y", Score: -1, Explain: explained},
		{ID: "z", Explain: &ranker.Explanation{}},
	}}
	var got, want any
	if err := json.Unmarshal(appendMetarank(nil, r, 2_500_000), &got); err != nil {
		t.Fatal(err)
	}
	err := json.Unmarshal([]byte(`{"state":null,"took":2,"items":[
		{"id":"x\"","score":0.25,"features":null},
		{"id":"y","score":-1,"features":[{"name":"b","value":1.5},{"name":"c","value":-2}]},
		{"id":"z","score":0,"features":[]}]}`), &want)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
