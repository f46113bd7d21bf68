package event_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"relish/features/event"
	"relish/ranker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ptr[T any](v T) *T { return &v }

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     ranker.Event
	}{
		{
			"item",
			`{"type":"item","id":"e1","time":"2020-01-02T03:04:05Z","item":"i","title":"T",` +
				`"tags":["a"],"fields":{"price":3.5,"on":true,"kinds":["x"],"n":[1,2]}}`,
			ranker.Event{
				Kind: ranker.EventItem, ID: "e1", Time: 1577934245000, ItemID: "i", Title: ptr("T"),
				Tags: []string{"a"},
				Fields: map[string]ranker.FieldValue{
					"price": ranker.NumberValue(3.5),
					"on":    ranker.BoolValue(true),
					"kinds": ranker.StringsValue([]string{"x"}),
					"n":     {Kind: ranker.Numbers, Nums: []float64{1, 2}},
				},
			},
		},
		{
			"impression",
			`{"type":"impression","id":"e3","user":"u","items":["a","b"],"propensity":[1,0.5],` +
				`"context":{"query":"q"}}`,
			ranker.Event{
				Kind: ranker.EventImpression, ID: "e3", UserID: "u",
				Impression: &ranker.Impression{
					Items: []string{"a", "b"}, Propensity: []float64{1, .5},
					Context: map[string]ranker.FieldValue{"query": ranker.StringValue("q")},
				},
			},
		},
		{
			"interaction",
			`{"type":"interaction","id":"e4","time":1.7776296e12,"user":"u","item":"i",` +
				`"action":"click","impression":"e3","value":1}`,
			ranker.Event{
				Kind: ranker.EventInteraction, ID: "e4", Time: 1_777_629_600_000, UserID: "u",
				ItemID: "i", Action: "click", ImpressionID: "e3", Value: ptr(1.0),
			},
		},
		{
			"metarank item",
			`{"event":"item","id":"m1","timestamp":"1599391467000","item":"i","fields":[` +
				`{"name":"title","value":"T"},{"name":"overview","value":"O"},` +
				`{"name":"tags","value":["x"]},{"name":"year","value":2001}]}`,
			ranker.Event{
				Kind: ranker.EventItem, ID: "m1", Time: 1599391467000, ItemID: "i",
				Title: ptr("T"), Text: ptr("O"), Tags: []string{"x"},
				Fields: map[string]ranker.FieldValue{"year": ranker.NumberValue(2001)},
			},
		},
		{
			"metarank tag and texts",
			`{"event":"metadata","id":"m1","timestamp":1777629600000,"item":"i","fields":[` +
				`{"name":"overview","value":"O"},{"name":"description","value":"D"},` +
				`{"name":"tags","value":"x"}]}`,
			ranker.Event{
				Kind: ranker.EventItem, ID: "m1", Time: 1_777_629_600_000, ItemID: "i",
				Text: ptr("D"), Tags: []string{"x"},
				Fields: map[string]ranker.FieldValue{"overview": ranker.StringValue("O")},
			},
		},
		{
			"metarank ranking",
			`{"event":"ranking","id":"m2","timestamp":1599391467000,"session":"s",` +
				`"items":[{"id":"a","relevancy":2.0},{"id":"b"}]}`,
			ranker.Event{
				Kind: ranker.EventImpression, ID: "m2", Time: 1599391467000,
				UserID: "s", Session: "s",
				Impression: &ranker.Impression{Items: []string{"a", "b"}, Scores: []float64{2, 0}},
			},
		},
		{
			"metarank interaction",
			`{"event":"interaction","id":"m3","ranking":"m2","timestamp":"2020-01-02T03:04:05Z",` +
				`"user":"u","type":"purchase","item":"a","fields":[{"name":"count","value":1}]}`,
			ranker.Event{
				Kind: ranker.EventInteraction, ID: "m3", Time: 1577934245000, UserID: "u",
				ItemID: "a", Action: "purchase", ImpressionID: "m2",
			},
		},
	} {
		got, err := event.Decode([]byte(c.in))
		if err == nil {
			err = event.Validate(&got)
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, d)
		}
	}
}

func TestRejected(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	const (
		id   = "must be 1 to 256 bytes of printable UTF-8"
		send = "send an id of 1 to 256 bytes of printable UTF-8"
	)
	for _, c := range []struct{ in, code, want string }{
		{`{`, "malformed", "not valid JSON at byte 1: unexpected EOF"},
		{
			`null`,
			"missing_field", `/type: type is required: item, user, impression or interaction`,
		},
		{`[]`, "invalid_field", "must not be a list"},
		{
			`{"type":"item","id":"e"} x`,
			"malformed", "not valid JSON at byte 25: invalid character 'x' after top-level value",
		},
		{
			`{"type":"item","id":"e","id":"f","item":"i"}`,
			"malformed", `/id: field "id" is given twice: keep one`,
		},
		{
			`{"type":"item","id":"e","ITEM":"i"}`,
			"unknown_field", `/ITEM: unknown field "ITEM"; did you mean "item"?`,
		},
		{
			`{"type":"item","id":"e","` + long + `":1}`,
			"unknown_field", "/" + long[:255] + `...: unknown field "` + long[:40] + `": remove it`,
		},
		{
			`{"type":"item","id":"e","item":"i","action":"click"}`,
			"unknown_field", `/action: an event of type item has no field "action": remove it`,
		},
		{
			`{"type":"item","id":"e","item":"i","replace":false}`,
			"unknown_field", `/replace: unknown field "replace": remove it`,
		},
		{
			`{"type":"impression","id":"e","user":"u","items":["a"],"scores":null}`,
			"unknown_field", `/scores: unknown field "scores": remove it`,
		},
		{
			`{"type":"impression","id":"e","user":"u","items":["a"],"answer":null}`,
			"unknown_field", `/answer: unknown field "answer": remove it`,
		},
		{
			`{"type":"erase","id":"e"}`,
			"invalid_field",
			`/type: unknown type "erase": use item, user, impression or interaction`,
		},
		{`{"type":"item","id":"e"}`, "missing_field", "/item: item is required: " + send},
		{`{"type":"item","item":"i"}`, "missing_field", "/id: id is required: " + send},
		{`{"type":"item","id":"e","item":7}`, "invalid_field", "/item: must not be a number"},
		{
			`{"type":"item","id":"e","item":"i","fields":{"x":{}}}`,
			"invalid_field",
			"/fields/x: must be a number, a boolean, a string, or a list of strings or of numbers",
		},
		{
			`{"type":"item","id":"e","item":"i","fields":{"x":[1,"a"]}}`,
			"invalid_field",
			"/fields/x: must be a list of only strings or of only numbers",
		},
		{
			`{"type":"item","id":"e","item":"i","fields":{"x":1e400}}`,
			"invalid_field", "/fields/x: the number is out of range",
		},
		{
			`{"type":"item","id":"e","item":"i",` +
				`"fields":{"a/~b":"` + strings.Repeat(long, 7) + `"}}`,
			"too_large", "/fields/a~1~0b: must have at most 65536 bytes",
		},
		{
			`{"type":"interaction","id":"e","user":"u","item":"i"}`,
			"missing_field",
			"/action: action is required: send what the user did, such as click",
		},
		{
			`{"type":"interaction","id":"e","user":"u","item":"i","action":"click","value":1e400}`,
			"invalid_field", "/value: the number is out of range",
		},
		{
			`{"type":"interaction","id":"e","user":"u","item":"i","action":"click",` +
				`"time":"yesterday"}`,
			"invalid_field", "/time: must be a time like 2026-05-01T10:00:00Z or Unix " +
				`milliseconds, not "yesterday"`,
		},
		{
			`{"type":"interaction","id":"e","user":"u","item":"i","action":"click","time":-1}`,
			"invalid_field", "/time: must be a time like 2026-05-01T10:00:00Z or Unix " +
				"milliseconds after 1990, not -1 (1969-12-31T23:59:59Z)",
		},
		{
			`{"type":"interaction","id":"e","user":"a\u0000b","item":"i","action":"click"}`,
			"invalid_field", "/user: " + id,
		},
		{
			`{"type":"impression","id":"e","user":"u","items":[]}`,
			"missing_field", "/items: items is required: send the ids of the items that were shown",
		},
		{
			`{"type":"impression","id":"e","user":"u","items":["a"],"propensity":[0]}`,
			"invalid_field", "/propensity/0: must be above 0 and at most 1",
		},
		{
			`{"type":"impression","id":"e","user":"u","items":["a"],"propensity":[1,1]}`,
			"invalid_field", "/propensity: must have one entry for each item",
		},
		{
			`{"type":"impression","id":"e","user":"u","items":["a"],"experiments":{"x":""}}`,
			"invalid_field", "/experiments: each name and each arm " + id,
		},
		{
			`{"event":"dance","id":"e"}`,
			"invalid_field",
			`/event: unknown event "dance": use item, user, ranking or interaction`,
		},
		{
			`{"type":"user","id":"e","user":"u","time":0}`, "invalid_field",
			"/time: must be a time like 2026-05-01T10:00:00Z or Unix milliseconds after 1990, " +
				"not 0: this seems to stand for a missing time; leave the time out",
		},
		{
			`{"type":"user","id":"e","user":"u","time":"1970-01-01T00:00:00Z"}`, "invalid_field",
			"/time: must be a time like 2026-05-01T10:00:00Z or Unix milliseconds after 1990, " +
				"not 0: this seems to stand for a missing time; leave the time out",
		},
		{
			`{"type":"interaction","id":"e","user":"u","item":"i","action":"click","value":1e39}`,
			"invalid_field", "/value: must be a number within ±3.4e38",
		},
		{
			`{"type":"item","id":"e","item":"i","fields":{"price":-1e308}}`,
			"invalid_field", "/fields/price: must be a number within ±3.4e38",
		},
		{
			`{"type":"user","id":"e","user":"u","fields":{"l":[1,1e39]}}`,
			"invalid_field", "/fields/l: must be a number within ±3.4e38",
		},
		{
			`{"type":"impression","id":"e","user":"u","items":["a"],"context":{"c":1e39}}`,
			"invalid_field", "/context/c: must be a number within ±3.4e38",
		},
		{
			`{"event":"ranking","id":"e","timestamp":1777629600000,"user":"u",` +
				`"items":[{"id":"a","relevancy":1e39}]}`,
			"invalid_field", "/items/0/relevancy: must be a number within ±3.4e38",
		},
		{
			`{"event":"ranking","id":"e","timestamp":1,"items":[{"id":"a"}]}`,
			"missing_field", "/user: user is required: " + send,
		},
		{
			"{\"type\":\"item\",\"id\":\"e\",\"item\":\"\xff\"}",
			"malformed", "/item: not valid JSON at byte 32: invalid UTF-8",
		},
	} {
		e, err := event.Decode([]byte(c.in))
		if err == nil {
			err = event.Validate(&e)
		}
		if err == nil || err.Code != c.code || err.Error() != c.want {
			t.Errorf("%.200s:\n got %+v\nwant %s %s", c.in, err, c.code, c.want)
		}
	}
}

// DecodeLog reads fields that only the log may have. Decode rejects them.
func TestLogOnly(t *testing.T) {
	for _, e := range []ranker.Event{
		{Kind: ranker.EventDelete, ID: "d", Time: 1, ItemID: "i"},
		{Kind: ranker.EventErase, ID: "r", Time: 1, UserHash: "00ff"},
		{
			Kind: ranker.EventItem, ID: "p", Time: 1, ItemID: "i", Replace: true,
			Title: ptr(""), Tags: []string{},
		},
		{Kind: ranker.EventImpression, ID: "m", Time: 1, UserID: "u",
			Impression: &ranker.Impression{Items: []string{"a"}, Scores: []float64{.1}}},
	} {
		data, err := event.AppendLog(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := event.DecodeLog(data)
		if d := cmp.Diff(e, got); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", e.Kind, err, d)
		}
		if _, err := event.Decode(data); err == nil {
			t.Errorf("Decode accepted %s", data)
		}
	}
}

// Every event is the same after AppendLog and DecodeLog.
func TestLogRoundTrip(t *testing.T) {
	text := rapid.StringMatching(`[ -~äß水]{1,20}`)
	value := rapid.Custom(func(t *rapid.T) ranker.FieldValue {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return ranker.NumberValue(rapid.Float64Range(-1e9, 1e9).Draw(t, "n"))
		case 1:
			return ranker.BoolValue(rapid.Bool().Draw(t, "b"))
		case 2:
			return ranker.StringsValue(rapid.SliceOfN(text, 1, 3).Draw(t, "l"))
		}
		return ranker.StringValue(text.Draw(t, "s"))
	})
	rapid.Check(t, func(t *rapid.T) {
		items := rapid.SliceOfN(text, 1, 5).Draw(t, "items")
		teams := rapid.SliceOfN(rapid.Uint8Max(1), len(items), len(items))
		score := rapid.Float64Range(-1e9, 1e9)
		micros := rapid.Int64Range(0, 1e7).Draw(t, "took")
		e := ranker.Event{
			Kind: ranker.EventImpression, ID: text.Draw(t, "id"),
			Time:   rapid.Int64Range(1, 1<<41).Draw(t, "time"),
			UserID: text.Draw(t, "user"),
			Fields: rapid.MapOfN(text, value, 1, 3).Draw(t, "fields"),
			Impression: &ranker.Impression{
				Items: items, Served: true, SchemaHash: "ab", StateHash: text.Draw(t, "state"),
				StateSeq:   rapid.Uint64Max(1<<50).Draw(t, "seq"),
				Took:       time.Duration(micros) * time.Microsecond,
				MatrixHash: rapid.Uint64().Draw(t, "hash"),
				Replayable: rapid.Bool().Draw(t, "replayable"),
				Matrix:     rapid.SliceOfN(rapid.Float32(), 1, 4).Draw(t, "matrix"),
				Scored: &ranker.ScoredList{
					Candidates: 9, Removed: rapid.IntRange(0, 9).Draw(t, "removed"),
					Others:        items,
					OtherScores:   rapid.SliceOfN(score, len(items), len(items)).Draw(t, "scores"),
					MissingOthers: rapid.IntRange(0, 9).Draw(t, "missing"),
					MissingInline: rapid.IntRange(0, 9).Draw(t, "missing inline"),
					Stats:         rapid.SliceOfN(rapid.Float64(), 1, 4).Draw(t, "stats"),
					Inline: []ranker.Item{
						{
							ID: text.Draw(t, "inline"), Title: text.Draw(t, "title"),
							Text: text.Draw(t, "text"), Tags: []string{},
							Fields: rapid.MapOfN(text, value, 1, 3).Draw(t, "inline fields"),
						},
						{ID: "without content"},
					},
				},
				Exposed:            rapid.SliceOfN(text, 1, 3).Draw(t, "exposed"),
				ExperimentsVersion: text.Draw(t, "version"),
				Fallback:           rapid.MapOfN(text, text, 1, 3).Draw(t, "fallback"),
				Interleaved: &ranker.Interleaved{
					Experiment: text.Draw(t, "experiment"),
					Arms:       [2]string{"control", text.Draw(t, "arm")},
					Teams:      teams.Draw(t, "teams"),
				},
			},
		}
		data, err := event.AppendLog(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := event.DecodeLog(data)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(e, got); d != "" {
			t.Fatal(d)
		}
		again, err := event.AppendLog(nil, &got)
		if err != nil || !bytes.Equal(data, again) {
			t.Fatalf("the same event has two encodings:\n%s\n%s", data, again)
		}
	})
}

// The duration of a ranking is logged in milliseconds.
func TestTookIsLoggedInMillis(t *testing.T) {
	e := ranker.Event{Kind: ranker.EventImpression, ID: "r", UserID: "u",
		Impression: &ranker.Impression{
			Items:  []string{"a"},
			Served: true,
			Took:   1500 * time.Microsecond,
		}}
	data, err := event.AppendLog(nil, &e)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(`"took_ms":1.5,`)) {
		t.Errorf("logged as %s", data)
	}
	if got, err := event.DecodeLog(data); err != nil || got.Impression.Took != e.Impression.Took {
		t.Errorf("%+v, %v", got.Impression, err)
	}
}

// Impressions from before experiments existed are readable. Teams that do not fit the list are
// rejected.
func TestLoggedExperiments(t *testing.T) {
	const record = `{"type":"impression","id":"e","user":"u","items":["a","b"],` +
		`"answer":{"state_seq":1,"matrix_hash":"00"%s}}`
	const interleaved = `,"interleaved":{"experiment":"x","arms":["control","other"],"teams":`
	for members, ok := range map[string]bool{
		``: true,
		`,"exposed":["x"],"fallback":{"x":"b"},"allocation":"v1"`: true,
		interleaved + `"ab"}`: true,
		interleaved + `"a"}`:  false,
		interleaved + `"ac"}`: false,
		strings.Replace(interleaved, "]", `,"third"]`, 1) + `"ab"}`: false,
		interleaved + `"ab","credit":1}`:                            false,
	} {
		if _, err := event.DecodeLog(fmt.Appendf(nil, record, members)); (err == nil) != ok {
			t.Errorf("%s: %v", members, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"type":"item","id":"e","item":"i","fields":{"x":[1]}}`))
	f.Add([]byte(`{"event":"ranking","id":"e","timestamp":1,"items":[{"id":"a"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := event.Decode(data)
		if err != nil || event.Validate(&e) != nil {
			return
		}
		out, encErr := event.AppendLog(nil, &e)
		if encErr != nil {
			t.Fatalf("accepted but not encodable: %v", encErr)
		}
		if _, decErr := event.DecodeLog(out); decErr != nil {
			t.Fatalf("the log cannot read what it wrote: %v", decErr)
		}
	})
}

func FuzzDecodeLog(f *testing.F) {
	f.Add(
		[]byte(
			`{"type":"impression","id":"e","items":["a"],` +
				`"answer":{"state_seq":1,"matrix_hash":"00ff","matrix":"AACAPw=="}}`,
		),
	)
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := event.DecodeLog(data)
		if err != nil {
			return
		}
		out, err := event.AppendLog(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := event.DecodeLog(out); err != nil ||
			!cmp.Equal(e, again, cmpopts.EquateEmpty(), cmpopts.EquateNaNs()) {
			t.Fatalf("%v\n%s", err, cmp.Diff(e, again))
		}
	})
}

var click = ranker.Event{
	Kind:         ranker.EventInteraction,
	ID:           "e4",
	Time:         5,
	UserID:       "u",
	ItemID:       "i",
	Action:       "click",
	ImpressionID: "e3",
}

func BenchmarkAppendNative(b *testing.B) {
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf, _ = event.AppendLog(buf[:0], &click)
	}
}

func BenchmarkDecodeLog(b *testing.B) {
	data, _ := event.AppendLog(nil, &click)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := event.DecodeLog(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	data, _ := event.AppendLog(nil, &click)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := event.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}
