package external_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"relish/features"
	"relish/features/external"
)

// column is a column of an external file, with its values as JSON.
type column struct {
	name, values string
	kind         arrow.DataType
}

// outside writes an Arrow file as another system does.
func outside(t testing.TB, cols ...column) string {
	t.Helper()
	var fields []arrow.Field
	var arrays []arrow.Array
	rows := 0
	for _, c := range cols {
		a, _, err := array.FromJSON(memory.DefaultAllocator, c.kind, strings.NewReader(c.values))
		if err != nil {
			t.Fatal(err)
		}
		defer a.Release()
		fields, arrays, rows = append(
			fields, arrow.Field{Name: c.name, Type: c.kind, Nullable: true},
		), append(arrays, a), a.Len()
	}
	schema := arrow.NewSchema(fields, nil)
	path := filepath.Join(t.TempDir(), "outside.arrow")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := ipc.NewFileWriter(f, ipc.WithSchema(schema))
	if err != nil {
		t.Fatal(err)
	}
	if rows > 0 {
		rec := array.NewRecord(schema, arrays, int64(rows))
		defer rec.Release()
		if err := w.Write(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

var (
	text = arrow.BinaryTypes.String
	f64  = arrow.PrimitiveTypes.Float64
)

func TestConvertTable(t *testing.T) {
	in := outside(
		t,
		column{"x", `[1.5, null, 3]`, f64},
		column{"item", `["a", "b", "c"]`, text},
		column{
			"n",
			`[1, -2, 3]`,
			arrow.PrimitiveTypes.Int32,
		},
		column{"on", `[true, false, null]`, arrow.FixedWidthTypes.Boolean},
	)
	out := filepath.Join(t.TempDir(), "t.arrow")
	info, err := external.ConvertTable(in, out)
	if err != nil || info.Rows != 3 {
		t.Fatalf("%+v, %v", info, err)
	}
	c, err := external.LoadTable(out, info.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if c.Key() != features.KeyItem || c.Len() != 3 ||
		!slices.Equal(c.Names(), []string{"x", "n", "on"}) {
		t.Errorf("key %s, %d rows, columns %v", c.Key(), c.Len(), c.Names())
	}
	again := filepath.Join(t.TempDir(), "again.arrow")
	if twin, err := external.ConvertTable(in, again); err != nil || twin.SHA256 != info.SHA256 {
		t.Errorf("the same table has two digests: %+v, %v", twin, err)
	}

	users := outside(
		t, column{"user", `[17, 18]`, arrow.PrimitiveTypes.Int64}, column{"x", `[1, 2]`, f64},
	)
	_, err = external.ConvertTable(users, out)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil || !strings.Contains(string(data), features.UserHash("17")) {
		t.Errorf("the file lacks the hash of user 17 (%v)", err)
	}
}

func TestRejectedTables(t *testing.T) {
	ids, x := column{"item", `["a", "b"]`, text}, column{"x", `[1, 2]`, f64}
	for _, c := range []struct {
		name, want string
		cols       []column
	}{
		{"no ids", `"user" or "item"`, []column{x}},
		{"two kinds of ids", "keep one of them", []column{ids, {"user", `["u", "v"]`, text}, x}},
		{"no values", "no column of values", []column{ids}},
		{"a column of text", `column "y" has type utf8`, []column{ids, {"y", `["p", "q"]`, text}}},
		{"a column twice", `column "x" occurs twice`, []column{ids, x, x}},
		{"an id twice", "row 1: has the same id as row 0",
			[]column{{"item", `["a", "a"]`, text}, x}},
		{"a null id", "row 1: the id is null", []column{{"item", `["a", null]`, text}, x}},
		{"an empty id", "row 0: the id must be 1 to 256", []column{{"item", `["", "a"]`, text}, x}},
		{"ids of another type", "ids have type float64", []column{{"item", `[1, 2]`, f64}, x}},
		{"too large for float32", `row 1: column "x"`, []column{ids, {"x", `[1, 1e300]`, f64}}},
		{"no rows", "no rows", []column{{"item", `[]`, text}, {"x", `[]`, f64}}},
		{"a name of no length", "the name of column 1 must be 1 to 64 bytes",
			[]column{ids, {"", `[1, 2]`, f64}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "t.arrow")
			_, err := external.ConvertTable(outside(t, c.cols...), out)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("something is left of it")
			}
		})
	}
}

// A file that is truncated anywhere is rejected, both an external one and Relish's own.
func TestCutTables(t *testing.T) {
	whole := outside(t, column{"item", `["a", "b"]`, text}, column{"x", `[1, 2]`, f64})
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	ours := filepath.Join(t.TempDir(), "ours.arrow")
	info, err := external.ConvertTable(whole, ours)
	if err != nil {
		t.Fatal(err)
	}
	cut, out := filepath.Join(t.TempDir(), "cut.arrow"), filepath.Join(t.TempDir(), "t.arrow")
	for n := 0; n < len(data); n += 7 {
		if err := os.WriteFile(cut, data[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := external.ConvertTable(cut, out); err == nil {
			t.Fatalf("the first %d of %d bytes were accepted", n, len(data))
		}
	}
	if data, err = os.ReadFile(ours); err != nil {
		t.Fatal(err)
	}
	for n := range data {
		flipped := slices.Clone(data)
		flipped[n] ^= 1 << (n % 8)
		if err := os.WriteFile(ours, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := external.LoadTable(ours, info.SHA256); err == nil ||
			!strings.Contains(err.Error(), "it was changed") {
			t.Fatalf("byte %d flipped: %v", n, err)
		}
	}
}
