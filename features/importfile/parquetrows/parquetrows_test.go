package parquetrows_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"

	"relish/features/importfile/parquetrows"
)

// may is 2026-05-01T10:00:00.5Z.
var may = time.Date(2026, 5, 1, 10, 0, 0, 500_000_000, time.UTC)

// write writes a Parquet file with the rows of a JSON array, in row groups of rowGroup rows.
func write(
	t *testing.T, schema *arrow.Schema, json string, rowGroup int64, more ...parquet.WriterProperty,
) string {
	t.Helper()
	rec, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(json))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "f.parquet")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	table := array.NewTableFromRecords(schema, []arrow.RecordBatch{rec})
	err = pqarrow.WriteTable(table, f, rowGroup, parquet.NewWriterProperties(more...),
		pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func rows(t *testing.T, path string) []string {
	t.Helper()
	var out bytes.Buffer
	if err := parquetrows.Write(path, &out); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

func TestTypes(t *testing.T) {
	list := arrow.ListOf(arrow.BinaryTypes.String)
	field := func(name string, typ arrow.DataType) arrow.Field {
		return arrow.Field{Name: name, Type: typ, Nullable: true}
	}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		field("text", arrow.BinaryTypes.String),
		field("bytes", arrow.BinaryTypes.Binary),
		field("price", arrow.PrimitiveTypes.Float64),
		field("on", arrow.FixedWidthTypes.Boolean),
		field("day", arrow.FixedWidthTypes.Date32),
		field("at", &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}),
		field("seen", &arrow.TimestampType{Unit: arrow.Nanosecond}),
		field("tags", list),
		field("sizes", arrow.ListOf(arrow.PrimitiveTypes.Int32)),
		field("deep", arrow.ListOf(list)),
		field("brand", &arrow.DictionaryType{
			IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}),
		field("small", arrow.PrimitiveTypes.Uint32),
		field("cost", &arrow.Decimal128Type{Precision: 20, Scale: 2}),
		field("shop", arrow.StructOf(
			field("city", arrow.BinaryTypes.String), field("floors", list))),
	}, nil)
	in := `[{"id":7,"text":"a \"b\"","bytes":"eHl6","price":1.5,"on":true,"day":"2026-05-01",` +
		`"at":"2026-05-01 10:00:00.5Z","seen":"2026-05-01 10:00:00.5","tags":["x",null,"y"],` +
		`"sizes":[1,2],"deep":[["p"],["q","r"]],"brand":"acme","small":4294967295,"cost":"-0.05",` +
		`"shop":{"city":"Bonn","floors":["1"]}},` +
		`{"id":8,"tags":[],"shop":{"city":null}},{"id":9,"tags":["z"],"deep":[]}]`
	at := may.Format(time.RFC3339Nano)
	want := []string{
		`["id","text","bytes","price","on","day","at","seen","tags","sizes","deep","brand",` +
			`"small","cost","shop.city","shop.floors"]`,
		`[7,"a \"b\"","xyz",1.5,true,"2026-05-01","` + at + `","` + at + `",["x",null,"y"],` +
			`[1,2],{},"acme",4294967295,-0.05,"Bonn",["1"]]`,
		`[8,null,null,null,null,null,null,null,[],null,null,null,null,null,null,null]`,
		`[9,null,null,null,null,null,null,null,["z"],null,[],null,null,null,null,null]`,
	}
	for name, more := range map[string][]parquet.WriterProperty{
		"plain":  {parquet.WithDictionaryDefault(false)},
		"snappy": {parquet.WithCompression(compress.Codecs.Snappy)},
		"zstd":   {parquet.WithCompression(compress.Codecs.Zstd)},
		"v2":     {parquet.WithDataPageVersion(parquet.DataPageV2)},
	} {
		if d := cmp.Diff(want, rows(t, write(t, schema, in, 2, more...))); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// Rows keep their places over pages, batches and row groups.
func TestManyRows(t *testing.T) {
	const n = 5000
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "i", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "l", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
	}, nil)
	var in strings.Builder
	want := []string{`["i","l"]`}
	in.WriteByte('[')
	for i := range n {
		number, list := "null", "null"
		if i%3 > 0 {
			number = strings.Repeat("1", 1+i%9)
		}
		if i%5 > 0 {
			list = "[" + strings.TrimSuffix(strings.Repeat(`"`+number+`",`, i%7), ",") + "]"
		}
		if i > 0 {
			in.WriteByte(',')
		}
		in.WriteString(`{"i":` + number + `,"l":` + list + `}`)
		want = append(want, "["+number+","+list+"]")
	}
	in.WriteByte(']')
	path := write(t, schema, in.String(), 1700, parquet.WithDataPageSize(512),
		parquet.WithDictionaryDefault(false))
	if d := cmp.Diff(want, rows(t, path)); d != "" {
		t.Error(d)
	}
}

func TestDamagedFile(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "i", Type: arrow.PrimitiveTypes.Int64}}, nil)
	path := write(t, schema, `[{"i":1},{"i":2}]`, 10)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{
		"empty":     nil,
		"truncated": data[:len(data)-9],
		"no footer": append(append([]byte("PAR1"), bytes.Repeat([]byte{0xff}, 64)...), "PAR1"...),
		"not one":   []byte("user,item,action\n"),
	} {
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := parquetrows.Write(path, &bytes.Buffer{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := parquetrows.Write(filepath.Join(t.TempDir(), "absent"), &bytes.Buffer{}); err == nil {
		t.Error("an absent file is read")
	}
}
