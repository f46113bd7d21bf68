package ranker_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"relish/ranker"
)

// randomItem returns an item with values of all kinds, nil and empty lists, and long strings.
func randomItem(r *rand.Rand) ranker.Item {
	text := func() string { return strings.Repeat("é", r.IntN(2)*r.IntN(90)) + fmt.Sprint(r.Int()) }
	list := func() []string {
		switch r.IntN(4) {
		case 0:
			return nil
		case 1:
			return []string{}
		}
		return []string{text(), "", text()}
	}
	it := ranker.Item{ID: text(), Title: text()[r.IntN(2):], Tags: list()}
	if r.IntN(2) == 0 {
		it.Text = strings.Repeat("a long text. ", r.IntN(500))
	}
	if n := r.IntN(20); n > 0 {
		it.Fields = map[string]ranker.FieldValue{}
		for range n - 1 {
			it.Fields[text()] = []ranker.FieldValue{
				ranker.NumberValue(math.Inf(1 - 2*r.IntN(2))), ranker.NumberValue(r.NormFloat64()),
				ranker.BoolValue(r.IntN(2) == 0), ranker.StringValue(text()),
				ranker.StringValue(""), ranker.StringsValue(list()), {},
				{Kind: ranker.Numbers, Nums: []float64{1, math.Copysign(0, -1), r.Float64()}},
			}[r.IntN(8)]
		}
	}
	return it
}

// Each part of an item is read as it was given.
func TestItemInfoKeepsTheItem(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		it := randomItem(r)
		info := ranker.NewItemInfo(it, nil)
		if got := info.Item(); !reflect.DeepEqual(got, it) {
			t.Fatalf("%+v became %+v", it, got)
		}
		if info.Title() != it.Title || info.Text() != it.Text ||
			!reflect.DeepEqual(info.Tags(), it.Tags) {
			t.Fatalf("%+v became %q, %q, %q", it, info.Title(), info.Text(), info.Tags())
		}
		if got := maps.Collect(info.Fields()); !maps.EqualFunc(got, it.Fields, sameValue) {
			t.Fatalf("%+v became %+v", it.Fields, got)
		}
		for name, want := range it.Fields {
			if got, ok := info.Field(name); !ok || !sameValue(got, want) {
				t.Fatalf("%q: %+v became %+v", name, want, got)
			}
		}
		if _, ok := info.Field("no such field"); ok {
			t.Fatal("an unknown field has a value")
		}
		if got, want := info.Body(), ranker.TextSpec(nil).Compose(&it); got != want {
			t.Fatalf("the text %q became %q", want, got)
		}
	}
}

func sameValue(a, b ranker.FieldValue) bool { return reflect.DeepEqual(a, b) }

// EachString gives all strings of fields and tags, and no numbers.
func TestEachString(t *testing.T) {
	info := ranker.NewItemInfo(ranker.Item{
		Title: "not a field", Text: "not a field", Tags: []string{"sea", ""},
		Fields: map[string]ranker.FieldValue{
			"genre": ranker.StringsValue([]string{"a", "b"}), "brand": ranker.StringValue("c"),
			"price": ranker.NumberValue(3), "new": ranker.BoolValue(true),
			"sizes": {Kind: ranker.Numbers, Nums: []float64{1, 2}},
		},
	}, nil)
	var got []string
	info.EachString(func(field, value string) { got = append(got, field+"="+value) })
	want := []string{"brand=c", "genre=a", "genre=b", "tags=sea", "tags="}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// EachValue gives the strings of one field, as a category has them.
func TestEachValue(t *testing.T) {
	info := ranker.NewItemInfo(ranker.Item{
		Tags: []string{"sea"},
		Fields: map[string]ranker.FieldValue{
			"genre": ranker.StringsValue([]string{"a", "b"}), "brand": ranker.StringValue("c"),
			"price": ranker.NumberValue(3.5), "new": ranker.BoolValue(true),
			"sizes": {Kind: ranker.Numbers, Nums: []float64{1, 2}},
		},
	}, nil)
	for field, want := range info.Fields() {
		var got []string
		if !info.EachValue(field, func(value string) { got = append(got, value) }) {
			t.Errorf("%s is not there", field)
		}
		if !slices.Equal(got, want.AsStrings()) {
			t.Errorf("%s: %q, want %q", field, got, want.AsStrings())
		}
	}
	if info.EachValue("tags", func(string) {}) {
		t.Error("tags are no field")
	}
}

// The parts that requests read allocate nothing.
func TestItemInfoAllocations(t *testing.T) {
	info := ranker.NewItemInfo(ranker.Item{
		Title: "title", Text: "text", Tags: []string{"sea"},
		Fields: map[string]ranker.FieldValue{
			"brand": ranker.StringValue("c"), "genre": ranker.StringsValue([]string{"a", "b"}),
			"price": ranker.NumberValue(3),
		},
	}, nil)
	n := 0
	allocations := testing.AllocsPerRun(100, func() {
		price, _ := info.Field("price")
		info.EachString(func(field, value string) { n += len(field) + len(value) })
		info.EachValue("genre", func(value string) { n += len(value) })
		n += len(info.Title()) + len(info.Text()) + int(price.Num)
	})
	if allocations != 0 {
		t.Errorf("%g allocations", allocations)
	}
}
