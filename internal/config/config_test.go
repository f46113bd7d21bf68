package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"relish/internal/config"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "relish.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	c, err := config.Load(write(t, "addr: 127.0.0.1:9\ntext: [title]\nkeys:\n- {name: web, sha256: "+strings.Repeat("ab", 32)+", scopes: [rank]}\n"), []string{"addr"})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Keys) != 1 || c.Text[0] != "title" || len(c.State.Actions) == 0 {
		t.Errorf("got %+v", c)
	}
	if c, err := config.Load("", nil); err != nil || len(c.State.Actions) == 0 {
		t.Errorf("no file: %+v, %v", c, err)
	}
}

func TestLoadReportsEveryProblem(t *testing.T) {
	_, err := config.Load(write(t, "adr: x\nstate: {nope: 1}\nkeys: [{name: k, sha256: zz, scopes: [all]}]\n"), []string{"addr"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`unknown key "adr"`, "nope", "sha256", `scope "all"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

// Section train is as strict as the others, what it leaves out has its default, and what docs/training.md shows are the
// defaults.
func TestTrainSection(t *testing.T) {
	c, err := config.Load(write(t, "train: {max_lists: 500, blend: {rounds: 20}}\n"), nil)
	if err != nil || c.Train.MaxLists != 500 || c.Train.Scorer.Rounds != 20 || len(c.Train.Signals) == 0 || c.Train.FollowUpHours != 24 {
		t.Errorf("%+v, %v", c.Train, err)
	}
	_, err = config.Load(write(t, "train: {max_list: 1, dropout: 2, matchers: [nonsense], monotone: {x: 5}}\n"), nil)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"max_list", "dropout", "nonsense", "monotone.x"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	page, err := os.ReadFile("../../docs/training.md")
	if err != nil {
		t.Fatal(err)
	}
	section := regexp.MustCompile(`(?m)^    train:\n(?:      .*\n)+`).FindString(string(page))
	shown, err := config.Load(write(t, strings.ReplaceAll("\n"+section, "\n    ", "\n")), nil)
	if err != nil || section == "" {
		t.Fatalf("%v: %s", err, section)
	}
	shown.Train.Monotone, shown.Train.Features = nil, nil // examples
	if want := config.Default().Train; !reflect.DeepEqual(shown.Train, want) {
		t.Errorf("docs/training.md shows %+v, the defaults are %+v", shown.Train, want)
	}
}
