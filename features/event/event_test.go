package event_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"relish/features/event"
	"relish/ranker"
)

func ptr[T any](v T) *T { return &v }

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     event.Event
	}{
		{"item", `{"type":"item","id":"e1","time":"2020-01-02T03:04:05Z","item":"i","title":"T","tags":["a"],"fields":{"price":3.5,"on":true,"kinds":["x"],"n":[1,2]}}`,
			event.Event{Kind: event.Item, ID: "e1", Time: 1577934245000, ItemID: "i", Title: ptr("T"), Tags: []string{"a"},
				Fields: map[string]ranker.Value{"price": ranker.NumberValue(3.5), "on": ranker.BoolValue(true), "kinds": ranker.StringsValue([]string{"x"}), "n": {Kind: ranker.Numbers, Nums: []float64{1, 2}}}}},
		{"impression", `{"type":"impression","id":"e3","user":"u","items":["a","b"],"propensity":[1,0.5],"context":{"query":"q"}}`,
			event.Event{Kind: event.Impression, ID: "e3", UserID: "u", Shown: []string{"a", "b"}, Propensity: []float64{1, .5}, Context: map[string]ranker.Value{"query": ranker.StringValue("q")}}},
		{"interaction", `{"type":"interaction","id":"e4","time":5,"user":"u","item":"i","action":"click","impression":"e3","value":1}`,
			event.Event{Kind: event.Interaction, ID: "e4", Time: 5, UserID: "u", ItemID: "i", Action: "click", ImpressionID: "e3", Value: ptr(1.0)}},
		{"metarank item", `{"event":"item","id":"m1","timestamp":"1599391467000","item":"i","fields":[{"name":"title","value":"T"},{"name":"overview","value":"O"},{"name":"tags","value":["x"]},{"name":"year","value":2001}]}`,
			event.Event{Kind: event.Item, ID: "m1", Time: 1599391467000, ItemID: "i", Title: ptr("T"), Text: ptr("O"), Tags: []string{"x"}, Fields: map[string]ranker.Value{"year": ranker.NumberValue(2001)}}},
		{"metarank ranking", `{"event":"ranking","id":"m2","timestamp":1599391467000,"session":"s","items":[{"id":"a","relevancy":2.0},{"id":"b"}]}`,
			event.Event{Kind: event.Impression, ID: "m2", Time: 1599391467000, UserID: "s", Session: "s", Shown: []string{"a", "b"}, Scores: []float64{2, 0}}},
		{"metarank interaction", `{"event":"interaction","id":"m3","ranking":"m2","timestamp":"2020-01-02T03:04:05Z","user":"u","type":"purchase","item":"a","fields":[{"name":"count","value":1}]}`,
			event.Event{Kind: event.Interaction, ID: "m3", Time: 1577934245000, UserID: "u", ItemID: "a", Action: "purchase", ImpressionID: "m2"}},
	} {
		got, err := event.Decode([]byte(c.in))
		if err == nil {
			err = got.Validate()
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, d)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ in, code, pointer string }{
		{`{`, "malformed", ""},
		{`{"type":"item","id":"e"} x`, "malformed", ""},
		{`{"type":"item","id":"e","id":"f","item":"i"}`, "malformed", "/id"},
		{`{"type":"item","id":"e","ITEM":"i"}`, "unknown_field", "/ITEM"},
		{`{"type":"item","id":"e","item":"i","action":"click"}`, "unknown_field", "/action"},
		{`{"type":"item","id":"e","item":"i","replace":true}`, "unknown_field", "/replace"},
		{`{"type":"erase","id":"e","user_hash":"00"}`, "invalid_field", "/type"},
		{`{"type":"item","id":"e"}`, "missing_field", "/item"},
		{`{"type":"item","item":"i"}`, "missing_field", "/id"},
		{`{"type":"item","id":"e","item":7}`, "invalid_field", "/item"},
		{`{"type":"item","id":"e","item":"i","fields":{"x":{}}}`, "invalid_field", "/fields/x"},
		{`{"type":"item","id":"e","item":"i","fields":{"x":[1,"a"]}}`, "invalid_field", "/fields/x"},
		{`{"type":"interaction","id":"e","user":"u","item":"i"}`, "missing_field", "/action"},
		{`{"type":"interaction","id":"e","user":"u","item":"i","action":"click","time":"yesterday"}`, "invalid_field", "/time"},
		{`{"type":"interaction","id":"e","user":"u","item":"i","action":"click","time":-1}`, "invalid_field", "/time"},
		{`{"type":"interaction","id":"e","user":"a\u0000b","item":"i","action":"click"}`, "invalid_field", "/user"},
		{`{"type":"impression","id":"e","user":"u","items":[]}`, "missing_field", "/items"},
		{`{"type":"impression","id":"e","user":"u","items":["a"],"propensity":[0]}`, "invalid_field", "/propensity/0"},
		{`{"type":"impression","id":"e","user":"u","items":["a"],"propensity":[1,1]}`, "invalid_field", "/propensity"},
		{`{"event":"dance","id":"e"}`, "invalid_field", "/event"},
		{"{\"type\":\"item\",\"id\":\"e\",\"item\":\"\xff\"}", "malformed", "/item"},
	} {
		e, err := event.Decode([]byte(c.in))
		if err == nil {
			err = e.Validate()
		}
		if err == nil || err.Code != c.code || err.Pointer != c.pointer {
			t.Errorf("%s: got %+v, want %s at %q", c.in, err, c.code, c.pointer)
		}
	}
}

// Whatever an event holds, the log gives it back.
func TestLogRoundTrip(t *testing.T) {
	text := rapid.StringMatching(`[ -~äß水]{1,20}`)
	value := rapid.Custom(func(t *rapid.T) ranker.Value {
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
		e := event.Event{Kind: event.Impression, ID: text.Draw(t, "id"), Time: rapid.Int64Range(1, 1<<41).Draw(t, "time"),
			UserID: text.Draw(t, "user"), Shown: rapid.SliceOfN(text, 1, 5).Draw(t, "shown"),
			Fields: rapid.MapOfN(text, value, 1, 3).Draw(t, "fields"),
			Answer: &event.Answer{SchemaHash: "ab", StateSeq: rapid.Uint64Max(1<<50).Draw(t, "seq"),
				MatrixHash: rapid.Uint64().Draw(t, "hash"), Matrix: rapid.SliceOfN(rapid.Float32(), 1, 4).Draw(t, "m")}}
		data, err := event.AppendNative(nil, &e)
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
	})
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
	for name, data := range map[string][]byte{"plain": []byte(text), "gzip": gz.Bytes(), "zstd": zs.Bytes()} {
		lines := read(t, data, "native")
		var got []string
		for _, l := range lines {
			code := "ok"
			if l.Err != nil {
				code = l.Err.Code
			}
			got = append(got, code)
		}
		if want := []string{"ok", "malformed", "too_large", "ok"}; !cmp.Equal(got, want) || lines[1].Line != 3 || lines[3].Line != 5 {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestCSV(t *testing.T) {
	in := "item,user,action,time,value\ni1,u1,click,1000,2.5\n,u1,click,,\ni1,u1,click,soon,\n"
	lines := read(t, []byte(in), "csv")
	if len(lines) != 3 || lines[0].Err != nil || lines[1].Err == nil || lines[2].Err == nil || lines[2].Err.Pointer != "/time" {
		t.Fatalf("got %+v", lines)
	}
	if e := lines[0].Event; e.ItemID != "i1" || e.Time != 1000 || *e.Value != 2.5 || e.ID == "" {
		t.Errorf("got %+v", e)
	}
	if again := read(t, []byte(in), "csv"); again[0].Event.ID != lines[0].Event.ID {
		t.Error("the same row got another id")
	}
	r := event.NewReader(strings.NewReader("user,thing\n"), "csv")
	for range r.All() {
	}
	if r.Err() == nil || !strings.Contains(r.Err().Error(), "thing") {
		t.Errorf("unknown column: %v", r.Err())
	}
}

// The published log of real rankings decodes without a single error, when it is at hand.
func TestRealLog(t *testing.T) {
	data, err := os.ReadFile("../../../shared/data/ranklens/events.jsonl.gz")
	if os.IsNotExist(err) {
		t.Log("the real log is not beside this repository; the generated ones above stand alone")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	counts := map[event.Kind]int{}
	for _, l := range read(t, data, "metarank") {
		if l.Err != nil {
			t.Fatalf("line %d: %v", l.Line, l.Err)
		}
		counts[l.Event.Kind]++
	}
	want := map[event.Kind]int{event.Item: 2512, event.Impression: 7875, event.Interaction: 36515}
	if d := cmp.Diff(want, counts); d != "" {
		t.Error(d)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"type":"item","id":"e","item":"i","fields":{"x":[1]}}`))
	f.Add([]byte(`{"event":"ranking","id":"e","timestamp":1,"items":[{"id":"a"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := event.Decode(data)
		if err != nil || e.Validate() != nil {
			return
		}
		out, encErr := event.AppendNative(nil, &e)
		if encErr != nil {
			t.Fatalf("accepted but not encodable: %v", encErr)
		}
		if _, decErr := event.DecodeLog(out); decErr != nil {
			t.Fatalf("the log cannot read what it wrote: %v", decErr)
		}
	})
}

var click = event.Event{Kind: event.Interaction, ID: "e4", Time: 5, UserID: "u", ItemID: "i", Action: "click", ImpressionID: "e3"}

func BenchmarkAppendNative(b *testing.B) {
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf, _ = event.AppendNative(buf[:0], &click)
	}
}

func BenchmarkDecode(b *testing.B) {
	data, _ := event.AppendNative(nil, &click)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := event.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}
