package alerts_test

import (
	"strings"
	"testing"

	"relish/internal/alerts"
)

func TestParse(t *testing.T) {
	for when, want := range map[string]alerts.Condition{
		"share(sentiment=negative) > 2 x its usual in 3 h": {
			Share: true, Field: "sentiment", Value: "negative", Source: "items", Usual: true,
			Limit: 2, Hours: 3,
		},
		"  count( topic = \"tax (new)\" )of click>100 in 2d ": {
			Field: "topic", Value: "tax (new)", Source: "click", Limit: 100, Hours: 48,
		},
		"share(a=b c) of items > 0.25 in 1 h": {
			Share: true, Field: "a", Value: "b c", Source: "items", Limit: .25, Hours: 1,
		},
		"count(a=b) > 1.5x its usual in 7 d": {
			Field: "a", Value: "b", Source: "items", Usual: true, Limit: 1.5, Hours: 168,
		},
	} {
		if got, err := alerts.Parse(when); err != nil || got != want {
			t.Errorf("%s: %+v, %v", when, got, err)
		}
	}
}

// An error names the position and what is allowed there.
func TestParseErrors(t *testing.T) {
	for when, want := range map[string]string{
		"":                    `at character 1: expected "share" or "count", found the end`,
		"shares(a=b) > 1":     `at character 1: expected "share" or "count", found "shares(a=b)"`,
		"share a=b":           `at character 7: expected "(", found "a=b"`,
		"share(a) > 1 in 1 h": `at character 7: expected the name of an item field before "="`,
		"share(=b) > 1":       `at character 7: expected the name of an item field before "="`,
		"share(a=) > 1":       `at character 9: expected a value before ")", found ")"`,
		`share(a="b) > 1`:     `at character 9: expected a value in double quotes`,
		"share(ä=b) ≥ 1":      `at character 12: expected ">", found "≥"`,
		"share(a=b) of > 1":   `at character 15: expected items or an action, such as click`,
		"share(a=b) > many":   `at character 14: expected a number, found "many"`,
		"count(a=b) > 1000000000000000 x its usual in 1 h": `at character 14: expected a ` +
			`number of at most 15 digits`,
		"share(a=b) > 2 in 1 h": `at character 14: expected a share from 0 to 1, or ` +
			`"x its usual" after the number, found "2"`,
		"share(a=b) > 0.5 x its usual in 1 h": `at character 14: expected a multiple of the usual`,
		"share(a=b) > 2 x usual in 1 h":       `at character 18: expected "its", found "usual"`,
		"count(a=b) > 2":                      `at character 15: expected "in", found the end`,
		"count(a=b) > 2 in 3 min":             `at character 21: expected "h" or "d", found "min"`,
		"count(a=b) > 2 in 0 h":               `at character 19: expected a whole number of hours`,
		"count(a=b) > 2 in 1.5 h":             `at character 19: expected a whole number of hours`,
		"count(a=b) > 2 in 8 d":               `at character 19: expected a whole number of hours`,
		"count(a=b) > 2 in 1 h or so":         `at character 23: expected the end, found "or"`,
	} {
		if _, err := alerts.Parse(when); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", when, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("share(a=b) of click > 2 x its usual in 3 h")
	f.Add(`count(a="b") > 1 in 1 d`)
	f.Fuzz(func(t *testing.T, when string) {
		c, err := alerts.Parse(when)
		if err == nil && (c.Hours < 1 || c.Field == "" || c.Limit < 0 || c.Source == "") {
			t.Errorf("%q: %+v", when, c)
		}
	})
}

// All problems of the section are reported, with the rule.
func TestRules(t *testing.T) {
	const when = "share(a=b) > 0.5 in 1 h"
	_, err := alerts.Rules([]alerts.Config{
		{Name: "Surge!", When: when, MinCount: -1},
		{Name: "a", When: when, Webhook: "alerts.example", SecretFile: "s"},
		{Name: "a", When: "share(a=b", Webhook: "https://alerts.example"},
		{Name: "c", When: when, SecretFile: "s"},
	})
	for _, want := range []string{
		`alerts[0] (Surge!): name "Surge!" must have 1 to 64 of a-z, 0-9, - and _`,
		"alerts[0] (Surge!): min_count is -1 and must be at least 1; leave it out for the default",
		"alerts[1] (a): webhook must be a URL such as https://alerts.example/relish",
		"alerts[2] (a): another rule has this name: give each rule a name of its own",
		"alerts[2] (a): webhook needs secret_file: a file with the secret that signs",
		`alerts[2] (a): when: at character 9: expected a value before ")", found "b"`,
		"alerts[3] (c): secret_file has no use without webhook: remove it",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
	rules, err := alerts.Rules([]alerts.Config{
		{Name: "a", When: when}, {Name: "b", When: "count(a=b) > 5 in 1 h"},
		{Name: "c", When: "count(a=b) > 5 x its usual in 1 h"},
	})
	if err != nil || rules[0].MinCount != 20 || rules[1].MinCount != 1 ||
		rules[2].MinCount != 20 {
		t.Errorf("%+v, %v", rules, err)
	}
}
