package experiment_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"relish/experiment"
	"relish/ranker"
)

// everyKey uses every key of the file.
const everyKey = `
holdout: {share: 0.05, seed: keep}
layers:
- name: scoring
  experiments:
  - name: new-bundle
    description: does the June bundle rank better
    hash_attribute: session
    seed: june
    coverage: 0.4
    namespace: [home, 0, 0.5]
    start: 2026-05-01
    end: 2026-08-01T12:00:00+02:00
    condition: {device: {$ne: bot}, user.country: de}
    force: {tester: june, 4711: control}
    metric: reward:2*purchase+click
    guardrails: [{metric: latency, margin: 0.1}]
    auto_stop: guardrail
    arms:
    - {name: control, weight: 0.333}
    - {name: june, weight: 0.333, bundle: v-june, text: true, deadline_ms: 80}
    - {name: loud, weight: 0.333, scorer: {text.mean: 0.6}}
- name: lists
  experiments:
  - name: spread
    mode: interleave
    start: 2026-01-01
    arms:
    - name: control
    - name: diverse
      rules: &rules
        diversity: {lambda: 0.7, top: 20}
        boosts: [{when: {field: tags, equals: new}, add: 0.2}]
- name: plain
  experiments:
  - name: bare
    end: 2025-01-01
    arms: [{name: control}, {name: nothing, rules: {<<: *rules, exploration: null, filters: []}}]
`

func TestEveryKeyIsRead(t *testing.T) {
	s := set(t, everyKey)
	june := s.Find("new-bundle")
	if june == nil || s.Find("nope") != nil || len(s.All()) != 3 || s.Holdout.Share != .05 ||
		len(s.Version) != 12 {
		t.Fatalf("%+v", s)
	}
	start := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	if june.Layer != "scoring" || june.HashAttribute != "session" || june.Seed != "june" ||
		june.Coverage != .4 || june.Namespace.End != .5 || !june.Start.Equal(start) ||
		june.Metric != "reward:2*purchase+click" || !june.AutoStop || len(june.Guardrails) != 1 {
		t.Errorf("%+v", june)
	}
	c := june.Arms[1].Change
	parts := ranker.PartModel | ranker.PartText | ranker.PartDeadline
	if c.Sets != parts || c.Model != "v-june" || !c.Text || c.Deadline != 80*time.Millisecond {
		t.Errorf("%+v", c)
	}
	if june.Arms[0].Change.Sets != 0 || june.Arms[2].Change.ScorerParams["text.mean"] != .6 ||
		june.Parts != parts|ranker.PartScorer {
		t.Errorf("parts %s", june.Parts)
	}
	diverse := s.Find("spread").Arms[1].Change
	both := ranker.PartDiversity | ranker.PartBoost
	if diverse.Sets != both || diverse.Rules[ranker.RuleDiversity] == nil ||
		diverse.Rules[ranker.RuleBoost] == nil {
		t.Errorf("%+v", diverse)
	}
	// null and an empty list remove the rule; a merged mapping sets its keys.
	nothing := s.Find("bare").Arms[1].Change
	if nothing.Sets != both|ranker.PartExploration|ranker.PartFilter ||
		nothing.Rules[ranker.RuleExploration] != nil || nothing.Rules[ranker.RuleFilter] != nil {
		t.Errorf("%+v", nothing)
	}
	if got := s.Bundles(time.UnixMilli(noon)); !slices.Equal(got, []string{"v-june"}) {
		t.Errorf("bundles %v", got)
	}
	if got := s.Bundles(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)); len(got) != 0 {
		t.Errorf("an ended experiment still needs bundles: %v", got)
	}
	if s := set(t, "layers: []"); len(s.All()) != 0 || len(s.Assign(nil, user(1))) != 0 {
		t.Error("a file without experiments has some")
	}
	for _, truncated := range []string{"", "# only a comment\n", "holdout: {share: 0.1}\n"} {
		_, err := experiment.Parse([]byte(truncated))
		if err == nil || !strings.Contains(err.Error(), "layers: is required") {
			t.Errorf("%q: %v", truncated, err)
		}
	}
}

// everyProblem has problems in every line with a comment. The comment says what must be reported
// there.
const everyProblem = `holdout: {share: 1.5, salt: x} # holdout.share; unknown key "salt"
layer: [] # unknown key "layer"
layers:
- name: a b # layers[0].name
  experiments:
  - name: x
    mode: both # mode: "both" is unknown
    coverage: 2 # coverage: 2 is out of range
    namespace: [n, 0.5, 0.5] # namespace
    start: tomorrow # start: "tomorrow" is not a time
    condition: {device: {$is: phone}} # condition.$is
    hash_attribute: id # hash_attribute: "id" is not an attribute to assign by
    metric: luck # metric: "luck" is unknown
    guardrails: [{metric: ctr, margin: 2}] # guardrails[0].margin
    auto_stop: sometimes # auto_stop: "sometimes" is unknown
    force: {t: nobody} # force: "nobody"
    arms:
    - {name: control, weight: 0.9} # weights add up
    - {name: control, weight: 0.9, bundle: ""} # "control" is already taken; bundle: is empty
    - name: third
      weight: -1 # arms[2].weight: -1 is out of range
      scorer: {} # arms[2].scorer: is empty
      deadline_ms: 0 # deadline_ms: 0 is out of range
      rules:
        diversity: {lambda: 2, top: 20} # rules.diversity
        boosts: [{when: {field: x, equals: 1}, add: 0}] # rules.boosts
        pin: [] # unknown key "pin"
  - name: y
    end: 2026-01-01
    start: 2026-01-02
    coverage: many # many
    arms: [{name: only}] # 1 arms; write 2 to 20
- name: c
  experiments:
  - {name: x, arms: [{name: a}, {name: b}]} # "x" is already taken
  - name: z
    mode: interleave
    arms:
    - {name: a, weight: 1} # an interleaved experiment has no weights
    - {name: interleave, rules: {exploration: {top: 2, temperature: 1}}} # reserved; exploration
`

func TestEveryProblemIsReported(t *testing.T) {
	_, err := experiment.Parse([]byte(everyProblem))
	if err == nil {
		t.Fatal("no error")
	}
	got := err.Error()
	byLine := map[string]string{}
	for line := range strings.Lines(got) {
		m := regexp.MustCompile(`^line (\d+): (.*)`).FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("no line number: %s", line)
		}
		byLine[m[1]] += m[2] + "\n"
	}
	at := 0
	for line := range strings.Lines(everyProblem) {
		at++
		_, want, _ := strings.Cut(strings.TrimSpace(line), "# ")
		for _, w := range strings.Split(want, "; ") {
			if found := byLine[itoa(at)]; !strings.Contains(found, w) {
				t.Errorf("line %d: %q is not in %q", at, w, found)
			}
		}
	}
	if strings.Contains(got, "Config") {
		t.Errorf("the error contains names of Go types: %s", got)
	}
}

func itoa(i int) string {
	if i < 10 {
		return string(rune('0' + i))
	}
	return itoa(i/10) + itoa(i%10)
}

// Experiments that one request can be in must not conflict.
func TestOverlaps(t *testing.T) {
	pair := func(layer1, e1, layer2, e2 string) string {
		const layer = "- name: %s\n  experiments:\n"
		text := "layers:\n" + fmt.Sprintf(layer, layer1) + "  - {name: e1, " + e1 + "}\n"
		if layer1 != layer2 {
			text += fmt.Sprintf(layer, layer2)
		}
		return text + "  - {name: e2, " + e2 + "}\n"
	}
	const (
		text      = "arms: [{name: a}, {name: b, text: false}]"
		bundle    = "arms: [{name: a}, {name: b, bundle: v1}]"
		scorer    = "arms: [{name: a}, {name: b, scorer: {retrieval: 1}}]"
		diverse   = "arms: [{name: a}, {name: b, rules: {diversity: {lambda: 0.5, top: 9}}}]"
		mixed     = "mode: interleave, " + diverse
		sameUsers = "may take the same users as e1 of the same layer"
		most      = "namespace: [n, 0, 0.6], "
		other     = "namespace: [m, 0.5, 1], "
		sessions  = "hash_attribute: session, "
		starts    = "start: 2026-01-01, "
		ends      = "end: 2026-01-01, "
		seed      = "seed: s, "
		half1     = "namespace: [n, 0, 0.5], "
		half2     = "namespace: [n, 0.5, 1], "
	)
	for what, c := range map[string]struct{ text, want string }{
		"same layer":                  {pair("l", text, "l", diverse), sameUsers},
		"same layer, disjoint parts":  {pair("l", half1+text, "l", half2+text), ""},
		"same layer, parts overlap":   {pair("l", most+text, "l", half2+text), sameUsers},
		"same layer, other namespace": {pair("l", half1+text, "l", other+text), sameUsers},
		"same layer, other attribute": {
			pair("l", half1+text, "l", sessions+half2+text),
			sameUsers,
		},
		"same layer, one after another": {pair("l", ends+text, "l", starts+text), ""},
		"other parts":                   {pair("l", text, "m", diverse), ""},
		"same part": {
			pair("l", text, "m", text),
			"changes text, as e1 of layer l",
		},
		"same part, exclusive":      {pair("l", half1+text, "m", half2+text), ""},
		"bundle and its parameters": {pair("l", bundle, "m", scorer), "changes bundle, scorer"},
		"same seed": {
			pair("l", seed+text, "m", seed+diverse),
			`"s" is also the seed of e1`,
		},
		"two interleavings": {
			pair("l", mixed, "m", "mode: interleave, "+text),
			"e1 interleaves as well",
		},
	} {
		_, err := experiment.Parse([]byte(c.text))
		if c.want == "" && err == nil {
			continue
		}
		if c.want == "" || err == nil || !strings.Contains(err.Error(), c.want) ||
			!strings.HasPrefix(err.Error(), "line ") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A forced user that is in the holdout is reported, without the user's id.
func TestForcedUserInTheHoldout(t *testing.T) {
	text := one("force: {secret-tester: b}\narms: [{name: a}, {name: b}]")
	_, err := experiment.Parse([]byte("holdout: {share: 0.999}\n" + text))
	if err == nil || !strings.Contains(err.Error(), "line 6: ") ||
		!strings.Contains(err.Error(), "is in the holdout") ||
		strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := experiment.Load(filepath.Join(dir, "none.yaml")); err == nil {
		t.Error("a missing file must be an error")
	}
	for name, text := range map[string]string{
		"malformed":     "layers: [",
		"two documents": "layers: []\n---\nlayers: []\n",
		"a list":        "[]",
		"too large":     "#" + strings.Repeat("x", 1<<20),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := experiment.Load(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(everyKey)
	f.Add(everyProblem)
	f.Add(exclusive)
	f.Add("layers: &a [*a]")
	f.Add("layers: [{name: x, experiments: [{<<: {arms: [1]}}]}]")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := experiment.Parse([]byte(text)); err == nil {
			for i := range 20 {
				s.Assign(nil, user(i))
			}
			s.GrowthBook(time.UnixMilli(noon))
			s.Status(time.UnixMilli(noon), nil)
		}
	})
}
