package deploy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// group is a group of rules in prometheus/rules.yaml.
type group struct {
	Rules []struct{ Record, Alert, Expr string }
}

// dashboard has the parts of grafana/dashboards/relish.json that the tests check.
type dashboard struct {
	UID        string
	Templating struct {
		List []struct{ Query struct{ Query string } }
	}
	Panels []struct {
		ID         int
		Type       string
		Title      string
		Datasource struct{ UID string }
		GridPos    struct{ H, W, X, Y int }
		Targets    []struct{ Expr string }
	}
}

// query is a PromQL expression and the place that it comes from.
type query struct{ where, expr string }

// rules reads prometheus/rules.yaml.
func rules(t *testing.T) []group {
	t.Helper()
	return documents[struct{ Groups []group }](t, "prometheus/rules.yaml")[0].Groups
}

// loadDashboard reads the dashboard.
func loadDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, "grafana/dashboards/relish.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// adapter has the parts of kubernetes/monitoring/adapter.yaml that the tests check.
type adapter struct {
	Rules struct {
		Custom []struct {
			SeriesQuery, MetricsQuery string
			Name                      struct{ As string }
		}
	}
}

// queries returns every expression that Prometheus evaluates, and the names that recording rules
// add.
func queries(t *testing.T) (all []query, recorded []string) {
	t.Helper()
	for _, g := range rules(t) {
		for _, r := range g.Rules {
			all = append(all, query{"rule " + r.Alert + r.Record, r.Expr})
			if r.Record != "" {
				recorded = append(recorded, r.Record)
			}
		}
	}
	d := loadDashboard(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			expr := strings.ReplaceAll(target.Expr, "$__rate_interval", "1m")
			all = append(all, query{"panel " + p.Title, expr})
		}
	}
	labelValues := regexp.MustCompile(`^label_values\((.+), *(\w+)\)$`)
	for _, v := range d.Templating.List {
		m := labelValues.FindStringSubmatch(v.Query.Query)
		if m == nil {
			t.Fatalf("variable %q is not label_values(metric, label)", v.Query.Query)
		}
		all = append(all, query{"variable", m[1]})
	}
	placeholders := strings.NewReplacer(
		"<<.GroupBy>>", "pod", "{<<.LabelMatchers>>}", `{namespace="relish"}`)
	for _, r := range documents[adapter](t, "kubernetes/monitoring/adapter.yaml")[0].Rules.Custom {
		where := "adapter " + r.Name.As
		all = append(all, query{where, r.SeriesQuery},
			query{where, placeholders.Replace(r.MetricsQuery)})
	}
	return all, recorded
}

// exposed returns the metrics of a service that has seen everything that they count: a ranking, an
// event, an alert, a full log and a Redis that is down.
func exposed(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	config := filepath.Join(t.TempDir(), "relish.yaml")
	alert := "alerts: [{name: a, when: count(f=v) > 1 in 1 h}]\n"
	if err := os.WriteFile(config, []byte(alert), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, map[string]string{"RELISH_CONFIG": config})
	const ranking = `{"user_id":"u","candidates":[{"id":"a","title":"Sourdough at sea"},"b"],
	  "explain":1,"deadline_ms":5000}`
	if status, answer := s.post(t, "/recommend", ranking); status != http.StatusOK {
		t.Fatalf("status %d: %s", status, answer)
	}
	n := 0
	eventually(t, "a full log refuses events", func() bool {
		n++
		text := strings.Repeat("long ", 1000)
		event := fmt.Sprintf(`{"type":"item","id":"e%d","item":"i","text":%q}`, n, text)
		status, _ := s.post(t, "/feedback", event)
		return status == http.StatusInsufficientStorage
	})
	s.redis.Kill()
	eventually(t, "a ranking without Redis uses a fallback", func() bool {
		_, answer := s.post(t, "/recommend", ranking)
		return strings.Contains(answer, "features_")
	})
	_, text := s.get(t, "/metrics")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// labels returns the values of each label of a metric, and whether the metric is exposed. The name
// may have the suffix of a histogram's series.
func labels(families map[string]*dto.MetricFamily, name string) (map[string][]string, bool) {
	family, ok := families[name]
	values := map[string][]string{ // these are added by the scrape
		"instance": nil, "job": nil, "namespace": nil, "pod": nil}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		base, cut := strings.CutSuffix(name, suffix)
		if cut && families[base].GetType() == dto.MetricType_HISTOGRAM {
			family, ok = families[base], true
			if suffix == "_bucket" {
				values["le"] = nil
			}
		}
	}
	for _, m := range family.GetMetric() {
		for _, l := range m.GetLabel() {
			values[l.GetName()] = append(values[l.GetName()], l.GetValue())
		}
	}
	return values, ok
}

// A running service exposes every metric that rules, dashboard and autoscaler use, with the labels
// that they use and the values that they compare with.
func TestMetricsExist(t *testing.T) {
	families := exposed(t)
	all, recorded := queries(t)
	for _, q := range all {
		expr, err := metricsql.Parse(q.expr)
		if err != nil {
			t.Errorf("%s: %v", q.where, err)
			continue
		}
		metricsql.VisitAll(expr, func(e metricsql.Expr) {
			m, ok := e.(*metricsql.MetricExpr)
			if !ok {
				return
			}
			for _, filters := range m.LabelFilterss {
				if err := checkSelector(families, recorded, filters); err != nil {
					t.Errorf("%s: %v", q.where, err)
				}
			}
		})
	}
}

// checkSelector returns an error if a service does not expose what the selector selects.
func checkSelector(
	families map[string]*dto.MetricFamily, recorded []string, filters []metricsql.LabelFilter,
) error {
	if len(filters) == 0 || filters[0].Label != "__name__" {
		return fmt.Errorf("a selector without the name of a metric: %v", filters)
	}
	name := filters[0].Value
	if name == "up" || slices.Contains(recorded, name) {
		return nil
	}
	values, ok := labels(families, name)
	if !ok {
		return fmt.Errorf("the service does not expose %s", name)
	}
	for _, f := range filters[1:] {
		have, ok := values[f.Label]
		if !ok {
			return fmt.Errorf("%s has no label %s", name, f.Label)
		}
		if !f.IsRegexp && !f.IsNegative && len(have) > 0 && !slices.Contains(have, f.Value) {
			return fmt.Errorf("%s is never %s=%q, only %v", name, f.Label, f.Value, have)
		}
	}
	return nil
}

// promtool accepts the files and the tests in rules_test.yaml, and these tests name every rule.
func TestRules(t *testing.T) {
	for _, args := range [][]string{
		{"check", "rules", "rules.yaml"},
		{"test", "rules", "rules_test.yaml"},
		{"check", "config", "prometheus.yaml"},
	} {
		cmd := exec.Command("../../.cache/bin/promtool", args...)
		cmd.Dir = "prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s (make test-setup fetches it): %v\n%s",
				strings.Join(args, " "), err, out)
		}
	}
	tests := read(t, "prometheus/rules_test.yaml")
	for _, g := range rules(t) {
		for _, r := range g.Rules {
			alert := `alertname="` + r.Alert + `"`
			if r.Alert != "" && !strings.Contains(tests, alert) ||
				!strings.Contains(tests, r.Record) {
				t.Errorf("rules_test.yaml does not test %s%s", r.Alert, r.Record)
			}
		}
	}
}

// Every panel of the dashboard reads the provisioned source, has its own id and covers no other
// panel.
func TestDashboard(t *testing.T) {
	type source struct {
		Datasources []struct{ UID, URL string }
	}
	provisioned := documents[source](t, "grafana/provisioning/datasources/prometheus.yaml")[0]
	uid := provisioned.Datasources[0].UID
	seen, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range loadDashboard(t).Panels {
		if seen[p.ID] {
			t.Errorf("panel %q: id %d is used twice", p.Title, p.ID)
		}
		seen[p.ID] = true
		if p.Type != "row" && (p.Datasource.UID != uid || len(p.Targets) == 0) {
			t.Errorf("panel %q reads %q, want %q, or has no query", p.Title, p.Datasource.UID, uid)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok || x >= 24 {
					t.Fatalf("panel %q covers %q or is too wide", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}
