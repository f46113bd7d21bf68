package experiment_test

import (
	"os"
	"strings"
	"testing"

	"relish/experiment"
)

const promoted = `# Ours.
layers:
- name: lists # one layer
  experiments:
  # Do lists that differ get more clicks?
  - name: diverse
    coverage: 0.5
    end: 2026-08-01
    force: {tester: control}
    arms:
    - {name: control}
    - name: wide # lambda is a guess
      rules: {diversity: {lambda: 0.7, top: 20}}
- name: scoring
  experiments:
  - name: mixed
    mode: interleave
    arms: [{name: control}, {name: silent, text: false}]
`

// After a promotion every user that the experiment takes has the arm. The rest of the file is
// unchanged.
func TestPromote(t *testing.T) {
	data := []byte(promoted)
	for name, arm := range map[string]string{"diverse": "wide", "mixed": "silent"} {
		out, err := experiment.Promote(data, name, arm, "2026-05-01: promoted\nverdict: ship")
		if err != nil {
			t.Fatal(err)
		}
		data = out
	}
	set, err := experiment.Parse(data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	for u := range 1000 {
		if got := arms(set, user(u)); got["diverse"] != "wide" || got["mixed"] != "silent" {
			t.Fatalf("user %d: %v", u, got)
		}
	}
	if e := set.All()[1]; e.Mode != experiment.ModeSplit {
		t.Errorf("the experiment still interleaves: %+v", e)
	}
	for _, kept := range []string{
		"# Ours.", "# one layer", "# Do lists that differ", "# lambda is a guess",
		"# 2026-05-01: promoted verdict: ship", "lambda: 0.7",
	} {
		if !strings.Contains(string(data), kept) {
			t.Errorf("the file lacks %q:\n%s", kept, data)
		}
	}
}

func TestPromoteExample(t *testing.T) {
	data, err := os.ReadFile("../examples/experiments.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := experiment.Promote(data, "diverse-lists", "very-diverse", "note"); err != nil {
		t.Error(err)
	}
}

func TestPromoteErrors(t *testing.T) {
	const aliased = `
layers:
- name: scoring
  experiments:
  - name: one
    arms: [&c {name: control}, {name: loud, text: false}]
- name: lists
  experiments:
  - name: other
    arms: [*c, {name: wide, rules: {diversity: {lambda: 0.7, top: 20}}}]
`
	for _, c := range []struct{ file, name, arm, want string }{
		{promoted, "none", "wide", `experiment "none" is not in the file`},
		{promoted, "diverse", "narrow", `has no arm "narrow"`},
		{"layers: 5", "diverse", "wide", "line 1"},
		{"", "diverse", "wide", "line 1"},
		{aliased, "other", "wide", "YAML aliases"},
		{aliased, "one", "loud", "YAML aliases"},
	} {
		_, err := experiment.Promote([]byte(c.file), c.name, c.arm, "")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %q", c.name, c.arm, err, c.want)
		}
	}
}
