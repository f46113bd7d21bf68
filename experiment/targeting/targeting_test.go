package targeting_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"relish/experiment/targeting"
	"relish/ranker"
)

func parse(t testing.TB, text string) *yaml.Node {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return &n
}

// rejected are the published cases that Compile rejects: unknown operators and groups, invalid
// patterns, arguments that are not lists, and attributes named like operators.
var rejected = []string{
	"$groups - match", "$groups - no match",
	"$in - not array", "$nin - not array", "$ini - not array", "$nini - not array",
	"$type undefined - missing attribute is null, not undefined",
	"unknown operator - pass", "$regex invalid - pass", "$regex invalid - fail",
	"an unknown operator under $not fails, since this SDK can't evaluate it",
	"an unknown operator under $nor fails, since this SDK can't evaluate it",
	"an unknown operator inside $not on a value fails, since this SDK can't evaluate it",
	"an unknown operator doesn't stop an $or that another condition passes",
	"a known operator that fails decides the condition, even beside an unknown operator",
	"a condition key where an operator on a value belongs never matches, as before",
}

// The cases are GrowthBook's own: evalCondition in cases.json of
// github.com/growthbook/growthbook-golang v0.7.0 (specVersion 6, MIT), one per line as [name,
// condition, attributes, matches].
func TestPublishedCases(t *testing.T) {
	f, err := os.Open("testdata/conditions.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cases, groups := 0, 0
	var problematic []string
	for lines := bufio.NewScanner(f); lines.Scan(); cases++ {
		var c [4]json.RawMessage
		var name string
		var want bool
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		if json.Unmarshal(c[0], &name) != nil || json.Unmarshal(c[3], &want) != nil {
			t.Fatalf("%s", lines.Bytes())
		}
		cond, problems := targeting.Compile(parse(t, string(c[1])))
		if strings.Contains(string(c[1]), "nGroup") { // GrowthBook's saved groups are not supported
			groups++
			if problems == nil {
				t.Errorf("%s: no problem", name)
			}
			continue
		}
		if problems != nil {
			problematic = append(problematic, name)
			continue
		}
		attributes := targeting.FromYAML(parse(t, string(c[2])))
		if got := cond.Matches(&attributes); got != want {
			t.Errorf("%s: %s of %s is %t", name, c[1], c[2], got)
		}
	}
	if cases != 583 || groups != 11 {
		t.Errorf("%d cases, %d of groups", cases, groups)
	}
	slices.Sort(problematic)
	if want := slices.Sorted(slices.Values(rejected)); !slices.Equal(problematic, want) {
		t.Errorf("rejected:\n%s\nwant:\n%s",
			strings.Join(problematic, "\n"), strings.Join(want, "\n"))
	}
}

// The attributes of a request behave like any other object.
func TestAttributes(t *testing.T) {
	a := targeting.Attributes{
		ID: "u1",
		Context: map[string]ranker.FieldValue{
			"device": ranker.StringValue("phone"),
			"hour":   ranker.NumberValue(7),
		},
		User: map[string]ranker.FieldValue{
			"country": ranker.StringValue("de"),
			"tags":    ranker.StringsValue([]string{"a", "b"}),
			"scores":  {Kind: ranker.Numbers, Nums: []float64{1, 2}},
			"paying":  ranker.BoolValue(true),
		},
	}
	for condition, want := range map[string]bool{
		`{id: u1}`: true,
		`{session: null, device: phone, hour: {$gte: 7, $lt: 8}}`: true,
		`{user.country: {$in: [de, at]}, user.paying: true}`:      true,
		`{user.tags: {$all: [a, b]}, user.tags.0: a}`:             true,
		`{user.tags: {$in: [b]}, user.tags.length: 2}`:            true,
		`{user.scores: {$elemMatch: {$gt: 1}, $size: {$lte: 2}}}`: true,
		`{user.scores: [1, 2], user.tags: [a, b]}`:                true,
		`{user.tags.00: a}`:            false,
		`{user.age: {$exists: true}}`:  false,
		`{user: {$exists: true}}`:      true,
		`{country: de}`:                false,
		`{hour: {$gt: 2026-01-01}}`:    false,
		`{device: {$gte: 2026-01-01}}`: true, // a date is a text
		`{$nor: [{device: tablet}, {user.country: fr}], hour: 7.0}`: true,
		`{user: {country: de}}`: false, // deep equality
		"{user: &c {$exists: true}, device: {$in: &d [phone]}, id: *c}": true,
	} {
		c, problems := targeting.Compile(parse(t, condition))
		if problems != nil {
			t.Errorf("%s: %v", condition, problems)
			continue
		}
		v := a.Value()
		if got := c.Matches(&v); got != want {
			t.Errorf("%s: %t", condition, got)
		}
	}
}

func TestEveryProblemIsFound(t *testing.T) {
	_, problems := targeting.Compile(parse(t, `
device: {$regex: "(", $ini: phone}
$xor: []
$or: {a: 1}
user.age: {$gt: 1, at: 2}
hour: {$size: {$most: 3}}
tags: {$elemMatch: [1], $exists: 1, $type: text, $veq: []}
session: {$in: [a], $in: [b]}
session: {$regex: 1}`))
	var got []string
	for _, p := range problems {
		got = append(got, p.Key)
		if p.Line < 2 || p.Line > 9 || p.Message == "" {
			t.Errorf("%+v", p)
		}
	}
	want := []string{
		"session", "$regex", "$ini", "$xor", "$or", "user.age", "$most",
		"$elemMatch", "$exists", "$type", "$veq", "$in", "$regex",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSizeIsBounded(t *testing.T) {
	bomb := "{a: &a0 [" + strings.Repeat("x, ", 7) + "x]"
	for i := range 8 {
		alias := fmt.Sprintf("*a%d, ", i)
		bomb += fmt.Sprintf(", b%d: &a%d [%s]", i, i+1, strings.Repeat(alias, 8))
	}
	for what, text := range map[string]string{
		"contains itself": "&a {x: {$not: *a}}",
		"many":            bomb + "}",
		"deep":            strings.Repeat("{$not: ", 40) + "{a: 1}" + strings.Repeat("}", 40),
	} {
		_, problems := targeting.Compile(parse(t, text))
		if len(problems) != 1 || !strings.Contains(problems[0].Message, "nested more than") {
			t.Errorf("%s: %v", what, problems)
		}
	}
}

func TestNamesAndJSON(t *testing.T) {
	c, problems := targeting.Compile(parse(t, `
user.country: de
$or: [{device: {$in: [a, 1, true, null]}}, {user.tags: {$elemMatch: {x: 1}}}]`))
	if problems != nil {
		t.Fatal(problems)
	}
	if got := c.AttributeNames(); !slices.Equal(got, []string{"device", "user"}) {
		t.Errorf("names %v", got)
	}
	got, err := json.Marshal(c.JSON())
	want := `{"$or":[{"device":{"$in":["a",1,true,null]}},{"user.tags":{"$elemMatch":{"x":1}}}],` +
		`"user.country":"de"}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
}

func TestMatchesDoesNotAllocate(t *testing.T) {
	c, problems := targeting.Compile(parse(t, `
device: {$ini: [PHONE]}
user.country: {$regex: "^d"}
user.tags: {$all: [b], $in: [b], $elemMatch: {$eq: a}}
user.tags.0: a
app: {$vgte: 1.2.3}
$nor: [{hour: {$lt: 3}}]`))
	if problems != nil {
		t.Fatal(problems)
	}
	a := targeting.Attributes{
		Context: map[string]ranker.FieldValue{
			"device": ranker.StringValue("phone"),
			"app":    ranker.StringValue("1.10.0"),
			"hour":   ranker.NumberValue(4),
		},
		User: map[string]ranker.FieldValue{
			"country": ranker.StringValue("de"),
			"tags":    ranker.StringsValue([]string{"a", "b"}),
		},
	}
	matched := true
	n := testing.AllocsPerRun(100, func() { v := a.Value(); matched = matched && c.Matches(&v) })
	if n != 0 || !matched {
		t.Errorf("%g allocations, matched: %t", n, matched)
	}
}

// Compile returns either a condition or problems for any input, and Matches returns.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		`{a: {$gt: 1}}`, `{$and: [{a: 1}, {$not: {b: [x]}}]}`, `{a: {$elemMatch: {$in: [1]}}}`,
		`{a: &x {b: 1}, c: *x}`, `[]`, `{a.0.length: {$vlt: v1.2-a+b}}`, `&a {x: *a}`,
	} {
		f.Add(s)
	}
	values := ranker.StringsValue([]string{"x", "1.2.3"})
	a := targeting.Attributes{ID: "u", Context: map[string]ranker.FieldValue{"a": values}}
	f.Fuzz(func(t *testing.T, text string) {
		var n yaml.Node
		if yaml.Unmarshal([]byte(text), &n) != nil || n.Kind == 0 {
			return
		}
		c, problems := targeting.Compile(&n)
		if (c == nil) == (problems == nil) {
			t.Fatalf("%v, %v", c, problems)
		}
		if c != nil {
			v := a.Value()
			c.Matches(&v)
		}
	})
}
