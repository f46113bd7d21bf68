package event_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"
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
			`{"type":"interaction","id":"e4","time":1.7776296e12,"user":"u","item":"i","action":"click",` +
				`"impression":"e3","value":1}`,
			ranker.Event{
				Kind: ranker.EventInteraction, ID: "e4", Time: 1_777_629_600_000, UserID: "u", ItemID: "i",
				Action: "click", ImpressionID: "e3", Value: ptr(1.0),
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
				Kind: ranker.EventItem, ID: "m1", Time: 1_777_629_600_000, ItemID: "i", Text: ptr("D"),
				Tags:   []string{"x"},
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
			`{"event":"user","id":"e","user":"u","fields":[{"name":"x"}]}`,
			"invalid_field", "/fields/x: must have a value",
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

// DecodeLog reads fields that only the log may have. DecodeNative rejects them.
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
		if _, err := event.DecodeNative(data); err == nil {
			t.Errorf("DecodeNative accepted %s", data)
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
				Items: items, Served: true, SchemaHash: "ab",
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

func read(t *testing.T, data []byte, format string) (lines []event.Line) {
	t.Helper()
	r := event.NewReader(bytes.NewReader(data), format)
	for l := range r.All() {
		lines = append(lines, l)
	}
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	return lines
}

func TestReader(t *testing.T) {
	good := `{"type":"user","id":"e","user":"u"}`
	text := good + "\n\nnonsense\n" + strings.Repeat("x", event.MaxLine+5) + "\n" + good
	var gz, zs bytes.Buffer
	zw := gzip.NewWriter(&gz)
	zw.Write([]byte(text))
	zw.Close()
	sw, _ := zstd.NewWriter(&zs)
	sw.Write([]byte(text))
	sw.Close()
	files := map[string][]byte{"plain": []byte(text), "gzip": gz.Bytes(), "zstd": zs.Bytes()}
	for name, data := range files {
		lines := read(t, data, "native")
		var got []string
		for _, l := range lines {
			code := "ok"
			if l.Err != nil {
				code = l.Err.Code
			}
			got = append(got, code)
		}
		if want := []string{"ok", "malformed", "too_large", "ok"}; !cmp.Equal(got, want) ||
			lines[1].Line != 3 ||
			lines[3].Line != 5 {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestCSV(t *testing.T) {
	in := "\ufeffitem,User,action,time,value\n" +
		"i1,u1,click,1577934245000,2.5\n" +
		",u1,click,,\n" +
		"i1,u1,click,soon,\n" +
		"i1,\"u1,click,1,\n" + // an unclosed quote
		"i1,u1\n" +
		strings.Repeat("x", event.MaxLine+1) + "\n" +
		"\"i,2\",u1,click,2020-01-02T03:04:05Z,\r\n" +
		"i1,u1,click,,NaN"
	lines := read(t, []byte(in), "csv")
	var got []string
	for _, l := range lines {
		what := l.Event.ItemID
		if l.Err != nil {
			what = l.Err.Error()
		}
		got = append(got, fmt.Sprint(l.Line, " ", what))
	}
	want := []string{
		"2 i1",
		"3 /item: item is required: send an id of 1 to 256 bytes of printable UTF-8",
		"4 /time: must be a time like 2026-05-01T10:00:00Z or Unix " +
			`milliseconds, not "soon"`,
		`5 not a CSV row: column 16: extraneous or missing " in quoted-field`,
		"6 has 2 columns, but the header row has 5",
		"7 must have at most 8388608 bytes", "8 i,2", "9 /value: must be finite"}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	if e := lines[0].Event; e.UserID != "u1" || e.Time != 1577934245000 || *e.Value != 2.5 || e.ID == "" {
		t.Errorf("got %+v", e)
	}
	if again := read(t, []byte(in), "csv"); again[0].Event.ID != lines[0].Event.ID {
		t.Error("the same row got another id on the second read")
	}
	for in, want := range map[string]string{
		"": "the first line must be a header row; " +
			"the known columns are user, item",
		"user,thing\n":            `unknown column "thing"`,
		"user,item\n":             `the header row lacks the column "action"`,
		"user,item,action,user\n": `column "user" occurs twice`,
	} {
		r := event.NewReader(strings.NewReader(in), "csv")
		for range r.All() {
		}
		if r.Err() == nil || !strings.Contains(r.Err().Error(), want) {
			t.Errorf("%q: got %v, want %s", in, r.Err(), want)
		}
	}
}

// A truncated compressed file yields the lines before its end, and then an error.
func TestTruncatedFile(t *testing.T) {
	var gz bytes.Buffer
	zw := gzip.NewWriter(&gz)
	for i := range 2000 {
		fmt.Fprintf(zw, `{"type":"user","id":"e%d","user":"u%x"}`+"\n", i, i*i*i)
	}
	zw.Close()
	r := event.NewReader(bytes.NewReader(gz.Bytes()[:gz.Len()/2]), "native")
	n := 0
	for l := range r.All() {
		if l.Err == nil {
			n++
		}
	}
	if n == 0 || !errors.Is(r.Err(), io.ErrUnexpectedEOF) {
		t.Errorf("%d events, then %v", n, r.Err())
	}
}

// The published log of real rankings, if it is present, decodes without an error.
func TestRealLog(t *testing.T) {
	data, err := os.ReadFile("../../../shared/data/ranklens/events.jsonl.gz")
	if os.IsNotExist(err) {
		t.Log("the log of real rankings is not present; the other tests use generated events")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	counts := map[ranker.EventKind]int{}
	for _, l := range read(t, data, "metarank") {
		if l.Err != nil {
			t.Fatalf("line %d: %v", l.Line, l.Err)
		}
		counts[l.Event.Kind]++
	}
	want := map[ranker.EventKind]int{
		ranker.EventItem:        2512,
		ranker.EventImpression:  7875,
		ranker.EventInteraction: 36515,
	}
	if d := cmp.Diff(want, counts); d != "" {
		t.Error(d)
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

func FuzzReader(f *testing.F) {
	f.Add([]byte("user,item,action,time\nu,i,click,5\n\"u,i,click,5\n"), "csv")
	f.Add([]byte(`{"type":"user","id":"e","user":"u"}`), "native")
	f.Add([]byte("\x1f\x8b\x08"), "metarank")
	f.Add([]byte("\x28\xb5\x2f\xfd\x00"), "native")
	f.Fuzz(func(t *testing.T, data []byte, format string) {
		last := 0
		for l := range event.NewReader(bytes.NewReader(data), format).All() {
			if l.Line <= last {
				t.Fatalf("line %d after %d", l.Line, last)
			}
			if last = l.Line; l.Err == nil && event.Validate(&l.Event) != nil {
				t.Fatalf("line %d is not valid", l.Line)
			}
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
