package config_test

import (
	"os"
	"path/filepath"
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
