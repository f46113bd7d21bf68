package api_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relish/api"
	"relish/experiment"
)

const experiments = `
holdout: {share: 0.01}
layers:
- name: lists
  experiments:
  - name: spread
    condition: {device: {$ne: bot}}
    namespace: [home, 0, 0.5]
    end: 2100-01-01
    guardrails: [{metric: latency, margin: 0.1}]
    force: {secret-tester: diverse}
    arms: [{name: control}, {name: diverse, rules: {diversity: {lambda: 0.5, top: 9}}}]
`

func TestExperiments(t *testing.T) {
	path := filepath.Join(t.TempDir(), "experiments.yaml")
	if err := os.WriteFile(path, []byte(experiments), 0o600); err != nil {
		t.Fatal(err)
	}
	keeper, err := experiment.Open(path, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	with := start(t, func(o *api.Options) {
		o.Experiments = keeper
		o.Keys = []api.Key{key("web", "web-secret", "rank"), key("root", "root-secret", "admin")}
	})
	without := start(t, nil)
	for _, c := range []struct {
		path, web, root string
		has             []string
	}{
		{"/experiments", "forbidden", "", []string{`"version":"` + keeper.Status().Version + `"`, `"status":"running"`, `"forced":1`, `"changes":["rules.diversity"]`, `"namespace":["home",0,0.5]`, `"start":null`}},
		{"/experiments/growthbook", "", "forbidden", []string{`"spread":{"defaultValue":null,"rules":[{"force":null,`, `"variations":["control","diverse"]`, `"condition":{"device":{"$ne":"bot"}}`}},
	} {
		schema := with.Spec().Paths.Value(c.path).Get.Responses.Status(200).Value.Content["application/json"].Schema.Value
		for secret, refused := range map[string]string{"web-secret": c.web, "root-secret": c.root} {
			w := with.call("GET", c.path, "", "X-API-Key", secret)
			if refused != "" {
				wantError(t, w, 403, refused, "")
				continue
			}
			validate(t, c.path, schema, w.Body.Bytes())
			for _, part := range c.has {
				if !strings.Contains(w.Body.String(), part) {
					t.Errorf("%s: %s is not in %s", c.path, part, w.Body)
				}
			}
			if w.Code != 200 || strings.Contains(w.Body.String(), "secret-tester") {
				t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
			}
		}
		w := without.call("GET", c.path, "")
		validate(t, c.path+" without experiments", schema, w.Body.Bytes())
	}
}
