package experiment_test

import (
	"math"
	"testing"

	"relish/experiment"
)

// The vectors of this file are GrowthBook's own: hash, getBucketRange and inNamespace in cases.json of
// github.com/growthbook/growthbook-golang v0.7.0 (specVersion 6, MIT). Those of hash version 1, which
// only namespaces use here, and of invalid coverages and weights, which the file's check refuses, are
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
		{"bucket-range-rounding", "user-427", 0.109}, {"bucket-range-rounding", "user-68525", 0.818},
		{"bucket-range-rounding", "user-866", 0.172},
		{"", "josé", 0.1315}, {"", "用户123", 0.3071}, {"", "😀", 0.4971}, {"expérience", "123", 0.9001},
	} {
		if got := experiment.Bucket(c.seed, c.value); got != c.want {
			t.Errorf("%q, %q: %g, want %g", c.seed, c.value, got, c.want)
		}
	}
}

func TestRanges(t *testing.T) {
	third := 1.0 / 4
	for _, c := range []struct {
		coverage float64
		weights  []float64
		want     []experiment.Range
	}{
		{1, []float64{.5, .5}, []experiment.Range{{0, .5}, {.5, 1}}},
		{.5, []float64{.5, .5}, []experiment.Range{{0, .25}, {.5, .75}}},
		{0, []float64{.5, .5}, []experiment.Range{{0, 0}, {.5, .5}}},
		{1, []float64{third, third, third, third}, []experiment.Range{{0, .25}, {.25, .5}, {.5, .75}, {.75, 1}}},
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
		{"1", "namespace1", 0, .4, false}, {"1", "namespace1", .4, 1, true}, {"1", "namespace2", 0, .4, false}, {"1", "namespace2", .4, 1, true},
		{"2", "namespace1", 0, .4, false}, {"2", "namespace1", .4, 1, true}, {"2", "namespace2", 0, .4, false}, {"2", "namespace2", .4, 1, true},
		{"3", "namespace1", 0, .4, false}, {"3", "namespace1", .4, 1, true}, {"3", "namespace2", 0, .4, true}, {"3", "namespace2", .4, 1, false},
		{"4", "namespace1", 0, .4, false}, {"4", "namespace1", .4, 1, true}, {"4", "namespace2", 0, .4, true}, {"4", "namespace2", .4, 1, false},
	} {
		n := experiment.Namespace{ID: c.id, Range: experiment.Range{Start: c.from, End: c.to}}
		if n.Includes(c.value) != c.want {
			t.Errorf("%+v", c)
		}
	}
}
