package suggest_test

import (
	"strings"
	"testing"

	"relish/internal/suggest"
)

var fields = []string{
	"user_id",
	"session",
	"candidates",
	"context",
	"limit",
	"deadline_ms",
	"explain",
	"model",
	"seed",
	"record",
	"time",
}

func TestName(t *testing.T) {
	for name, want := range map[string]string{
		"user":                               "user_id", // the beginning of a known name
		"userId":                             "user_id", // another way to write it
		"User-ID":                            "user_id",
		"explian":                            "explain", // two letters swapped: one edit
		"canidates":                          "candidates",
		"deadline":                           "deadline_ms",
		"limits":                             "limit",
		"mode":                               "model",
		"us":                                 "", // too short for a beginning
		"colour":                             "",
		"frobnicate":                         "",
		"":                                   "",
		"___":                                "",
		strings.Repeat("x", 100):             "",
		"user_id" + strings.Repeat("x", 100): "", // too long to compare
	} {
		if got := suggest.Name(name, fields); got != want {
			t.Errorf("Name(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestNameTakesTheNearest(t *testing.T) {
	if got := suggest.Name("rerank", []string{"reranks", "rank", "rerank"}); got != "rerank" {
		t.Errorf("got %q, want the equal name", got)
	}
	if got := suggest.Name("cat", []string{"car", "can"}); got != "car" {
		t.Errorf("got %q, want the first of two equally near names", got)
	}
	if got := suggest.Name("x", nil); got != "" {
		t.Errorf("got %q without known names", got)
	}
}

func TestDidYouMean(t *testing.T) {
	if got, want := suggest.DidYouMean("user", fields), `; did you mean "user_id"?`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := suggest.DidYouMean("frobnicate", fields); got != "" {
		t.Errorf("got %q for a name that is near to nothing", got)
	}
}

// Nearness is symmetric.
func FuzzName(f *testing.F) {
	f.Add("user", "user_id")
	f.Add("", "\xff")
	f.Fuzz(func(t *testing.T, a, b string) {
		if (suggest.Name(a, []string{b}) == "") != (suggest.Name(b, []string{a}) == "") &&
			a != "" &&
			b != "" {
			t.Errorf("%q and %q are near in one direction only", a, b)
		}
	})
}
