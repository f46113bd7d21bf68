package importfile_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	"golang.org/x/text/encoding/unicode"

	"relish/features/event"
	"relish/features/importfile"
	"relish/ranker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// read returns the rows of a file and the error that ended it.
func read(
	name, in string, opt importfile.Options,
) ([]importfile.Row, *importfile.Description, error) {
	r := importfile.NewReader(name, strings.NewReader(in), opt)
	rows := slices.Collect(r.Rows())
	return rows, r.Description(), r.Err()
}

// mustRead returns the events of a file without an error.
func mustRead(t *testing.T, in string, opt importfile.Options) []ranker.Event {
	t.Helper()
	rows, _, err := read("f", in, opt)
	if err != nil {
		t.Fatal(err)
	}
	var events []ranker.Event
	for _, row := range rows {
		if row.Err != nil {
			t.Fatalf("line %d: %v", row.Line, row.Err)
		}
		events = append(events, row.Event)
	}
	return events
}

// outcomes describes rows by line, and by item or reason.
func outcomes(rows []importfile.Row) []string {
	var out []string
	for _, row := range rows {
		what := row.Event.ItemID
		if row.Err != nil {
			what = row.Err.Error()
		}
		out = append(out, fmt.Sprint(row.Line, " ", what))
	}
	return out
}

const may = 1777629600000 // 2026-05-01T10:00:00Z

// A table with the names of another system needs only the mapping.
func TestColumns(t *testing.T) {
	in := "user_id,product,event_type,ts,price,brand\n" +
		"u1,p1,view,1777629600,,acme\n" +
		"u1,p2,buy,1777629660,12.50,\n"
	opt := importfile.Options{
		Columns: map[string]string{
			"user": "user_id", "item": "product", "action": "event_type", "time": "ts",
			"value": "price",
		},
		Actions: map[string]string{"buy": "purchase"},
	}
	rows, desc, err := read("clicks.csv", in, opt)
	if err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	value := 12.5
	want := ranker.Event{
		Kind: ranker.EventInteraction, ID: rows[1].Event.ID, Time: may + 60000,
		UserID: "u1", ItemID: "p2", Action: "purchase", Value: &value,
	}
	if d := cmp.Diff(want, rows[1].Event); d != "" {
		t.Error(d)
	}
	if desc.Times != "Unix seconds" || !slices.Equal(desc.Unused, []string{"brand"}) {
		t.Errorf("got %+v", desc)
	}
	// Without the mapping the error lists the columns, and suggests it.
	_, _, err = read("clicks.csv", in, importfile.Options{})
	wantErr := "clicks.csv: there is no column for user, item, action. The columns are " +
		"user_id, product, event_type, ts, price, brand. Try --columns user=user_id,item=product," +
		"action=event_type,time=ts"
	if err == nil || err.Error() != wantErr {
		t.Errorf("got  %v\nwant %s", err, wantErr)
	}
}

func TestHeaderErrors(t *testing.T) {
	for _, c := range []struct {
		in   string
		opt  importfile.Options
		want string
	}{
		{"user,thing,action\nu,i,click", importfile.Options{}, "there is no column for item"},
		{"users,item,action\nu,i,click", importfile.Options{}, "Try --columns user=users"},
		{"user,item\nu,i", importfile.Options{}, "--action NAME for rows without an action"},
		{"movieId,title,genres\n1,A,x", importfile.Options{},
			"look like a catalogue: try --kind items --columns item=movieId"},
		{`{"id":1,"name":"A","price":3}`, importfile.Options{},
			"look like a catalogue: try --kind items --columns item=id,title=name"},
		{"userId,movieId,rating,timestamp\n1,2,3,4", importfile.Options{},
			"Try --columns user=userId,item=movieId,time=timestamp and --action NAME"},
		{"user,item,action,user\n", importfile.Options{}, `column "user" occurs twice`},
		{"196,242,3,881250949\n", importfile.Options{}, "looks like a row of values"},
		{"user,item,action,ts\nu,i,a,1777629600", importfile.Options{},
			`"ts" looks like it. Pass --columns time=ts, or --columns time= to import without`},
		{"user,item,action\nu,i,a", importfile.Options{Columns: map[string]string{"usr": "user"}},
			`there is no "usr"; did you mean "user"?`},
		{"user,item,action\nu,i,a", importfile.Options{Columns: map[string]string{"time": "tz"}},
			`there is no column "tz" for time; the columns are user, item, action`},
		{"user,item,action,date\nu,i,a,1", importfile.Options{
			Columns: map[string]string{"time": "dat"},
		}, `there is no column "dat" for time; the columns are user, item, action, date; did you ` +
			`mean "date"?`},
		{"user,item,action\nu,i,a", importfile.Options{
			Columns: map[string]string{"user": "user", "session": "USER"},
		}, `column "user" is mapped to session and to user`},
		{"User ID,sku's,action\nu,i,a", importfile.Options{
			Columns: map[string]string{"item": "sku's"},
		}, `Try --columns 'item=sku'\''s,user=User ID'`},
		{"user_id,it\x1bem,action\nu,i,a", importfile.Options{}, "Try --columns user=user_id"},
		{"item,price\ni,1", importfile.Options{
			Kind: ranker.EventItem, Types: map[string]string{"price": "float"},
		}, `there is no type "float"`},
		{"item,price\ni,1", importfile.Options{
			Kind: ranker.EventItem, Types: map[string]string{"prise": "number"},
		}, `there is no field "prise" for the type number; the columns are item, price; did you ` +
			`mean "price"?`},
		{"\"user,item\n", importfile.Options{}, "is not a row of CSV"},
		{"", importfile.Options{}, "the file is empty"},
		{"PK\x03\x04", importfile.Options{}, "a zip archive or a spreadsheet"},
		{"ARROW1\x00\x00", importfile.Options{}, "--format arrow"},
		{"PAR1", importfile.Options{}, "name the file"},
		{"a\x00b", importfile.Options{}, "not a text file"},
		{`{"visitor_id":"u","product":"i","event_type":"view","ts":1777629600}`,
			importfile.Options{}, `the objects are no events: they have no field "type". ` +
				"The columns are event_type, product, ts, visitor_id. " +
				"Try --columns action=event_type,item=product,time=ts,user=visitor_id"},
	} {
		_, _, err := read("f", c.in, c.opt)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.in, err, c.want)
		}
	}
}

// A damaged row is rejected with its line, and the others are read.
func TestCSVRows(t *testing.T) {
	in := "\ufeffitem,User,action,time,value\n" +
		"i1,u1,click,1777629600000,2.5\n" +
		",u1,click,,\n" +
		"i1,u1,click,soon,\n" +
		"i1,\"u1,click,1,\n" + // an unclosed quote
		"i1,u1\n" +
		strings.Repeat("x", importfile.MaxRow+1) + "\n" +
		"\"i,2\",u1,click,2026-05-01,\r\n" +
		"\n" +
		"\"i\n3\",u1,click,,\n" +
		"i4,\"u\n\n1\",click,,\n" +
		"i5,\xff,click,,\n" +
		"i6,NULL,click,,\n" +
		"i7,u1,click,,1e400\n" +
		"i8,u1,click,,,\n" +
		"i9,u1,click,,,9"
	rows, desc, err := read("f.csv", in, importfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const printable = "must be 1 to 256 bytes of printable UTF-8"
	want := []string{
		"2 i1",
		"3 /item: item is required: send an id of 1 to 256 bytes of printable UTF-8",
		`4 /time: must be a time like 2026-05-01T10:00:00Z or Unix milliseconds, not "soon"`,
		`5 not a CSV row: column 16: extraneous or missing " in quoted-field`,
		"6 has 2 columns, but the header row has 5",
		"7 must have at most 8388608 bytes",
		"8 i,2",
		"10 /item: " + printable,
		"12 /user: " + printable,
		"15 is not UTF-8: convert the file, for example by iconv -f WINDOWS-1252 -t UTF-8",
		"16 /user: user is required: send an id of 1 to 256 bytes of printable UTF-8",
		"17 /value: must be a number like 12.50, not \"1e400\"",
		"18 i8",
		"19 has 6 columns, but the header row has 5",
	}
	if d := cmp.Diff(want, outcomes(rows)); d != "" {
		t.Fatal(d)
	}
	if e := rows[0].Event; e.UserID != "u1" || e.Time != may || *e.Value != 2.5 {
		t.Errorf("got %+v", e)
	}
	if desc.Format != importfile.CSV || desc.Separator != ',' || desc.Rows != len(want) ||
		desc.Times != "Unix milliseconds and ISO 8601" {
		t.Errorf("got %+v", desc)
	}
}

// A text that is no time says nothing about how the file writes its times.
func TestTimesAreThoseThatCanBeRead(t *testing.T) {
	in := "user,item,action,time\nu,i,view,1764000000\nu,i,view,soon\n"
	if _, desc, _ := read("f", in, importfile.Options{}); desc.Times != "Unix seconds" {
		t.Errorf("times read as %q", desc.Times)
	}
}

func TestSeparators(t *testing.T) {
	for _, separator := range []string{",", ";", "\t", "|"} {
		in := strings.ReplaceAll("user,item,action\nu,\"a b\",view\n", ",", separator)
		if e := mustRead(t, in, importfile.Options{})[0]; e.ItemID != "a b" || e.Action != "view" {
			t.Errorf("%q: got %+v", separator, e)
		}
	}
	in := "user/item,x/action\nu/i,1/view\n"
	if e := mustRead(t, in, importfile.Options{
		Separator: '/', Columns: map[string]string{"item": "item,x"},
	})[0]; e.ItemID != "i,1" {
		t.Errorf("got %+v", e)
	}
	// Tab-separated files often have quotes that mean nothing.
	in = "item\ttitle\n1\t\"Quoted\" and more\n2\t5\" disk\n3\t\"tab\tinside\"\n"
	var titles []string
	for _, e := range mustRead(t, in, importfile.Options{Kind: ranker.EventItem}) {
		titles = append(titles, *e.Title)
	}
	if d := cmp.Diff([]string{`"Quoted" and more`, `5" disk`, "tab\tinside"}, titles); d != "" {
		t.Error(d)
	}
}

// Items and users have typed fields. The sample decides the types, and the options overrule it.
func TestItemsAndUsers(t *testing.T) {
	in := "product,name,description,tags,price,stock,genres,sku,note,empty\n" +
		"7,\"A \"\"b\"\"\",\"two\nlines\",x|y,12.5,true,sf|drama,007,a|b,\n" +
		"8,NULL,\\N,na,n/a,False,drama,011,,\n"
	rows, desc, err := read("f.csv", in, importfile.Options{
		Kind: ranker.EventItem,
		Columns: map[string]string{
			"item": "product", "title": "name", "text": "description", "code": "sku", "note": "",
		},
	})
	if err != nil || len(rows) != 2 || rows[0].Err != nil || rows[1].Err != nil {
		t.Fatal(outcomes(rows), err)
	}
	title, text := `A "b"`, "two\nlines"
	want := ranker.Event{
		Kind: ranker.EventItem, ID: rows[0].Event.ID, ItemID: "7", Title: &title, Text: &text,
		Tags: []string{"x", "y"},
		Fields: map[string]ranker.FieldValue{
			"price": ranker.NumberValue(12.5), "stock": ranker.BoolValue(true),
			"genres": ranker.StringsValue([]string{"sf", "drama"}),
			"code":   ranker.StringValue("007"),
		},
	}
	if d := cmp.Diff(want, rows[0].Event); d != "" {
		t.Error(d)
	}
	types := map[string]string{"price": "number", "stock": "bool", "genres": "list", "code": "text"}
	if d := cmp.Diff(types, desc.Fields); d != "" {
		t.Error(d)
	}
	if e := rows[1].Event; e.Title != nil || e.Text != nil || e.Tags != nil || len(e.Fields) != 3 {
		t.Errorf("a missing value says something: %+v", e)
	}

	in = "user;age;plan\nu1;31;gold\nu2;x;gold\n"
	rows, _, err = read("f.csv", in, importfile.Options{
		Kind: ranker.EventUser, Types: map[string]string{"age": "number"},
	})
	wantRows := []string{"2 ", `3 /fields/age: "x" is not a number, as the others of this column ` +
		"are. Pass --types age=text to keep the column as text"}
	if d := cmp.Diff(wantRows, outcomes(rows)); d != "" || err != nil {
		t.Error(d, err)
	}
}

// All forms of JSON give the same events.
func TestJSONForms(t *testing.T) {
	one := `{"type":"interaction","id":"1","user":"u","item":"i1","action":"click",` +
		`"time":1777629600}`
	two := `{"event":"interaction","id":"2","user":"u","item":"i2","type":"click",` +
		`"timestamp":"1777629601"}`
	pretty := func(s string) string { return strings.ReplaceAll(s, ",", ",\n  ") }
	want := mustRead(t, one+"\n"+two, importfile.Options{})
	if len(want) != 2 || want[0].Time != may || want[1].Time != may+1000 {
		t.Fatalf("got %+v", want)
	}
	for name, in := range map[string]string{
		"blank lines":     "\n" + one + "\r\n\n" + two + "\n",
		"array":           "[" + one + "," + two + "]",
		"array by lines":  "[\n" + one + ",\n" + two + "\n]\n",
		"pretty array":    "[\n" + pretty(one) + ",\n" + pretty(two) + "]",
		"pretty objects":  pretty(one) + "\n" + pretty(two),
		"byte order mark": "\ufeff" + one + "\n" + two,
	} {
		if d := cmp.Diff(want, mustRead(t, in, importfile.Options{})); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	// One damaged line does not touch the others; half a surrogate pair is such damage.
	bad := `{"type":"interaction","id":"3","user":"\ud800","item":"i3","action":"click"}`
	rows, _, err := read("f.jsonl", one+"\n"+bad+"\nnonsense\n"+two, importfile.Options{})
	if got := outcomes(rows); err != nil || len(got) != 4 || got[0] != "1 i1" || got[3] != "4 i2" ||
		!strings.HasPrefix(got[1], "2 /user: not valid JSON") {
		t.Error(got, err)
	}
	// So it is in an array, and in objects that span lines, if its brackets are balanced.
	for _, bad := range []string{
		`{"type":"interaction","value":NaN}`, `{"type":"a" "b"}`, `nonsense`, `7`,
		`{"type":"interaction","user":"` + "\x01" + `"}`,
	} {
		for _, in := range []string{
			"[\n" + pretty(one) + ",\n" + bad + "\n,\n" + two + "]",
			pretty(one) + "\n" + bad + "\n" + pretty(two),
		} {
			rows, _, err := read("f.json", in, importfile.Options{})
			if got := outcomes(rows); err != nil || len(got) != 3 ||
				!strings.HasSuffix(got[0], " i1") || !strings.HasSuffix(got[2], " i2") ||
				!strings.Contains(got[1], "not valid JSON") && bad != "7" {
				t.Errorf("%s: %v, %v", bad, got, err)
			}
		}
	}
	// If an array does not end, the rows before are read, and the error names the line.
	rows, _, err = read("f.json", "[\n"+one+",\n"+two+",\n{", importfile.Options{})
	if len(rows) != 2 || rows[1].Line != 3 || err == nil ||
		!strings.Contains(err.Error(), "line 4") {
		t.Error(outcomes(rows), err)
	}
	_, _, err = read("f.json", "["+one+"] x", importfile.Options{})
	if err == nil || !strings.Contains(err.Error(), "goes on after the array") {
		t.Error(err)
	}
	_, _, err = read("f.json", "["+one+",", importfile.Options{})
	if err == nil || !strings.Contains(err.Error(), "truncated") {
		t.Error(err)
	}
	huge := "[" + one + ",\n{\"type\":\"" + strings.Repeat("x", 2*importfile.MaxRow) + "\"}]"
	rows, _, err = read("f.json", huge, importfile.Options{})
	if len(rows) != 1 || err == nil || !strings.Contains(err.Error(), "at most 8388608 bytes") {
		t.Error(len(rows), err)
	}
}

// With a mapping, JSON objects are rows. A column may appear late.
func TestJSONRows(t *testing.T) {
	in := `{"sku":7,"name":"A","kinds":["a","b"],"sizes":[1,2],"new":true,"gone":null}` + "\n" +
		`{"sku":8.0,"late":"x"}` + "\n" +
		`{"sku":9,"nested":{"a":1}}` + "\n7\n"
	rows, _, err := read("f", in, importfile.Options{
		Kind: ranker.EventItem, Columns: map[string]string{"item": "sku", "title": "name"},
	})
	if err != nil || len(rows) != 4 {
		t.Fatal(rows, err)
	}
	title := "A"
	want := ranker.Event{
		Kind: ranker.EventItem, ID: rows[0].Event.ID, ItemID: "7", Title: &title,
		Fields: map[string]ranker.FieldValue{
			"kinds": ranker.StringsValue([]string{"a", "b"}), "new": ranker.BoolValue(true),
			"sizes": {Kind: ranker.Numbers, Nums: []float64{1, 2}},
		},
	}
	if d := cmp.Diff(want, rows[0].Event); d != "" {
		t.Error(d)
	}
	if e := rows[1].Event; e.ItemID != "8" || e.Fields["late"].Str != "x" {
		t.Errorf("got %+v", e)
	}
	if got := outcomes(rows[2:]); !strings.Contains(got[0], "Pass --columns nested= to leave") ||
		!strings.Contains(got[1], "is not a JSON object") {
		t.Error(got)
	}
}

// The unit of times is detected for each file, and then holds for all of it.
func TestTimeUnits(t *testing.T) {
	csv := func(times ...string) string {
		var b strings.Builder
		b.WriteString("user,item,action,time\n")
		for i, s := range times {
			fmt.Fprintf(&b, "u,i%d,a,%s\n", i, s)
		}
		return b.String()
	}
	json := func(times ...string) string {
		var b strings.Builder
		for i, s := range times {
			fmt.Fprintf(&b, `{"type":"interaction","id":"%d","user":"u","item":"i","action":"a",`+
				`"time":%s}`+"\n", i, s)
		}
		return b.String()
	}
	for in, desc := range map[string]string{
		"1777629600":       "Unix seconds",
		"1777629600.0":     "Unix seconds",
		"1777629600000":    "Unix milliseconds",
		"1.7776296e12":     "Unix milliseconds",
		"1777629600000000": "Unix microseconds",
	} {
		for _, file := range []string{csv(in), json(in)} {
			rows, got, err := read("f", file, importfile.Options{})
			if err != nil || rows[0].Err != nil || rows[0].Event.Time != may || got.Times != desc {
				t.Errorf("%s: %+v, %q, %v", file, rows, got.Times, err)
			}
		}
	}
	for in, want := range map[string]int64{
		"2026-05-01":                may - 10*3600*1000,
		"2026-05-01 10:00:00":       may,
		"2026-05-01 10:00":          may,
		"2026-05-01 10:00:00 UTC":   may,
		"2026-05-01T12:00:00+02:00": may,
		"2026-05-01 12:00:00+0200":  may,
		"2026-05-01 12:00:00.25+02": may + 250,
		"1777629600001000000":       may + 1,
	} {
		if e := mustRead(t, csv(in), importfile.Options{})[0]; e.Time != want {
			t.Errorf("%s: got %d, want %d", in, e.Time, want)
		}
	}
	// What is no time is refused with what it seems to be.
	for in, want := range map[string]string{
		"20260501":       "which seems to be a date written as a number (2026-05-01T00:00:00Z)",
		"20260501100000": "which seems to be a date written as a number (2026-05-01T10:00:00Z)",
		"46143":          "which seems to be a spreadsheet's day number (2026-05-01T00:00:00Z)",
		"1e400":          "not 1e400",
		"17":             "not 17",
		"NaN1":           `not "NaN1"`,
	} {
		rows, _, err := read("f", csv(in), importfile.Options{})
		if err != nil || rows[0].Err == nil || !strings.HasSuffix(rows[0].Err.Message, want) {
			t.Errorf("%s: %v, %v", in, outcomes(rows), err)
		}
	}
	// 0, and the first moment of 1970, are what systems write for a time that they do not know.
	zero := []string{csv("0"), csv("0.0"), csv("1970-01-01"), json("0"), json(`"0"`),
		json(`"1970-01-01T00:00:00Z"`)}
	for _, file := range zero {
		rows, _, err := read("f", file, importfile.Options{})
		if err != nil || rows[0].Err == nil || !strings.HasSuffix(rows[0].Err.Message,
			": this seems to stand for a missing time; leave the time out") {
			t.Errorf("%s: %v, %v", file, outcomes(rows), err)
		}
	}
	for _, file := range []string{csv(""), json("null"), json(`""`)} {
		if e := mustRead(t, file, importfile.Options{})[0]; e.Time != 0 {
			t.Errorf("%s: %+v", file, e)
		}
	}
	// A few rows in another unit are rejected; many refuse the file.
	seconds := slices.Repeat([]string{"1777629600"}, 20)
	rows, _, err := read("f", csv(append(seconds, "1777629600000")...), importfile.Options{})
	if err != nil || rows[19].Err != nil || rows[20].Err == nil ||
		!strings.Contains(rows[20].Err.Message, "or Unix seconds, not 1777629600000, which seems "+
			"to be Unix milliseconds (2026-05-01T10:00:00Z)") {
		t.Error(outcomes(rows), err)
	}
	_, _, err = read("f", csv("1777629600", "1777629600000"), importfile.Options{})
	if err == nil || !strings.Contains(err.Error(), "its times are in different units") {
		t.Error(err)
	}
	// The unit that was asked for holds, whatever the sample looks like.
	unit, err := importfile.ParseTimeUnit("ms")
	if err != nil {
		t.Fatal(err)
	}
	asked := importfile.Options{TimeUnit: unit}
	rows, _, err = read("f", csv("1777629600", "1777629600000"), asked)
	if err != nil || rows[0].Err == nil || !strings.Contains(rows[0].Err.Message, "Unix seconds") ||
		rows[1].Err != nil {
		t.Error(outcomes(rows), err)
	}
	// Unless most of the sample is in another unit: then the file is refused once, not row by row.
	rows, _, err = read("f", csv("1777629600", "1777629601"), asked)
	const advice = "f: --time-unit ms: its times seem to be Unix seconds, such as 1777629601. " +
		"Pass --time-unit s, or leave the flag out"
	if len(rows) > 0 || err == nil || err.Error() != advice {
		t.Error(outcomes(rows), err)
	}
	if _, err := importfile.ParseTimeUnit("min"); err == nil {
		t.Error("min is a unit")
	}
}

// Rows without an id get the same one in every export, whatever their order.
func TestIDsComeFromTheContent(t *testing.T) {
	const header = "user,item,action,time\n"
	lines := []string{"u,a,view,1777629600\n", "u,b,view,1777629660\n", "u,a,view,1777629600\n"}
	ids := func(in string, opt importfile.Options) map[string]bool {
		set := map[string]bool{}
		for _, e := range mustRead(t, in, opt) {
			set[e.ID] = true
		}
		return set
	}
	all := ids(header+strings.Join(lines, ""), importfile.Options{})
	if len(all) != 3 {
		t.Errorf("equal rows of one file are one event: %v", all)
	}
	slices.Reverse(lines)
	if d := cmp.Diff(all, ids(header+strings.Join(lines, ""), importfile.Options{})); d != "" {
		t.Errorf("in another order: %s", d)
	}
	// Other names, columns, separators and units change nothing.
	other := "what;thing;who;x;at\nview;a;u;;2026-05-01T10:00:00Z\n"
	for id := range ids(other, importfile.Options{Columns: map[string]string{
		"user": "who", "item": "thing", "action": "what", "time": "at",
	}}) {
		if !all[id] {
			t.Errorf("another form of a row gets another id")
		}
	}
	// A description without a time counts again in a later import: it may have changed in between.
	items := importfile.Options{Kind: ranker.EventItem, Moment: 1}
	first := ids("item,price\ni,1\n", items)
	items.Moment = 2
	if second := ids("item,price\ni,1\n", items); cmp.Equal(first, second) {
		t.Error("a later description has the id of an earlier one")
	}
	// The ids of a file belong to its source.
	shop := mustRead(t, "user,item,action,id\nu,i,view,1\n", importfile.Options{Source: "shop"})
	if shop[0].ID != "shop:1" {
		t.Errorf("got %q", shop[0].ID)
	}
	// Those of impressions stay, because interactions name them.
	shown := mustRead(t, `{"type":"impression","id":"1","user":"u","items":["i"]}`,
		importfile.Options{Source: "shop"})
	if shown[0].ID != "1" {
		t.Errorf("got %q", shown[0].ID)
	}
}

// Ids that a tool wrote as floats are those of other files. Nothing else that looks like a number
// changes.
func TestIDsWrittenAsFloats(t *testing.T) {
	in := "user,item\n7.0,1.50\n007.0,1.0.0\n-3.0,x.0\n.0,12345678901234567890.0\n"
	var got []string
	for _, e := range mustRead(t, in, importfile.Options{Action: "view"}) {
		got = append(got, e.UserID+" "+e.ItemID)
	}
	want := []string{"7 1.50", "007.0 1.0.0", "-3.0 x.0", ".0 12345678901234567890"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Old spreadsheets end lines with a carriage return alone.
func TestOldLineEnds(t *testing.T) {
	long := "user,item," + strings.Repeat("a", 700) + "\r"
	for _, in := range []string{
		"user,item,action\ru,i,view\ru,j,view\r", long + "u,i,1\ru,j,2",
		"user,item,action\r\nu,i,view\r\nu,j,view\r\n", "user,item,action\nu,i,view\nu,j,vi\rew",
	} {
		rows, _, err := read("f", in, importfile.Options{Action: "view"})
		if err != nil || len(rows) != 2 || rows[0].Line != 2 || rows[0].Event.ItemID != "i" {
			t.Errorf("%.40q: %v, %v", in, outcomes(rows), err)
		}
	}
}

// A file that was cut says so, whatever compressed it.
func TestTruncatedFiles(t *testing.T) {
	in := "user,item,action\n" + strings.Repeat("u,i,view\n", 5000)
	var gz, zs bytes.Buffer
	zw := gzip.NewWriter(&gz)
	zw.Write([]byte(in))
	zw.Close()
	sw, _ := zstd.NewWriter(&zs)
	sw.Write([]byte(in))
	sw.Close()
	for name, data := range map[string]string{"gzip": gz.String(), "zstd": zs.String()} {
		_, _, err := read(name, data[:len(data)-12], importfile.Options{})
		if err == nil || !strings.Contains(err.Error(), "the file is truncated; copy or export") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCompressedAndEncodedFiles(t *testing.T) {
	good := `{"type":"user","id":"e","user":"u"}`
	text := good + "\n\nnonsense\n" + strings.Repeat("x", importfile.MaxRow+5) + "\n" + good
	var gz, zs bytes.Buffer
	zw := gzip.NewWriter(&gz)
	zw.Write([]byte(text))
	zw.Close()
	sw, _ := zstd.NewWriter(&zs)
	sw.Write([]byte(text))
	sw.Close()
	for name, data := range map[string]string{
		"plain": text, "gzip": gz.String(), "zstd": zs.String(),
	} {
		rows, _, err := read(name, data, importfile.Options{})
		if len(rows) != 4 || rows[0].Err != nil || rows[1].Line != 3 ||
			rows[2].Err.Code != "too_large" || rows[3].Line != 5 || rows[3].Err != nil ||
			err != nil {
			t.Errorf("%s: got %v, %v", name, outcomes(rows), err)
		}
	}
	utf16, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().
		String("user\titem\taction\nä\ti\tview\n")
	if err != nil {
		t.Fatal(err)
	}
	if e := mustRead(t, utf16, importfile.Options{})[0]; e.UserID != "ä" {
		t.Errorf("got %+v", e)
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
	rows, _, err := read("f", gz.String()[:gz.Len()/2], importfile.Options{})
	if len(rows) == 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d rows, then %v", len(rows), err)
	}
}

// A value that a read error cuts off is no row.
func TestReadErrorInAValue(t *testing.T) {
	failed := errors.New("the disk failed")
	const events = 10_000 // more than are read to detect the format
	array := "[\n" + strings.Repeat(`{"type":"user","id":"e","user":"u"},`+"\n", events) + "12"
	in := io.MultiReader(strings.NewReader(array), iotest.ErrReader(failed))
	r := importfile.NewReader("f", in, importfile.Options{})
	if rows := slices.Collect(r.Rows()); len(rows) != events || !errors.Is(r.Err(), failed) {
		t.Errorf("%d rows, then %v", len(rows), r.Err())
	}
}

// Rows can be left early.
func TestStoppedReading(t *testing.T) {
	in := strings.Repeat(`{"type":"user","id":"e","user":"u"}`+"\n", 10)
	r := importfile.NewReader("f", strings.NewReader(in), importfile.Options{})
	for range r.Rows() {
		break
	}
	if r.Err() != nil || r.Description().Rows != 1 {
		t.Error(r.Err(), r.Description().Rows)
	}
}

// What the process prints that reads a Parquet file is not trusted. Its error comes first.
func TestParquetRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.parquet")
	if err := os.WriteFile(path, []byte("PAR1"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		out, closeErr, want string
		rows                []string
	}{
		{`["user","item","action"]` + "\n" + `["u",7,"a"]` + "\n" + `["u",null,"a"]` + "\n", "", "",
			[]string{"1 7", "2 /item: item is required: send an id of 1 to 256 bytes of " +
				"printable UTF-8"}},
		{`["user","item","action"]` + "\n" + `["u",7,"a"]` + "\n" + `["u",`, "", "row 2",
			[]string{"1 7"}},
		{`["user","item","action"]` + "\n" + `["u",7]` + "\n", "", "row 1", nil},
		{`["user","item","action"]` + "\n", "crashed", "crashed", nil},
		{"", "crashed", "crashed", nil},
		{"", "", "no columns", nil},
		{"[1]\n", "", "no columns", nil},
		{"{}\n", "", "no columns", nil},
	} {
		r := importfile.Open(path, importfile.Options{
			OpenParquet: func(string) (io.ReadCloser, error) {
				return process{strings.NewReader(c.out), c.closeErr}, nil
			},
		})
		rows := slices.Collect(r.Rows())
		if d := cmp.Diff(c.rows, outcomes(rows)); d != "" {
			t.Errorf("%q: %s", c.out, d)
		}
		if err := r.Err(); (err == nil) != (c.want == "") ||
			err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.out, err, c.want)
		}
	}
}

// process is the output of a process that may fail.
type process struct {
	io.Reader
	err string
}

func (p process) Close() error {
	if p.err == "" {
		return nil
	}
	return errors.New(p.err)
}

// The published log of real rankings, if it is present, is read without an error.
func TestRealLog(t *testing.T) {
	const path = "../../../shared/data/ranklens/events.jsonl.gz"
	if _, err := os.Stat(path); os.IsNotExist(err) {
		t.Log("the log of real rankings is not present; the other tests use generated events")
		return
	}
	counts := map[ranker.EventKind]int{}
	r := importfile.Open(path, importfile.Options{})
	for row := range r.Rows() {
		if row.Err != nil {
			t.Fatalf("line %d: %v", row.Line, row.Err)
		}
		counts[row.Event.Kind]++
	}
	want := map[ranker.EventKind]int{
		ranker.EventItem:        2512,
		ranker.EventImpression:  7875,
		ranker.EventInteraction: 36515,
	}
	if d := cmp.Diff(want, counts); d != "" || r.Err() != nil {
		t.Error(d, r.Err())
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("user,item,action,time\nu,i,click,5\n\"u,i,click,5\n"), "", "")
	f.Add([]byte("item;title;tags\n1;\"a\nb\";x|y\n"), "csv", "items")
	f.Add([]byte(`{"type":"user","id":"e","user":"u"}`), "json", "")
	f.Add([]byte("[{\"item\":1,\"x\":[1,2]},\n{\"item\":[]}]"), "json", "items")
	f.Add([]byte("\x1f\x8b\x08"), "", "")
	f.Add([]byte("\x28\xb5\x2f\xfd\x00"), "", "users")
	f.Add([]byte("\xff\xfeu\x00"), "", "")
	kinds := map[string]ranker.EventKind{"items": ranker.EventItem, "users": ranker.EventUser}
	f.Fuzz(func(t *testing.T, data []byte, format, kind string) {
		r := importfile.NewReader("f", bytes.NewReader(data), importfile.Options{
			Format: importfile.Format(format), Kind: kinds[kind],
		})
		last := 0
		for row := range r.Rows() {
			if row.Line < last {
				t.Fatalf("line %d after %d", row.Line, last)
			}
			last = row.Line
			if row.Err != nil {
				continue
			}
			if event.Validate(&row.Event) != nil {
				t.Fatalf("line %d is not valid", row.Line)
			}
			if _, err := event.AppendLog(nil, &row.Event); err != nil {
				t.Fatalf("line %d: accepted but not encodable: %v", row.Line, err)
			}
		}
	})
}
