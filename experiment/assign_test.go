package experiment_test

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relish/experiment"
	"relish/experiment/targeting"
	"relish/ranker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func set(t testing.TB, text string) *experiment.Set {
	t.Helper()
	s, err := experiment.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return s
}

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC).UnixMilli()

// arms returns the name of the subject's arm by experiment.
func arms(s *experiment.Set, sub *experiment.Subject) map[string]string {
	out := map[string]string{}
	for _, c := range s.Assign(nil, sub) {
		out[c.Name] = c.Arms[c.Arm].Name
	}
	return out
}

func user(i int) *experiment.Subject {
	attributes := targeting.Attributes{ID: fmt.Sprintf("user-%d", i)}
	return &experiment.Subject{Attributes: attributes, Now: noon}
}

// counts returns how many of n users are in each arm of the experiment; "" is no arm.
func counts(s *experiment.Set, name string, n int) map[string]int {
	out := map[string]int{}
	for i := range n {
		out[arms(s, user(i))[name]]++
	}
	return out
}

// near fails unless got is within five standard deviations of the share of n.
func near(t *testing.T, what string, got, n int, share float64) {
	t.Helper()
	sd := math.Sqrt(float64(n) * share * (1 - share))
	if math.Abs(float64(got)-float64(n)*share) > 5*sd {
		t.Errorf("%s: %d of %d, want a share of %g", what, got, n, share)
	}
}

const threeArms = "arms: [{name: a, weight: 0.2}, {name: b, weight: 0.3}, {name: c, weight: 0.5}]"

// twoArms needs two weights.
const twoArms = `arms: [{name: control, weight: %g}, {name: other, weight: %g, text: false}]`

// one returns a file with one experiment, x, that has these keys.
func one(options string) string {
	const head = "layers:\n- name: l\n  experiments:\n  - name: x\n    "
	return head + strings.ReplaceAll(options, "\n", "\n    ")
}

func TestSharesFollowWeightsAndCoverage(t *testing.T) {
	const n = 100_000
	got := counts(set(t, one("coverage: 0.5\n"+threeArms)), "x", n)
	for arm, share := range map[string]float64{"a": .1, "b": .15, "c": .25, "": .5} {
		near(t, "arm "+arm, got[arm], n, share)
	}
}

// Changed weights move as few users as possible, and a larger coverage moves none.
func TestAssignedUsersStay(t *testing.T) {
	const n = 50_000
	before := set(t, one("coverage: 0.5\n"+fmt.Sprintf(twoArms, .5, .5)))
	heavier := set(t, one("coverage: 0.5\n"+fmt.Sprintf(twoArms, .4, .6)))
	wider := set(t, one("coverage: 0.8\n"+fmt.Sprintf(twoArms, .5, .5)))
	moved, left := 0, 0
	for i := range n {
		was := arms(before, user(i))["x"]
		if was == "" {
			continue
		}
		switch arms(heavier, user(i))["x"] {
		case was:
		case "":
			left++
		default:
			moved++
		}
		if now := arms(wider, user(i))["x"]; now != was {
			t.Fatalf("a larger coverage moved a user from %s to %s", was, now)
		}
	}
	// Control shrinks from 0..0.25 to 0..0.2, and the other arm changes from 0.5..0.75 to 0.4..0.7.
	// Nobody changes arms, and each arm loses 0.05.
	if moved != 0 {
		t.Errorf("%d users changed arms", moved)
	}
	near(t, "users who left", left, n, .1)

	// With full coverage, the difference of the weights is the share that must move.
	all := set(t, one(fmt.Sprintf(twoArms, .5, .5)))
	less := set(t, one(fmt.Sprintf(twoArms, .4, .6)))
	moved = 0
	for i := range n {
		was, now := arms(all, user(i))["x"], arms(less, user(i))["x"]
		if was == "other" && now != was {
			t.Fatal("a user left the arm whose weight grew")
		}
		if was != now {
			moved++
		}
	}
	near(t, "users who moved", moved, n, .1)
}

// A user's arm in one layer is independent of the arm in another: chi-squared over arms x arms for
// all pairs of ten layers.
func TestLayersAreIndependent(t *testing.T) {
	const layers, n = 10, 60_000
	var b strings.Builder
	b.WriteString("layers:\n")
	for i := range layers {
		fmt.Fprintf(&b, "- name: l%d\n  experiments:\n  - name: x%d\n    %s\n", i, i, threeArms)
	}
	s := set(t, b.String())
	var joint [layers][layers][3][3]float64
	var choices []experiment.Choice
	for i := range n {
		choices = s.Assign(choices[:0], user(i))
		for x, a := range choices {
			for y, b := range choices[:x] {
				joint[x][y][a.Arm][b.Arm]++
			}
		}
	}
	weights := [3]float64{.2, .3, .5}
	sum := 0.0
	for x := range layers {
		for y := range x {
			chi := 0.0
			for a := range 3 {
				for b := range 3 {
					want := n * weights[a] * weights[b]
					chi += (joint[x][y][a][b] - want) * (joint[x][y][a][b] - want) / want
				}
			}
			// With 8 degrees of freedom, one pair in 25,000 exceeds 34.0.
			if sum += chi; chi > 34 {
				t.Errorf("layers %d and %d: chi-squared %.1f", x, y, chi)
			}
		}
	}
	// 45 pairs of 8 degrees of freedom: mean 360, standard deviation 26.8.
	if sum > 360+4*26.8 {
		t.Errorf("chi-squared of all pairs: %.0f", sum)
	}
}

const exclusive = `
holdout: {share: 0.1}
layers:
- name: first
  experiments:
  - {name: x, namespace: [home, 0, 0.4], arms: [{name: control}, {name: other, text: false}]}
  - {name: y, namespace: [home, 0.4, 1], arms: [{name: control}, {name: other, text: false}]}
- name: second
  experiments:
  - {name: z, arms: [{name: control}, {name: other, rules: {diversity: null}}]}
`

func TestNamespacesExcludeEachOtherAndTheHoldout(t *testing.T) {
	const n = 50_000
	s := set(t, exclusive)
	got := map[string]int{}
	for i := range n {
		a := arms(s, user(i))
		switch _, x := a["x"]; {
		case len(a) == 0:
			got["held out"]++
			if experiment.Bucket("holdout", user(i).ID) >= .1 {
				t.Fatal("a user outside the holdout is in no experiment")
			}
		case x:
			got["x"]++
		default:
			got["y"]++
		}
		if len(a) != 0 && (len(a) != 2 || a["z"] == "") {
			t.Fatalf("arms %v", a)
		}
	}
	near(t, "the holdout", got["held out"], n, .1)
	near(t, "x", got["x"], n, .9*.4)
	near(t, "y", got["y"], n, .9*.6)
}

func TestAssignmentByAttributes(t *testing.T) {
	s := set(t, `
holdout: {share: 0}
layers:
- name: targeted
  experiments:
  - name: phones
    condition: {device: phone, user.country: {$in: [de, at]}}
    arms: [{name: control, weight: 0}, {name: other, weight: 1}]
- name: timed
  experiments:
  - {name: soon, start: 2026-06-02, arms: [{name: a}, {name: b}]}
  - {name: now, start: 2026-06-01T12:00:00Z, end: 2026-06-02, arms: [{name: a}, {name: b}]}
  - {name: over, end: "2026-06-01T12:00:00Z", arms: [{name: a}, {name: b}]}
- name: sessions
  experiments:
  - {name: by-session, hash_attribute: session, arms: [{name: a, weight: 1}, {name: b, weight: 0}]}
- name: fields
  experiments:
  - {name: by-shop, hash_attribute: shop, arms: [{name: a, weight: 1}, {name: b, weight: 0}]}
- name: forced
  experiments:
  - name: nobody
    coverage: 0
    condition: {device: none}
    force: {tester: b}
    arms: [{name: a}, {name: b}]
`)
	if !s.ReadsUser() {
		t.Error("ReadsUser must be true for a condition on user.country")
	}
	german := map[string]ranker.FieldValue{"country": ranker.StringValue("de")}
	phone := map[string]ranker.FieldValue{"device": ranker.StringValue("phone")}
	shop := func(v ranker.FieldValue) targeting.Attributes {
		return targeting.Attributes{Context: map[string]ranker.FieldValue{"shop": v}}
	}

	for what, c := range map[string]struct {
		attributes targeting.Attributes
		want       string
	}{
		"nothing known":         {targeting.Attributes{}, "now"},
		"targeted":              {targeting.Attributes{User: german, Context: phone}, "phones now"},
		"half of the condition": {targeting.Attributes{Context: phone}, "now"},
		"a session":             {targeting.Attributes{Session: "s"}, "now by-session"},
		"a shop":                {shop(ranker.StringValue("berlin")), "now by-shop"},
		"a shop's number":       {shop(ranker.NumberValue(12.5)), "now by-shop"},
		"shop number 0":         {shop(ranker.NumberValue(0)), "now"},
		"a boolean shop":        {shop(ranker.BoolValue(true)), "now"},
		"the tester":            {targeting.Attributes{ID: "tester"}, "now nobody"},
	} {
		c.attributes.ID = cmp.Or(c.attributes.ID, "u")
		subject := &experiment.Subject{Attributes: c.attributes, Now: noon}
		var got []string
		for _, choice := range s.Assign(nil, subject) {
			got = append(got, choice.Name)
			if choice.Forced != (choice.Name == "nobody") {
				t.Errorf("%s: forced %t", what, choice.Forced)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: in %v, want %s", what, got, c.want)
		}
	}
}

// A number is hashed as the text that JavaScript formats it as.
func TestNumbersAreHashedAsText(t *testing.T) {
	s := set(t, one("hash_attribute: shop\n"+fmt.Sprintf(twoArms, .5, .5)))
	for x, text := range map[float64]string{
		7: "7", 12.5: "12.5", -0.25: "-0.25", 123456789: "123456789", 0.000001: "0.000001",
	} {
		number, asText := user(0), user(0)
		number.Context = map[string]ranker.FieldValue{"shop": ranker.NumberValue(x)}
		asText.Context = map[string]ranker.FieldValue{"shop": ranker.StringValue(text)}
		if a, b := arms(s, number)["x"], arms(s, asText)["x"]; a == "" || a != b {
			t.Errorf("%g: arm %q as a number, %q as text", x, a, b)
		}
	}
}

// tenLayers returns ten layers that all take the busy subject. With all, each has a condition, a
// namespace and one of the hash attributes: the most expensive case for a request.
func tenLayers(t testing.TB, all bool) *experiment.Set {
	var b strings.Builder
	b.WriteString("holdout: {share: 0.01}\nlayers:\n")
	for i := range 10 {
		fmt.Fprintf(&b, "- name: l%d\n  experiments:\n  - name: x%d\n    %s\n", i, i,
			"arms: [{name: a}, {name: b}, {name: c}]")
		if all {
			fmt.Fprintf(&b, "    hash_attribute: %s\n    namespace: [n%d, 0, 0.999]\n",
				[]string{"user", "session", "shop"}[i%3], i)
			b.WriteString("    condition: {device: {$in: [phone, tablet]}}\n")
		}
	}
	return set(t, b.String())
}

func busy() *experiment.Subject {
	sub := user(7)
	sub.Session = "3f2a9c1e-session"
	sub.Context = map[string]ranker.FieldValue{
		"shop":   ranker.NumberValue(1234),
		"device": ranker.StringValue("phone"),
	}
	return sub
}

func TestAssignAllocations(t *testing.T) {
	s, sub := tenLayers(t, true), busy()
	buf := make([]experiment.Choice, 0, experiment.MaxLayers)
	n := 0
	allocs := testing.AllocsPerRun(1000, func() { n = len(s.Assign(buf, sub)) })
	if allocs != 0 || n < 9 {
		t.Errorf("%g allocations for %d experiments", allocs, n)
	}
}

func BenchmarkAssign(b *testing.B) {
	for name, all := range map[string]bool{"plain": false, "conditions-and-namespaces": true} {
		b.Run(name, func(b *testing.B) {
			s, sub := tenLayers(b, all), busy()
			buf := make([]experiment.Choice, 0, experiment.MaxLayers)
			b.ReportAllocs()
			for b.Loop() {
				s.Assign(buf, sub)
			}
		})
	}
}

// The test vectors below are GrowthBook's own: hash, getBucketRange and inNamespace in cases.json
// of github.com/growthbook/growthbook-golang v0.7.0 (specVersion 6, MIT). Vectors of hash version
// 1, which only namespaces use here, and of invalid coverages and weights, which Parse rejects, are
// left out.

func TestBucket(t *testing.T) {
	for _, c := range []struct {
		seed, value string
		want        float64
	}{
		{"seed", "a", 0.0505}, {"seed", "b", 0.2696}, {"foo", "ab", 0.2575}, {"foo", "def", 0.2019},
		{"89123klj", "8952klfjas09ujkasdf", 0.124}, {"90850943850283058242805", "123", 0.7516},
		{"()**(%$##$%#$#", "___)((*\":&", 0.0128},
		{"bucket-range-rounding", "user-3436", 0.22}, {"bucket-range-rounding", "user-1177", 0.344},
		{"bucket-range-rounding", "user-427", 0.109},
		{"bucket-range-rounding", "user-68525", 0.818},
		{"bucket-range-rounding", "user-866", 0.172},
		{"", "josé", 0.1315}, {"", "用户123", 0.3071}, {"", "😀", 0.4971},
		{"expérience", "123", 0.9001},
	} {
		if got := experiment.Bucket(c.seed, c.value); got != c.want {
			t.Errorf("%q, %q: %g, want %g", c.seed, c.value, got, c.want)
		}
	}
}

func TestRanges(t *testing.T) {
	quarters := []float64{.25, .25, .25, .25}
	for _, c := range []struct {
		coverage float64
		weights  []float64
		want     []experiment.Range
	}{
		{1, []float64{.5, .5}, []experiment.Range{{0, .5}, {.5, 1}}},
		{.5, []float64{.5, .5}, []experiment.Range{{0, .25}, {.5, .75}}},
		{0, []float64{.5, .5}, []experiment.Range{{0, 0}, {.5, .5}}},
		{1, quarters, []experiment.Range{{0, .25}, {.25, .5}, {.5, .75}, {.75, 1}}},
		{1, []float64{.4, .6}, []experiment.Range{{0, .4}, {.4, 1}}},
		{1, []float64{.2, .3, .5}, []experiment.Range{{0, .2}, {.2, .5}, {.5, 1}}},
		{.2, []float64{.2, .3, .5}, []experiment.Range{{0, .04}, {.2, .26}, {.5, .6}}},
		{1, []float64{.4, .5999}, []experiment.Range{{0, .4}, {.4, .9999}}},
	} {
		got := experiment.Ranges(c.coverage, c.weights)
		for i, r := range got {
			if math.Abs(r.Start-c.want[i].Start) > 1e-12 || math.Abs(r.End-c.want[i].End) > 1e-12 {
				t.Errorf("%g of %v: %v, want %v", c.coverage, c.weights, got, c.want)
				break
			}
		}
	}
}

func TestNamespaces(t *testing.T) {
	for _, c := range []struct {
		value, id string
		from, to  float64
		want      bool
	}{
		{"1", "namespace1", 0, .4, false}, {"1", "namespace1", .4, 1, true},
		{"1", "namespace2", 0, .4, false}, {"1", "namespace2", .4, 1, true},
		{"2", "namespace1", 0, .4, false}, {"2", "namespace1", .4, 1, true},
		{"2", "namespace2", 0, .4, false}, {"2", "namespace2", .4, 1, true},
		{"3", "namespace1", 0, .4, false}, {"3", "namespace1", .4, 1, true},
		{"3", "namespace2", 0, .4, true}, {"3", "namespace2", .4, 1, false},
		{"4", "namespace1", 0, .4, false}, {"4", "namespace1", .4, 1, true},
		{"4", "namespace2", 0, .4, true}, {"4", "namespace2", .4, 1, false},
	} {
		n := experiment.Namespace{ID: c.id, Range: experiment.Range{Start: c.from, End: c.to}}
		if n.Includes(c.value) != c.want {
			t.Errorf("%+v", c)
		}
	}
}
