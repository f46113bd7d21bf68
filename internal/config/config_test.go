package config_test

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"relish/internal/config"
)

// write writes a configuration file and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "relish.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	text := "addr: 127.0.0.1:9\ntext: [title]\n" +
		"keys:\n- {name: web, sha256: " + strings.Repeat("ab", 32) + ", scopes: [rank]}\n"
	c, err := config.Load(write(t, text), []string{"addr"})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Keys) != 1 || c.Text[0] != "title" || len(c.State.Actions) == 0 {
		t.Errorf("Load returns %+v", c)
	}
	if c, err := config.Load("", nil); err != nil || len(c.State.Actions) == 0 {
		t.Errorf("without a file, Load returns %+v, %v", c, err)
	}
}

// TestLoadReportsEveryProblem loads a file with several problems. One error has them all, with
// their lines and without the names of Go types.
func TestLoadReportsEveryProblem(t *testing.T) {
	_, err := config.Load(write(t, `adr: x
state: {nope: 1, recent: many}
rules: [1]
keys: [{name: k, sha256: zz, scopes: [all]}]
`), []string{"addr"})
	if err == nil {
		t.Fatal("Load returns no error")
	}
	for _, want := range []string{
		`line 1: unknown key "adr"; did you mean "addr"?`,
		`line 2: unknown key "state.nope"; keys of state are actions, fields, half_lives, `,
		`line 2: state.recent must be a whole number, such as 100, and is "many"`,
		`line 3: rules must be a section with keys, and is a list`,
		`keys[0]: sha256 "zz" is not 64 hex digits`,
		`keys[0]: unknown scope "all"; choose from rank, feedback, items, admin`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "Config") {
		t.Errorf("the error names a Go type: %v", err)
	}
}

// TestLoadNamesTheRemedy checks that a message has the path of the key and says what to write.
func TestLoadNamesTheRemedy(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{
			"train: {scorer: {leafs: [7]}}\n",
			`unknown key "train.scorer.leafs"; did you mean "train.scorer.leaves"?`,
		},
		{
			"train: {}\nrules:\n  pin: []\n",
			`line 3: unknown key "rules.pin"; did you mean "rules.pins"?`,
		},
		{
			"keys: [{key: secret}]\n",
			`"keys[0].key"; the file holds no key itself: write its digest as sha256`,
		},
		{
			"trends: {fields: [topic, topic]}\n",
			`trends.fields[1]: "topic" occurs twice; remove one`,
		},
		{
			"alerts: [{name: a, when: share(f=v) of clck > 0.5 in 3 h}]\n",
			`alerts[0] (a): when: "clck" is not counted: name one of items, view, click`,
		},
		{
			"alerts: [{name: a, when: share(f=v) > 2 in 3 h}]\n",
			`alerts[0] (a): when: at character 14: expected a share from 0 to 1`,
		},
		{
			"trends: {fields: [a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z," +
				"A,B,C,D,E,F]}\n" +
				"alerts: [{name: a, when: share(G=v) > 0.5 in 3 h}]\n",
			`alerts: with trends.fields, 33 fields are to be counted; keep at most 32 in both`,
		},
		{
			"alerts: [{name: a, wen: x}]\n",
			`unknown key "alerts[0].wen"; did you mean "alerts[0].when"?`,
		},
		{
			"text: title\n",
			`line 1: text must be a list, such as [title, tags], and is "title"`,
		},
		{
			"train: {max_lists: x}\n",
			`train.max_lists must be a whole number, such as `,
		},
		{
			"train: {gains: {clik: 1}}\n",
			`train.gains."clik": nothing counts this action; did you mean "click"?`,
		},
		{
			"state: {actions: [view]}\ntrain: {gains: {foo: 1}}\n",
			`train.gains."foo": nothing counts this action: name one of view, or add it to ` +
				`state.actions`,
		},
		{
			"train: {gains: {click: x}}\n",
			`train.gains.click must be a number, and is "x"`,
		},
		{
			"keys: {name: x}\n",
			`keys must be a list of sections with keys, and is a section with keys`,
		},
		{
			"text: [title]\ntext: [title]\n",
			`line 2: mapping key "text" already defined at line 1`,
		},
		{
			"rules: {boosts: [{when: {fld: x}}]}",
			`unknown key "rules.boosts[0].when.fld"`,
		},
	} {
		_, err := config.Load(write(t, c.text), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error lacks %q: %v", c.text, c.want, err)
		}
	}
}

// Actions of a site's own need no gain for the default actions that they replace.
func TestDefaultGainsNeedNotBeCounted(t *testing.T) {
	for text, want := range map[string]map[string]float64{
		"state: {actions: [view, buy]}\n":                           {"view": 1},
		"state: {actions: [view, buy]}\ntrain: {gains: {buy: 5}}\n": {"view": 1, "buy": 5},
		"train: {gains: {purchase: 9}}\n": {
			"view": 1, "click": 1, "comment": 2, "purchase": 9,
		},
	} {
		c, err := config.Load(write(t, text), nil)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if !maps.Equal(c.Train.Gains, want) {
			t.Errorf("%s: gains %v, want %v", text, c.Train.Gains, want)
		}
	}
}

// TestTrainSection checks that section train is strict and that it keeps the defaults of what it
// leaves out.
func TestTrainSection(t *testing.T) {
	c, err := config.Load(write(t, "train: {max_lists: 500, scorer: {rounds: 20}}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	train := c.Train
	if train.MaxLists != 500 || train.Scorer.Rounds != 20 || len(train.Signals) == 0 ||
		train.FollowUpHours != 24 {
		t.Errorf("train is %+v", train)
	}
	_, err = config.Load(write(t, "train: {max_list: 1, dropout: 2, signals: [nonsense], "+
		"monotone: {x: 5}}\n"), nil)
	if err == nil {
		t.Fatal("Load returns no error")
	}
	for _, want := range []string{"max_list", "dropout", "nonsense", "monotone.x"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
}

// TestDocumentedDefaults loads the section train that docs/training.md shows. Its values are the
// defaults.
func TestDocumentedDefaults(t *testing.T) {
	page, err := os.ReadFile("../../docs/training.md")
	if err != nil {
		t.Fatal(err)
	}
	pattern := regexp.MustCompile("(?ms)^```yaml\n(# relish\\.yaml\ntrain:\n.*?)^```")
	block := pattern.FindSubmatch(page)
	if block == nil {
		t.Fatal("docs/training.md has no yaml block that begins with # relish.yaml and train:")
	}
	shown, err := config.Load(write(t, string(block[1])), nil)
	if err != nil {
		t.Fatal(err)
	}
	shown.Train.Monotone, shown.Train.Features = nil, nil // the document shows examples of these
	if want := config.Default().Train; !reflect.DeepEqual(shown.Train, want) {
		t.Errorf("docs/training.md shows %+v, the defaults are %+v", shown.Train, want)
	}
}
